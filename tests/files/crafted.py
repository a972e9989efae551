"""Token files put together by hand, with whatever lies a test asks for and checksums that fit."""

import hashlib
import struct
import zlib
from collections.abc import Sequence

MAGIC = b"\x89VQT\r\n\x1a\n"
HEADER = (
    b'{"media":["image",{"height":1}],"model":["m","00000000000000000000000000000000"],'
    b'"streams":{"tokens":[["height","width"],[2,3],[4]]}}'
)


def varint(value: int) -> bytes:
    groups = [value & 127]
    while value := value >> 7:
        groups.append(value & 127)
    return bytes([group | 128 for group in groups[:-1]] + groups[-1:])


def crc(data: bytes) -> bytes:
    return struct.pack("<I", zlib.crc32(data))


def head(text: bytes = HEADER, *, version: int = 1, flags: int = 0) -> bytes:
    prelude = struct.pack("<BBH", version, flags, len(text)) + text
    return MAGIC + prelude + crc(prelude)


def fields(symbols: int, payload_bytes: int, *, stream: int = 0, mode: int = 0) -> bytes:
    return varint(stream + 1) + bytes([mode]) + varint(symbols) + varint(payload_bytes)


def chunk(symbols: int, payload: bytes, *, stream: int = 0, mode: int = 0) -> bytes:
    data = fields(symbols, len(payload), stream=stream, mode=mode) + payload
    return data + crc(data)


def token_hash(symbols: Sequence[int]) -> bytes:
    packed = struct.pack(f"<{len(symbols)}q", *symbols)
    return hashlib.blake2b(packed, digest_size=16).digest()


def foot(index: Sequence[bytes], symbols: Sequence[int], *, num_chunks: int | None = None) -> bytes:
    count = len(index) if num_chunks is None else num_chunks
    footer = b"\0" + varint(count) + b"".join(index) + token_hash(symbols)
    footer += crc(footer)
    return footer + struct.pack("<I", len(footer))


# Six symbols 3 2 1 0 1 2 of two bits: 0b00_01_10_11 and 0b10_01.
SYMBOLS = [3, 2, 1, 0, 1, 2]
PAYLOAD = bytes([0b00_01_10_11, 0b10_01])
SOUND = head() + chunk(6, PAYLOAD) + foot([fields(6, 2)], SYMBOLS)
