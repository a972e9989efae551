"""Writing the container: a header, chunks as they come, the footer."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from vqkit.coding import FrequencyTable, StreamTables
from vqkit.errors import ConfigError
from vqkit.files.container.layout import (
    END_OF_CHUNKS,
    FORMAT_VERSION,
    KNOWN_FLAGS,
    MAGIC,
    Chunk,
    Indices,
    TokenHash,
    crc,
    varint,
)
from vqkit.files.container.tally import Tally
from vqkit.files.header import FileHeader, StreamHeader
from vqkit.files.limits import Limits
from vqkit.files.modes import CODERS, TABLED, TABLED_NEIGHBOURS, TABLES, check_coder, encode_chunk
from vqkit.files.resources import CodingResources
from vqkit.quantizers import NO_TOKEN

__all__ = ["ContainerWriter", "encode"]

_DEFAULT_CHUNK_SYMBOLS = 1 << 20
_BYTE_CODER = "fixed"
# Larger chunks learn their own frequencies soon enough.
_MAX_TABLED_CHUNK_SYMBOLS = 1 << 16


class ContainerWriter:
    """Writes a file from front to end, never looking back.

    Args:
        write: Takes the next bytes of the file.
        header: What the file will hold; open streams may grow.
        coder: One of `vqkit.files.modes.CODERS`: which coding modes each chunk may choose from.
        resources: What chunks may be coded with.

    Raises:
        ConfigError: There is no such coder.
        FormatError: The file would go beyond the default `Limits`.
    """

    def __init__(
        self,
        write: Callable[[bytes], object],
        header: FileHeader,
        coder: str,
        resources: CodingResources,
    ) -> None:
        check_coder(coder)
        self.header = header
        self.coder = coder
        self.resources = resources
        self._write = write
        limits = Limits()
        text = header.to_bytes()
        limits.check("header_bytes", len(text), "bytes of header")
        FileHeader.from_bytes(text, limits)
        self._tally = Tally(header, limits)
        self._hash = TokenHash(len(header.streams))
        prelude = bytes([FORMAT_VERSION, KNOWN_FLAGS]) + len(text).to_bytes(2, "little") + text
        write(MAGIC + prelude + crc(prelude))

    def add_tables(self, stream: int, tables: StreamTables) -> None:
        """Write a chunk of tables, which the chunks of the stream after it may use."""
        self._add(stream, TABLES, 0, tables.to_bytes())
        self.resources = self.resources.with_embedded(self.header.streams[stream].name, tables)

    def can_hold_tables(self, stream: int) -> bool:
        """Whether `add_tables` may be called for a stream."""
        return self._tally.can_hold_tables(stream)

    def add(self, stream: int, rows: Indices) -> None:
        """Write the next whole rows of a stream as a chunk, ``[positions, codebooks]``."""
        layout = self.header.streams[stream].layout_of(rows.size)
        mode, payload = encode_chunk(rows, layout, self.coder_of(stream), self.resources)
        self.add_encoded(stream, rows, mode, payload)

    def coder_of(self, stream: int) -> str:
        """The coder, or fixed width for bytes, which are those of compressed media as a rule."""
        return _BYTE_CODER if self.header.streams[stream].is_of_bytes else self.coder

    def add_encoded(self, stream: int, rows: Indices, mode: int, payload: bytes) -> None:
        """Write rows that have been coded already."""
        self._add(stream, mode, rows.size, payload)
        self._hash.add(stream, rows)
        if self._tally.is_complete(stream):
            self._hash.end(stream)

    def finish(self, media: Mapping[str, int]) -> None:
        """Write the footer.

        Args:
            media: The sizes that the header left open, by name.

        Raises:
            FormatError: Symbols are missing.
        """
        self._tally.finish()
        footer = bytes([END_OF_CHUNKS]) + varint(len(self._tally.chunks)) + self._tally.index
        footer += b"".join(varint(media[name]) for name in self.header.open_media)
        footer += self._hash.digest()
        footer += crc(footer)
        self._write(footer + len(footer).to_bytes(4, "little"))

    def _add(self, stream: int, mode: int, num_symbols: int, payload: bytes) -> None:
        chunk = Chunk(stream, mode, num_symbols, len(payload))
        self._tally.add(chunk)
        data = chunk.to_bytes() + payload
        self._write(data + crc(data))


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
    parts: list[bytes] = []
    writer = ContainerWriter(parts.append, header, coder, resources or CodingResources())
    cuts = _cuts(header, chunk_rows)
    # Before any is coded, which takes its time.
    limits = Limits()
    limits.check("num_chunks", sum(len(cut) for cut in cuts), "chunks")
    for stream, cut in zip(header.streams, cuts, strict=True):
        chunk_symbols = cut.step * len(stream.codebook_sizes)
        limits.check("chunk_symbols", min(chunk_symbols, stream.num_symbols), "symbols in a chunk")
    coded: dict[tuple[int, int], tuple[int, bytes]] = {}
    for number, cut in enumerate(cuts):
        stream = header.streams[number]
        rows = arrays[stream.name].reshape(-1, len(stream.codebook_sizes))
        chunks = [rows[start : start + cut.step] for start in cut]
        stream_coder = writer.coder_of(number)
        may_embed = writer.can_hold_tables(number) and _may_embed(chunks, stream_coder)
        tables, payloads = _encode_stream(
            stream, rows, chunks, stream_coder, writer.resources, may_embed
        )
        if tables is not None:
            writer.add_tables(number, tables)
        coded.update(
            {(number, start): payload for start, payload in zip(cut, payloads, strict=True)}
        )
    for number, positions in _in_rounds(cuts):
        stream = header.streams[number]
        rows = arrays[stream.name].reshape(-1, len(stream.codebook_sizes))[positions]
        writer.add_encoded(number, rows, *coded.pop((number, positions.start)))
    writer.finish({})
    return b"".join(parts)


def _encode_stream(
    stream: StreamHeader,
    rows: Indices,
    chunks: Sequence[Indices],
    coder: str,
    resources: CodingResources,
    may_embed: bool,
) -> tuple[StreamTables | None, list[tuple[int, bytes]]]:
    """Payloads of all chunks, and the tables to embed if the file is smaller with them."""

    def encode_all(resources: CodingResources) -> list[tuple[int, bytes]]:
        return [
            encode_chunk(chunk, stream.layout_of(chunk.size), coder, resources) for chunk in chunks
        ]

    plain = encode_all(resources)
    if not may_embed:
        return None, plain
    tables = _count(rows, stream.codebook_sizes)
    tabled = encode_all(resources.with_embedded(stream.name, tables))
    saved = sum(len(payload) for _, payload in plain) - sum(len(payload) for _, payload in tabled)
    cost = Chunk(0, TABLES, 0, size := len(tables.to_bytes())).size_bytes * 2 - size
    return (tables, tabled) if saved > cost else (None, plain)


def _may_embed(chunks: Sequence[Indices], coder: str) -> bool:
    """Whether tables could pay: where many chunks would learn the same frequencies anew."""
    return (
        {TABLED, TABLED_NEIGHBOURS} <= {*CODERS[coder]}
        and len(chunks) > 1
        and chunks[0].size <= _MAX_TABLED_CHUNK_SYMBOLS
    )


def _count(rows: Indices, codebook_sizes: tuple[int, ...]) -> StreamTables:
    tables = []
    for column, size in zip(rows.T, codebook_sizes, strict=True):
        codes, counts = np.unique(column[column != NO_TOKEN], return_counts=True)
        tables.append(FrequencyTable.of(size, codes, counts))
    return StreamTables(tuple(tables))


def _cuts(header: FileHeader, chunk_rows: int | None) -> list[range]:
    """For each stream the first positions of its chunks."""
    if chunk_rows is not None and chunk_rows < 1:
        raise ConfigError(f"Wrong chunk_rows: expected at least 1, got {chunk_rows}.")
    cuts = []
    for stream in header.streams:
        num_codebooks = len(stream.codebook_sizes)
        row_symbols = max(1, stream.symbols_per_row)
        rows = (not stream.is_of_bytes and chunk_rows) or max(
            1, _DEFAULT_CHUNK_SYMBOLS // row_symbols
        )
        step = max(1, rows * row_symbols // num_codebooks)
        cuts.append(range(0, stream.num_symbols // num_codebooks, step))
    return cuts


def _in_rounds(cuts: list[range]) -> Iterator[tuple[int, slice]]:
    """Stream number and positions of every chunk: one of each stream, then again."""
    for turn in range(max(len(cut) for cut in cuts)):
        for number, cut in enumerate(cuts):
            if turn < len(cut):
                yield number, slice(cut[turn], cut[turn] + cut.step)
