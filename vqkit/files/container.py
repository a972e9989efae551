"""The container of token files: bytes <-> a header and named arrays of integers.

The layout is written down byte by byte in ``docs/token_files.md``:
magic and header, chunks, a footer that repeats what every chunk says of itself.
"""

import hashlib
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from vqkit.errors import ConfigError
from vqkit.files.format_error import NEWER, FormatError
from vqkit.files.header import FileHeader, StreamHeader
from vqkit.files.limits import Limits
from vqkit.files.modes import (
    check_coder,
    coding_mode,
    decode_chunk,
    encode_chunk,
    max_payload_bytes,
)
from vqkit.files.reader import Reader
from vqkit.files.resources import CodingResources

__all__ = ["FORMAT_VERSION", "Chunk", "Contents", "encode", "read", "read_index"]

FORMAT_VERSION = 1

# As in PNG: the first byte catches 7-bit transfers, CR LF and LF those that change line ends,
# and the control-Z stops a listing on the terminals that heed it.
_MAGIC = b"\x89VQT\r\n\x1a\n"
_KNOWN_FLAGS = 0
_HASH_BYTES = 16
_END_OF_CHUNKS = 0
_DEFAULT_CHUNK_SYMBOLS = 1 << 20

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Chunk:
    """What a chunk says of itself: consecutive rows of one stream, coded on their own."""

    stream: int
    mode: int
    num_symbols: int
    payload_bytes: int

    def to_bytes(self) -> bytes:
        """The fields as they stand before the payload and again in the footer."""
        return (
            _varint(self.stream + 1)
            + bytes([self.mode])
            + _varint(self.num_symbols)
            + _varint(self.payload_bytes)
        )

    @property
    def size_bytes(self) -> int:
        """All of the chunk: fields, payload, CRC-32."""
        return len(self.to_bytes()) + self.payload_bytes + 4


@dataclass(frozen=True)
class Contents:
    """What was read of a file; ``arrays`` is empty if the tokens were not asked for."""

    header: FileHeader
    header_bytes: int
    chunks: tuple[Chunk, ...]
    token_hash: bytes
    size_bytes: int
    arrays: Mapping[str, Indices] = field(default_factory=dict)


def encode(
    header: FileHeader,
    arrays: Mapping[str, Indices],
    chunk_rows: int | None = None,
    coder: str = "auto",
    resources: CodingResources | None = None,
) -> bytes:
    """The whole file.

    Args:
        header: describes ``arrays``; its streams are sorted by name.
        arrays: by stream, int64 ``[*shape, codebooks]``.
        chunk_rows: rows of the first axis in a chunk; None for as many as make a million symbols.
        coder: one of `vqkit.files.modes.CODERS`: which coding modes each chunk may choose from.
        resources: what chunks may be coded with.

    Raises:
        ConfigError: if there is no such coder, or ``chunk_rows`` is not positive.
        FormatError: if the file would go beyond the default `Limits`.
    """
    check_coder(coder)
    limits, resources = Limits(), resources or CodingResources()
    text = header.to_bytes()
    limits.check("header_bytes", len(text), "bytes of header")
    FileHeader.from_bytes(text, limits)
    prelude = bytes([FORMAT_VERSION, _KNOWN_FLAGS]) + len(text).to_bytes(2, "little") + text
    parts = [_MAGIC, prelude, _crc(prelude)]
    tally = _Tally(header, limits)
    cuts = _cuts(header, chunk_rows)
    limits.check("num_chunks", sum(len(cut) for cut in cuts), "chunks")
    for number, positions in _in_rounds(cuts):
        stream = header.streams[number]
        rows = arrays[stream.name].reshape(-1, len(stream.codebook_sizes))[positions]
        mode, payload = encode_chunk(rows, stream.layout_of(rows.size), coder, resources)
        chunk = Chunk(number, mode, rows.size, len(payload))
        tally.add(chunk)
        fields = chunk.to_bytes()
        parts += [fields, payload, _crc(fields + payload)]
    footer = bytes([_END_OF_CHUNKS]) + _varint(len(tally.chunks)) + tally.index
    footer += _token_hash(arrays[stream.name] for stream in header.streams)
    footer += _crc(footer)
    return b"".join([*parts, footer, len(footer).to_bytes(4, "little")])


def read(
    reader: Reader,
    limits: Limits,
    resources: CodingResources | None = None,
    *,
    decode: bool = True,
) -> Contents:
    """Read a file from front to end, checking everything; works on a pipe.

    Args:
        reader: stands at the first byte.
        limits: what the file may ask for.
        resources: what its chunks may have been coded with.
        decode: False leaves the tokens in their chunks, and their hash unchecked.

    Raises:
        FormatError: on anything that is not a sound token file.
    """
    header = _read_header(reader, limits)
    header_bytes = reader.offset
    tally = _Tally(header, limits)
    rows: dict[str, list[Indices]] = {stream.name: [] for stream in header.streams}
    for chunk, payload in _read_chunks(reader, tally):
        coding_mode(chunk.mode)
        if decode:
            stream = header.streams[chunk.stream]
            layout = stream.layout_of(chunk.num_symbols)
            rows[stream.name].append(
                decode_chunk(chunk.mode, payload, layout, resources or CodingResources())
            )
    token_hash = _read_footer(reader, tally)
    reader.expect_end()
    arrays = {s.name: _join(s, rows[s.name]) for s in header.streams} if decode else {}
    if decode and _token_hash(arrays.values()) != token_hash:
        raise FormatError(
            f"expected tokens of hash {token_hash.hex()}, got {_token_hash(arrays.values()).hex()}"
        )
    return Contents(header, header_bytes, tuple(tally.chunks), token_hash, reader.offset, arrays)


def read_index(reader: Reader, limits: Limits) -> Contents:
    """Read the header and the footer of a seekable file and leave the chunks alone.

    Raises:
        FormatError: if either is damaged or they do not fit the length of the file.
    """
    header = _read_header(reader, limits)
    header_bytes = reader.offset
    tally = _Tally(header, limits)
    size = reader.size()
    reader.seek("end of the file", max(size - 4, header_bytes))
    footer_bytes = reader.integer(4)
    footer_start = size - 4 - footer_bytes
    if footer_start < header_bytes:
        raise FormatError(f"expected a footer within the file, got one of {footer_bytes} bytes")
    reader.seek("footer", footer_start)
    if reader.varint() != _END_OF_CHUNKS:
        raise FormatError("expected the end of the chunks where the footer begins")
    num_chunks = reader.varint()
    limits.check("num_chunks", num_chunks, "chunks")
    for _ in range(num_chunks):
        tally.add(_read_fields(reader, reader.varint()))
    token_hash = reader.exactly(_HASH_BYTES)
    reader.check_crc()
    if reader.section_size != footer_bytes:
        raise FormatError(f"expected a footer of {footer_bytes} bytes, got {reader.section_size}")
    tally.finish()
    for chunk in tally.chunks:
        coding_mode(chunk.mode)
    chunk_bytes = sum(chunk.size_bytes for chunk in tally.chunks)
    if header_bytes + chunk_bytes != footer_start:
        raise FormatError(
            f"expected the footer after {chunk_bytes} bytes of chunks, "
            f"got {footer_start - header_bytes}"
        )
    return Contents(header, header_bytes, tuple(tally.chunks), token_hash, size)


class _Tally:
    """Checks each chunk's fields against the header before its payload is touched, and counts."""

    def __init__(self, header: FileHeader, limits: Limits) -> None:
        self.streams = header.streams
        self.limits = limits
        self.chunks: list[Chunk] = []
        self._index: list[bytes] = []
        self._missing = [stream.num_symbols for stream in header.streams]

    @property
    def index(self) -> bytes:
        """The chunks' fields as the footer repeats them."""
        return b"".join(self._index)

    def add(self, chunk: Chunk) -> None:
        if not 0 <= chunk.stream < len(self.streams):
            raise FormatError(
                f"expected a stream of {len(self.streams)}, got number {chunk.stream}"
            )
        stream = self.streams[chunk.stream]
        missing = self._missing[chunk.stream]
        if not 0 < chunk.num_symbols <= missing or chunk.num_symbols % stream.symbols_per_row:
            raise FormatError(
                f"expected whole rows of {stream.symbols_per_row} of the {missing} symbols that "
                f"stream {stream.name!r} has left, got {chunk.num_symbols}"
            )
        self.limits.check("chunk_symbols", chunk.num_symbols, "symbols in a chunk")
        most = max_payload_bytes(chunk.mode, stream.layout_of(chunk.num_symbols))
        if chunk.payload_bytes > most:
            raise FormatError(
                f"expected at most {most} bytes of payload, got {chunk.payload_bytes}"
            )
        self.limits.check("num_chunks", len(self.chunks) + 1, "chunks")
        self._missing[chunk.stream] -= chunk.num_symbols
        self.chunks.append(chunk)
        self._index.append(chunk.to_bytes())

    def finish(self) -> None:
        """Refuse a file in which symbols are missing."""
        for stream, missing in zip(self.streams, self._missing, strict=True):
            if missing:
                raise FormatError(
                    f"expected {stream.num_symbols} symbols in stream {stream.name!r}, "
                    f"got {stream.num_symbols - missing}"
                )


def _read_header(reader: Reader, limits: Limits) -> FileHeader:
    reader.begin("magic")
    magic = reader.exactly(len(_MAGIC))
    if magic != _MAGIC:
        if magic.startswith(b"\x89VQT") or magic[1:4] == b"VQT":
            raise FormatError("expected binary bytes, got some changed by a text or 7-bit transfer")
        raise FormatError(f"expected a token file, got {magic!r}", fix="Give a .vqt file.")
    reader.begin("header")
    version = reader.integer(1)
    if version != FORMAT_VERSION:
        raise FormatError(f"expected format version {FORMAT_VERSION}, got {version}", fix=NEWER)
    flags = reader.integer(1)
    size = reader.integer(2)
    limits.check("header_bytes", size, "bytes of header")
    text = reader.exactly(size)
    reader.check_crc()
    if flags & ~_KNOWN_FLAGS:
        raise FormatError(f"expected no flags but {_KNOWN_FLAGS:#x}, got {flags:#x}", fix=NEWER)
    return FileHeader.from_bytes(text, limits)


def _read_chunks(reader: Reader, tally: _Tally) -> Iterator[tuple[Chunk, bytes]]:
    """Chunks with their intact payload, up to and including the mark at their end."""
    while True:
        reader.begin(f"chunk {len(tally.chunks)}")
        mark = reader.varint()
        if mark == _END_OF_CHUNKS:
            reader.rename("footer")
            tally.finish()
            return
        chunk = _read_fields(reader, mark)
        tally.add(chunk)
        payload = reader.exactly(chunk.payload_bytes)
        reader.check_crc()
        yield chunk, payload


def _read_fields(reader: Reader, mark: int) -> Chunk:
    return Chunk(
        stream=mark - 1,
        mode=reader.integer(1),
        num_symbols=reader.varint(),
        payload_bytes=reader.varint(),
    )


def _read_footer(reader: Reader, tally: _Tally) -> bytes:
    """The token hash; the mark that opens the footer has been read."""
    num_chunks = reader.varint()
    if num_chunks != len(tally.chunks):
        raise FormatError(f"expected {len(tally.chunks)} chunks in the index, got {num_chunks}")
    if reader.exactly(len(tally.index)) != tally.index:
        raise FormatError("expected an index of the chunks that were read, got another")
    token_hash = reader.exactly(_HASH_BYTES)
    reader.check_crc()
    size = reader.section_size
    stored = reader.integer(4)
    if stored != size:
        raise FormatError(f"expected a footer of {size} bytes, got {stored}")
    return token_hash


def _cuts(header: FileHeader, chunk_rows: int | None) -> list[range]:
    """For each stream the first positions of its chunks."""
    if chunk_rows is not None and chunk_rows < 1:
        raise ConfigError(f"Wrong chunk_rows: expected at least 1, got {chunk_rows}.")
    cuts = []
    for stream in header.streams:
        num_codebooks = len(stream.codebook_sizes)
        row_symbols = max(1, stream.symbols_per_row)
        rows = chunk_rows or max(1, _DEFAULT_CHUNK_SYMBOLS // row_symbols)
        step = max(1, rows * row_symbols // num_codebooks)
        cuts.append(range(0, stream.num_symbols // num_codebooks, step))
    return cuts


def _in_rounds(cuts: list[range]) -> Iterator[tuple[int, slice]]:
    """Stream number and positions of every chunk: one of each stream, then again."""
    for turn in range(max(len(cut) for cut in cuts)):
        for number, cut in enumerate(cuts):
            if turn < len(cut):
                yield number, slice(cut[turn], cut[turn] + cut.step)


def _join(stream: StreamHeader, rows: list[Indices]) -> Indices:
    shape = (*stream.shape, len(stream.codebook_sizes))
    if not rows:
        return np.empty(shape, np.int64)
    return (rows[0] if len(rows) == 1 else np.concatenate(rows)).reshape(shape)


def _token_hash(arrays: Iterable[Indices]) -> bytes:
    """BLAKE2b over all integers as little-endian int64, stream after stream."""
    digest = hashlib.blake2b(digest_size=_HASH_BYTES)
    for array in arrays:
        digest.update(np.ascontiguousarray(array, dtype="<i8").reshape(-1).data)
    return digest.digest()


def _varint(value: int) -> bytes:
    """Little-endian base 128: seven bits a byte, the top bit set in all but the last."""
    size = max(1, math.ceil(value.bit_length() / 7))
    groups = [value >> (7 * position) & 0x7F for position in range(size)]
    return bytes([group | 0x80 for group in groups[:-1]] + groups[-1:])


def _crc(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(4, "little")
