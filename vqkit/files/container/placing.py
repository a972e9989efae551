"""Which rows of a stream the chunks are that were found in a damaged file."""

from collections.abc import Sequence
from dataclasses import dataclass

from vqkit.files.container.layout import Chunk
from vqkit.files.header import StreamHeader

__all__ = ["FoundChunk", "Gap", "Placed", "Placement", "place"]


@dataclass(frozen=True)
class FoundChunk:
    """A chunk, where its payload is, and what is wrong with it if its tokens are lost."""

    chunk: Chunk
    payload_start: int
    problem: str = ""


@dataclass(frozen=True)
class Gap:
    """Bytes of the file in which there may have been any number of chunks."""

    start: int
    stop: int


@dataclass(frozen=True)
class Placed:
    """A chunk and its rows."""

    found: FoundChunk
    start_row: int
    num_rows: int


@dataclass(frozen=True)
class Placement:
    """Chunks of a stream whose rows are known, its rows in all, and chunks that have no place.

    ``is_whole`` is False where nobody knows how long the stream was: then it ends where the rows
    end that are known.
    """

    placed: tuple[Placed, ...]
    num_rows: int
    unplaced: tuple[FoundChunk, ...]
    is_whole: bool


def place(
    pieces: Sequence[FoundChunk | Gap], stream: StreamHeader, *, reached_end: bool
) -> Placement:
    """Give the chunks of one stream their rows.

    Args:
        pieces: Chunks of the stream and gaps of the file, in the order of the file.
        stream: Of the header.
        reached_end: Whether the end of all chunks was found after them.
    """
    runs: list[list[FoundChunk]] = [[]]
    for piece in pieces:
        if isinstance(piece, Gap):
            runs.append([])
        else:
            runs[-1].append(piece)
    total = None if stream.is_open else (stream.shape[0] if stream.shape else 1)
    if total is not None and sum(_rows(found, stream) for run in runs for found in run) == total:
        runs = [[found for run in runs for found in run]]
    placed = _from(0, runs[0], stream)
    end, unplaced = _end(placed), [found for run in runs[1:] for found in run]
    if total is None:
        return Placement(placed, end, tuple(unplaced), reached_end and len(runs) == 1)
    if len(runs) > 1 and reached_end:
        # Between the last gap and the end of the chunks nothing is missing.
        start = total - sum(_rows(found, stream) for found in runs[-1])
        if start >= end:
            placed += _from(start, runs[-1], stream)
            unplaced = unplaced[: len(unplaced) - len(runs[-1])]
    fits = tuple(part for part in placed if part.start_row + part.num_rows <= total)
    unplaced += [part.found for part in placed if part not in fits]
    return Placement(fits, total, tuple(unplaced), is_whole=True)


def _from(row: int, run: Sequence[FoundChunk], stream: StreamHeader) -> tuple[Placed, ...]:
    placed = []
    for found in run:
        num_rows = _rows(found, stream)
        placed.append(Placed(found, row, num_rows))
        row += num_rows
    return tuple(placed)


def _end(placed: Sequence[Placed]) -> int:
    return placed[-1].start_row + placed[-1].num_rows if placed else 0


def _rows(found: FoundChunk, stream: StreamHeader) -> int:
    return found.chunk.num_symbols // max(1, stream.symbols_per_row)
