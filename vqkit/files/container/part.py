"""Reading a part of a seekable file: the chunks that it lies in, found by the footer."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vqkit.files.container.layout import Chunk, Contents, Indices
from vqkit.files.container.reading import decode_tables, read_index
from vqkit.files.format_error import FormatError
from vqkit.files.header import StreamHeader
from vqkit.files.limits import Limits
from vqkit.files.modes import TABLES, decode_chunk
from vqkit.files.reader import Reader
from vqkit.files.resources import CodingResources

__all__ = ["PlacedChunk", "place_chunks", "read_rows"]


@dataclass(frozen=True)
class PlacedChunk:
    """A chunk, where it lies in the file, and the first of its rows."""

    chunk: Chunk
    offset: int
    start_row: int
    num_rows: int


def place_chunks(contents: Contents) -> Iterator[PlacedChunk]:
    """All chunks of the index, in the order of the file."""
    offset, next_row = contents.header_bytes, [0] * len(contents.header.streams)
    for chunk in contents.chunks:
        stream = contents.header.streams[chunk.stream]
        num_rows = chunk.num_symbols // max(1, stream.symbols_per_row)
        yield PlacedChunk(chunk, offset, next_row[chunk.stream], num_rows)
        next_row[chunk.stream] += num_rows
        offset += chunk.size_bytes


def read_rows(
    reader: Reader,
    limits: Limits,
    resources: CodingResources,
    stream: str,
    rows: range | None,
    num_codebooks: int | None,
) -> tuple[StreamHeader, Indices]:
    """Rows of a stream and its header; of the rest of the file header and footer alone are read.

    Args:
        reader: At the first byte of a seekable file.
        limits: What the file may ask for.
        resources: What its chunks may have been coded with.
        stream: Its name.
        rows: Consecutive ones; None for all.
        num_codebooks: The first so many; None for all.

    Returns:
        Header of the stream, and int64 ``[rows, *other axes, num_codebooks]``.

    Raises:
        FormatError: Header, footer or one of the chunks needed is damaged, or there is no such
            part. The token hash, which is over all tokens, is not checked.
    """
    contents = read_index(reader, limits)
    header = contents.header
    names = [s.name for s in header.streams]
    if stream not in names:
        raise FormatError(f"expected a stream {stream!r}, got {names}", fix="Name one of these.")
    found = header.streams[names.index(stream)]
    total = found.shape[0] if found.shape else 1
    rows = range(total) if rows is None else rows
    if not 0 <= rows.start <= rows.stop <= total:
        raise FormatError(
            f"expected rows from 0 to {total} of stream {stream!r}, got {rows.start} to "
            f"{rows.stop}",
            fix="Ask for rows that there are.",
        )
    if num_codebooks is None or num_codebooks > len(found.codebook_sizes):
        num_codebooks = len(found.codebook_sizes)
    parts = []
    for placed in place_chunks(contents):
        if placed.chunk.stream != names.index(stream):
            continue
        if placed.chunk.mode == TABLES:
            tables = decode_tables(_payload(reader, placed), found)
            resources = resources.with_embedded(stream, tables)
        elif placed.start_row < rows.stop and placed.start_row + placed.num_rows > rows.start:
            layout = found.layout_of(placed.chunk.num_symbols)
            symbols = decode_chunk(
                placed.chunk.mode, _payload(reader, placed), layout, resources, num_codebooks
            )
            block = symbols.reshape(placed.num_rows, *found.shape[1:], num_codebooks)
            first = max(0, rows.start - placed.start_row)
            parts.append(block[first : rows.stop - placed.start_row])
    empty = np.empty((0, *found.shape[1:], num_codebooks), np.int64)
    return found, np.concatenate([empty, *parts])


def _payload(reader: Reader, placed: PlacedChunk) -> bytes:
    """The payload of a chunk that says of itself what the index says of it."""
    reader.seek(f"chunk of rows from {placed.start_row} on", placed.offset)
    fields = placed.chunk.to_bytes()
    if reader.exactly(len(fields)) != fields:
        raise FormatError("expected a chunk as the index says, got another")
    payload = reader.exactly(placed.chunk.payload_bytes)
    reader.check_crc()
    return payload
