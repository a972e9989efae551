"""Coding of grids: most symbols equal a neighbour that is known already.

Each position has a *source*: the first of the positions one step back along the axes, the last axis
first, that holds the same index, or none. Sources are coded adaptively, each from the source of the
position above and that of the codebook before; then only the indices without a source are.

The sources of a codebook are decoded before any of its indices, and the indices they lead to are
found for all positions together: nothing here runs position by position.
"""

from collections.abc import Iterator, Sequence
from math import prod

import numpy as np
import numpy.typing as npt

from vqkit.coding.adaptive import Counts, decode_adaptively, encode_adaptively
from vqkit.coding.range_coder import RangeDecoder, RangeEncoder
from vqkit.coding.tables import FrequencyTable
from vqkit.errors import CodingError

__all__ = ["decode_by_neighbours", "encode_by_neighbours"]

_MAX_PIECE = 128  # positions whose sources are coded with the same tables
_MIN_ROW = 16  # shorter rows would make pieces that cost more than they gain

Indices = npt.NDArray[np.int64]
Sources = npt.NDArray[np.int8]  # there is one for every position, and there can be 2^24 of these


def encode_by_neighbours(
    indices: Indices,
    grid: tuple[int, ...],
    codebook_sizes: tuple[int, ...],
    encoder: RangeEncoder,
    tables: Sequence[FrequencyTable] | None = None,
) -> None:
    """Append ``indices [positions, codebooks]`` of a grid, in C order.

    ``tables``, one for each codebook, predict the indices without a source.
    """
    layout = _Layout(grid)
    before = np.zeros(layout.num_positions, np.int8)
    for codebook, codebook_size in enumerate(codebook_sizes):
        column = indices[:, codebook]
        if codebook_size == 1:
            continue
        sources = layout.sources(column)
        contexts = _Contexts(layout)
        for piece in layout.pieces():
            for counts, chosen in contexts.of(piece, sources, before):
                flags = sources[piece][chosen].astype(np.int64)
                encoder.encode(flags, counts.weights())
                counts.add(flags)
        table = None if tables is None else tables[codebook]
        encode_adaptively(column[sources == layout.none], codebook_size, encoder, table)
        before = sources


def decode_by_neighbours(
    grid: tuple[int, ...],
    codebook_sizes: tuple[int, ...],
    decoder: RangeDecoder,
    tables: Sequence[FrequencyTable] | None = None,
) -> Indices:
    """The next ``[positions, codebooks]``.

    Raises:
        CodingError: Bytes that no encoder writes.
    """
    layout = _Layout(grid)
    indices = np.zeros((layout.num_positions, len(codebook_sizes)), np.int64)
    before = np.zeros(layout.num_positions, np.int8)
    for codebook, codebook_size in enumerate(codebook_sizes):
        if codebook_size == 1:
            continue
        sources = np.empty(layout.num_positions, np.int8)
        contexts = _Contexts(layout)
        for piece in layout.pieces():
            for counts, chosen in contexts.of(piece, sources, before):
                flags = decoder.decode(int(np.count_nonzero(chosen)), counts.weights())
                sources[piece][chosen] = flags
                counts.add(flags)
        own = sources == layout.none
        values = np.zeros(layout.num_positions, np.int64)
        table = None if tables is None else tables[codebook]
        values[own] = decode_adaptively(int(np.count_nonzero(own)), codebook_size, decoder, table)
        indices[:, codebook] = values[layout.origins(sources)]
        before = sources
    return indices


class _Layout:
    """Which positions of a grid are neighbours, and in what pieces they are coded.

    Attributes:
        num_positions: Of the whole grid.
        none: The source that stands for none; the others are 0 to ``none - 1``.
        above: How many positions back the one above is; None where rows are too short, or one.
    """

    def __init__(self, grid: tuple[int, ...]) -> None:
        axes = [size for size in grid if size != 1]
        self.num_positions = prod(axes)
        # Of the last axis first: steps in positions, and size.
        self._axes = [(prod(axes[i + 1 :]), axes[i]) for i in reversed(range(len(axes)))]
        self.none = len(axes)
        has_rows = len(axes) > 1 and axes[-1] >= _MIN_ROW
        self.above = axes[-1] if has_rows else None

    def sources(self, column: Indices) -> Sources:
        """Source of every position."""
        sources = np.full(self.num_positions, self.none, np.int8)
        for number, (step, size) in reversed(list(enumerate(self._axes))):
            equal = np.zeros(self.num_positions, bool)
            equal[step:] = column[step:] == column[:-step]
            sources[equal & self._has_neighbour(step, size)] = number
        return sources

    def origins(self, sources: Sources) -> Indices:
        """The position without source that every position leads to.

        Raises:
            CodingError: A source outside of the grid.
        """
        origins = np.arange(self.num_positions)
        for number, (step, size) in enumerate(self._axes):
            here = sources == number
            if (here & ~self._has_neighbour(step, size)).any():
                raise CodingError("expected neighbours inside the grid, got one before its edge")
            origins[here] -= step
        # Twice as far with each round.
        while not np.array_equal(further := origins[origins], origins):
            origins = further
        return origins

    def pieces(self) -> Iterator[slice]:
        """Consecutive positions, in one row where there are rows."""
        row = self.above or self.num_positions
        for start in range(0, self.num_positions, row):
            for first in range(start, start + row, _MAX_PIECE):
                yield slice(first, min(first + _MAX_PIECE, start + row))

    def _has_neighbour(self, step: int, size: int) -> npt.NDArray[np.bool_]:
        return np.arange(self.num_positions) // step % size > 0


class _Contexts:
    """Tables of sources, one for every pair of the source above and the source before."""

    def __init__(self, layout: _Layout) -> None:
        self._layout = layout
        self._counts: dict[int, Counts] = {}

    def of(
        self, piece: slice, sources: Sources, before: Sources
    ) -> Iterator[tuple[Counts, npt.NDArray[np.bool_]]]:
        """The table and the positions of each pair that a piece has, in ascending order."""
        num_sources = self._layout.none + 1
        above = np.full(piece.stop - piece.start, self._layout.none, np.int8)
        if self._layout.above is not None and piece.start >= self._layout.above:
            above = sources[piece.start - self._layout.above : piece.stop - self._layout.above]
        context = above.astype(np.int16) * num_sources + before[piece]
        for number in np.unique(context).tolist():
            counts = self._counts.setdefault(number, Counts(num_sources))
            yield counts, context == number
