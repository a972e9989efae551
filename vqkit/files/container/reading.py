"""Reading the container: from front to end, or by its index."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from vqkit.coding import StreamTables
from vqkit.errors import CodingError
from vqkit.files.container.layout import (
    END_OF_CHUNKS,
    FORMAT_VERSION,
    HASH_BYTES,
    KNOWN_FLAGS,
    MAGIC,
    Chunk,
    Contents,
    Indices,
    TokenHash,
)
from vqkit.files.container.tally import Tally
from vqkit.files.format_error import NEWER, FormatError
from vqkit.files.header import FileHeader, StreamHeader
from vqkit.files.limits import Limits
from vqkit.files.modes import TABLES, coding_mode, decode_chunk
from vqkit.files.reader import Reader
from vqkit.files.resources import CodingResources

__all__ = ["ContainerReader", "decode_tables", "read", "read_footer", "read_header", "read_index"]


class ContainerReader:
    """Reads a file from front to end, checking everything; works on a pipe.

    Args:
        reader: Stands at the first byte.
        limits: What the file may ask for.
        resources: What its chunks may have been coded with.

    Attributes:
        header: What the file says it holds; with all lengths once everything was read.

    Raises:
        FormatError: The header is no sound one.
    """

    def __init__(self, reader: Reader, limits: Limits, resources: CodingResources) -> None:
        self.header = read_header(reader, limits)
        self.header_bytes = reader.offset
        self._reader = reader
        self._resources = resources
        self._tally = Tally(self.header, limits)

    def rows(self) -> Iterator[tuple[int, Indices]]:
        """Number of the stream and ``[positions, codebooks]`` of every chunk.

        Raises:
            FormatError: On anything that is not sound, the token hash at the end too.
        """
        token_hash = TokenHash(len(self.header.streams))
        for chunk, payload in self._chunks():
            stream = self.header.streams[chunk.stream]
            if chunk.mode == TABLES:
                tables = decode_tables(payload, stream)
                self._resources = self._resources.with_embedded(stream.name, tables)
                continue
            layout = stream.layout_of(chunk.num_symbols)
            rows = decode_chunk(chunk.mode, payload, layout, self._resources)
            token_hash.add(chunk.stream, rows)
            if self._tally.is_complete(chunk.stream):
                token_hash.end(chunk.stream)
            yield chunk.stream, rows
        stored, computed = self._finish(), token_hash.digest()
        if computed != stored:
            raise FormatError(f"expected tokens of hash {stored.hex()}, got {computed.hex()}")

    def skip(self) -> None:
        """Read everything and leave the tokens in their chunks, and their hash unchecked."""
        for _ in self._chunks():
            pass
        self._finish()

    @property
    def contents(self) -> Contents:
        """What the file holds beside its tokens, once everything was read."""
        return Contents(
            self.header,
            self.header_bytes,
            tuple(self._tally.chunks),
            self._footer_bytes,
            self._token_hash,
            self._reader.offset,
        )

    def _chunks(self) -> Iterator[tuple[Chunk, bytes]]:
        """Chunks with their intact payload, up to and including the mark at their end."""
        reader, tally = self._reader, self._tally
        while True:
            reader.begin(f"chunk {len(tally.chunks)}")
            mark = reader.varint()
            if mark == END_OF_CHUNKS:
                reader.rename("footer")
                return
            chunk = _read_fields(reader, mark)
            tally.add(chunk)
            payload = reader.exactly(chunk.payload_bytes)
            reader.check_crc()
            if chunk.mode != TABLES:
                coding_mode(chunk.mode)
            yield chunk, payload

    def _finish(self) -> bytes:
        """Read the footer, whose first byte has been read; the token hash."""
        reader, tally = self._reader, self._tally
        tally.finish()
        num_chunks = reader.varint()
        if num_chunks != len(tally.chunks):
            raise FormatError(f"expected {len(tally.chunks)} chunks in the index, got {num_chunks}")
        if reader.exactly(len(tally.index)) != tally.index:
            raise FormatError("expected an index of the chunks that were read, got another")
        self.header, self._token_hash = _read_closing(reader, tally)
        self._footer_bytes = reader.section_size
        stored = reader.integer(4)
        if stored != self._footer_bytes:
            raise FormatError(f"expected a footer of {self._footer_bytes} bytes, got {stored}")
        reader.expect_end()
        return self._token_hash


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
    source = ContainerReader(reader, limits, resources or CodingResources())
    if not decode:
        source.skip()
        return source.contents
    rows: list[list[Indices]] = [[] for _ in source.header.streams]
    for stream, part in source.rows():
        rows[stream].append(part)
    streams = zip(source.header.streams, rows, strict=True)
    arrays = {stream.name: _join(stream, parts) for stream, parts in streams}
    return replace(source.contents, arrays=arrays)


def read_index(reader: Reader, limits: Limits) -> Contents:
    """Read the header and the footer of a seekable file and leave the chunks alone.

    Raises:
        FormatError: if either is damaged or they do not fit the length of the file.
    """
    header = read_header(reader, limits)
    header_bytes = reader.offset
    tally = Tally(header, limits)
    size = reader.size()
    reader.seek("end of the file", max(size - 4, header_bytes))
    footer_bytes = reader.integer(4)
    footer_start = size - 4 - footer_bytes
    if footer_start < header_bytes:
        raise FormatError(f"expected a footer within the file, got one of {footer_bytes} bytes")
    reader.seek("footer", footer_start)
    header, token_hash = read_footer(reader, tally)
    if reader.section_size != footer_bytes:
        raise FormatError(f"expected a footer of {footer_bytes} bytes, got {reader.section_size}")
    tally.finish()
    for chunk in tally.chunks:
        if chunk.mode != TABLES:
            coding_mode(chunk.mode)
    chunk_bytes = sum(chunk.size_bytes for chunk in tally.chunks)
    if header_bytes + chunk_bytes != footer_start:
        raise FormatError(
            f"expected the footer after {chunk_bytes} bytes of chunks, "
            f"got {footer_start - header_bytes}"
        )
    return Contents(header, header_bytes, tuple(tally.chunks), footer_bytes, token_hash, size)


def read_header(reader: Reader, limits: Limits) -> FileHeader:
    """Read magic and header.

    Raises:
        FormatError: They are not those of a token file of this version.
    """
    reader.begin("magic")
    magic = reader.exactly(len(MAGIC))
    if magic != MAGIC:
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
    if flags & ~KNOWN_FLAGS:
        raise FormatError(f"expected no flags but {KNOWN_FLAGS:#x}, got {flags:#x}", fix=NEWER)
    return FileHeader.from_bytes(text, limits)


def read_footer(reader: Reader, tally: Tally) -> tuple[FileHeader, bytes]:
    """Read the footer from its first byte on, up to its length.

    Args:
        reader: At the first byte, in a section that begins there.
        tally: Of no chunks yet; gets those of the index.

    Returns:
        The header with what it left open, and the token hash.

    Raises:
        FormatError: It is damaged or does not fit the header.
    """
    if reader.varint() != END_OF_CHUNKS:
        raise FormatError("expected the end of the chunks where the footer begins")
    num_chunks = reader.varint()
    tally.limits.check("num_chunks", num_chunks, "chunks")
    for _ in range(num_chunks):
        tally.add(_read_fields(reader, reader.varint()))
    return _read_closing(reader, tally)


def decode_tables(payload: bytes, stream: StreamHeader) -> StreamTables:
    """The tables in a chunk.

    Raises:
        FormatError: Bytes that no writer makes.
    """
    try:
        return StreamTables.from_bytes(payload, stream.codebook_sizes)
    except CodingError as error:
        raise FormatError(str(error)) from None


def _read_fields(reader: Reader, mark: int) -> Chunk:
    return Chunk(
        stream=mark - 1,
        mode=reader.integer(1),
        num_symbols=reader.varint(),
        payload_bytes=reader.varint(),
    )


def _read_closing(reader: Reader, tally: Tally) -> tuple[FileHeader, bytes]:
    """What follows the index: the header with what it left open, and the token hash."""
    header = tally.header.with_symbols(tally.num_symbols)
    header = header.with_media({name: reader.varint() for name in header.open_media})
    token_hash = reader.exactly(HASH_BYTES)
    reader.check_crc()
    return header, token_hash


def _join(stream: StreamHeader, rows: list[Indices]) -> Indices:
    shape = (*stream.shape, len(stream.codebook_sizes))
    if not rows:
        return np.empty(shape, np.int64)
    return (rows[0] if len(rows) == 1 else np.concatenate(rows)).reshape(shape)
