"""What a token file is made of, byte by byte: magic, chunks' fields, checksums, the token hash."""

import hashlib
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from vqkit.files.header import FileHeader

__all__ = [
    "CRC_BYTES",
    "END_OF_CHUNKS",
    "FORMAT_VERSION",
    "HASH_BYTES",
    "KNOWN_FLAGS",
    "MAGIC",
    "Chunk",
    "Contents",
    "Indices",
    "TokenHash",
    "crc",
    "varint",
]

FORMAT_VERSION = 1

MAGIC = b"\x89VQT\r\n\x1a\n"
"""As in PNG: the first byte catches 7-bit transfers, CR LF and LF those that change line ends, and
the control-Z stops a listing on the terminals that heed it."""

KNOWN_FLAGS = 0
HASH_BYTES = 16
CRC_BYTES = 4
END_OF_CHUNKS = 0

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Chunk:
    """What a chunk says of itself: rows of one stream that follow one another, or its tables."""

    stream: int
    mode: int
    num_symbols: int
    payload_bytes: int

    def to_bytes(self) -> bytes:
        """The fields as they stand before the payload and again in the footer."""
        return (
            varint(self.stream + 1)
            + bytes([self.mode])
            + varint(self.num_symbols)
            + varint(self.payload_bytes)
        )

    @property
    def size_bytes(self) -> int:
        """All of the chunk: fields, payload, CRC-32."""
        return len(self.to_bytes()) + self.payload_bytes + CRC_BYTES


@dataclass(frozen=True)
class Contents:
    """What was read of a file; ``arrays`` is empty if the tokens were not asked for."""

    header: FileHeader
    header_bytes: int
    chunks: tuple[Chunk, ...]
    footer_bytes: int
    token_hash: bytes
    size_bytes: int
    arrays: Mapping[str, Indices] = field(default_factory=dict)


class TokenHash:
    """BLAKE2b over all integers as little-endian int64, stream after stream.

    Rows come as they are written or read, streams mixed; those of a stream are kept until the
    streams before it have ended.
    """

    def __init__(self, num_streams: int) -> None:
        self._digest = hashlib.blake2b(digest_size=HASH_BYTES)
        self._waiting: list[list[Indices]] = [[] for _ in range(num_streams)]
        self._current = 0

    def add(self, stream: int, rows: Indices) -> None:
        """The next rows of a stream."""
        if stream == self._current:
            self._update(rows)
        else:
            self._waiting[stream].append(rows)

    def end(self, stream: int) -> None:
        """Say that no more rows of a stream will come."""
        while stream == self._current < len(self._waiting) - 1:
            self._current += 1
            for rows in self._waiting[self._current]:
                self._update(rows)
            self._waiting[self._current] = []

    def digest(self) -> bytes:
        """Of everything."""
        for stream in range(self._current, len(self._waiting)):
            self.end(stream)
        return self._digest.digest()

    def _update(self, rows: Indices) -> None:
        self._digest.update(np.ascontiguousarray(rows, dtype="<i8").reshape(-1).data)


def varint(value: int) -> bytes:
    """Little-endian base 128: seven bits a byte, the top bit set in all but the last."""
    size = max(1, math.ceil(value.bit_length() / 7))
    groups = [value >> (7 * position) & 0x7F for position in range(size)]
    return bytes([group | 0x80 for group in groups[:-1]] + groups[-1:])


def crc(data: bytes) -> bytes:
    """CRC-32 as it is stored."""
    return zlib.crc32(data).to_bytes(CRC_BYTES, "little")
