"""From indices of codebooks to the ids of one vocabulary, and back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vqkit.errors import ConfigError
from vqkit.files.dataset.export.order import Order
from vqkit.files.format_error import FormatError

__all__ = ["SEPARATORS", "Sequencing", "Vocabulary"]

SEPARATORS = ("none", "end", "both")
"""Ids around a sample: none, one at its end, one at its begin and another at its end."""

_MAX_SIZE = 1 << 32

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Vocabulary:
    """The ids that a language model sees.

    With offsets level k has ids of its own, after those of the levels before it. Without, all
    levels share the ids of the largest codebook, and the place in the sequence tells the level.
    After the codes come the special ids that there are: begin, end, padding.

    Args:
        codebook_sizes: Of the levels.
        level_offsets: Whether each level has ids of its own.
        separator: One of `SEPARATORS`.
        has_padding: Whether there is an id for places without a token.

    Raises:
        ConfigError: More ids than 32 bits hold, or there is no such separator.

    Example:
        >>> vocabulary = Vocabulary((512, 256), level_offsets=True, separator="both")
        >>> vocabulary.offsets, vocabulary.begin, vocabulary.end, vocabulary.size
        ((0, 512), 768, 769, 770)
    """

    codebook_sizes: tuple[int, ...]
    level_offsets: bool = False
    separator: str = "none"
    has_padding: bool = False

    def __post_init__(self) -> None:
        if self.separator not in SEPARATORS:
            raise ConfigError(
                f"Separator: expected one of {', '.join(SEPARATORS)}, got {self.separator!r}."
            )
        if self.size > _MAX_SIZE:
            raise ConfigError(
                f"Vocabulary: expected up to {_MAX_SIZE} ids, got {self.size}. Split indices of "
                f"that many codes into several codebooks, or leave the level offsets out."
            )

    @property
    def offsets(self) -> tuple[int, ...]:
        """What is added to the indices of each level."""
        if not self.level_offsets:
            return (0,) * len(self.codebook_sizes)
        sums = [sum(self.codebook_sizes[:level]) for level in range(len(self.codebook_sizes))]
        return tuple(sums)

    @property
    def num_codes(self) -> int:
        """Ids of codes, special ones apart."""
        return sum(self.codebook_sizes) if self.level_offsets else max(self.codebook_sizes)

    @property
    def begin(self) -> int | None:
        """The id before each sample."""
        return self.num_codes if self.separator == "both" else None

    @property
    def end(self) -> int | None:
        """The id after each sample."""
        if self.separator == "none":
            return None
        return self.num_codes + (self.separator == "both")

    @property
    def padding(self) -> int | None:
        """The id of places without a token."""
        before = (self.begin is not None) + (self.end is not None)
        return self.num_codes + before if self.has_padding else None

    @property
    def special_ids(self) -> dict[str, int]:
        """Those that there are, by name."""
        ids = {"begin": self.begin, "end": self.end, "padding": self.padding}
        return {name: value for name, value in ids.items() if value is not None}

    @property
    def size(self) -> int:
        """All ids."""
        return self.num_codes + len(self.special_ids)


@dataclass(frozen=True)
class Sequencing:
    """Grids of indices <-> sequences of ids, separators included.

    Args:
        order: In which tokens follow each other.
        vocabulary: Of the ids.
    """

    order: Order
    vocabulary: Vocabulary

    def length(self, shape: tuple[int, ...]) -> int:
        """Ids for a grid of this shape ``[*grid, codebooks]``."""
        vocabulary = self.vocabulary
        separators = (vocabulary.begin is not None) + (vocabulary.end is not None)
        return self.order.length(shape) + separators

    def ids(self, grid: Indices) -> Indices:
        """int64, of a grid ``[*grid, codebooks]``."""
        offset = grid + np.array(self.vocabulary.offsets, np.int64)
        sequence = self.order.flatten(offset, self.vocabulary.padding or 0)
        return np.concatenate([self._separator("begin"), sequence, self._separator("end")])

    def grid(self, ids: npt.NDArray[Any], shape: tuple[int, ...]) -> Indices:
        """int64 ``[*grid, codebooks]``; separators may be there or not.

        Raises:
            FormatError: The ids are none of a grid of this shape.
        """
        sequence = np.asarray(ids, np.int64)
        if len(sequence) != self.order.length(shape):
            sequence = self._without_separators(sequence)
        grid = self.order.unflatten(sequence, shape, self.vocabulary.padding or 0)
        indices: Indices = grid - np.array(self.vocabulary.offsets, np.int64)
        self._check_range(indices)
        return indices

    def _check_range(self, indices: Indices) -> None:
        sizes = self.vocabulary.codebook_sizes
        columns: Sequence[Indices] = [*np.moveaxis(indices, -1, 0)]
        for level, (column, size) in enumerate(zip(columns, sizes, strict=True)):
            if column.size and not (column.min() >= 0 and column.max() < size):
                raise FormatError(
                    f"expected ids of {size} codes for level {level}, got others: "
                    f"{int(column.min())} to {int(column.max())} without the offset"
                )

    def _separator(self, which: str) -> Indices:
        value = getattr(self.vocabulary, which)
        return np.array([] if value is None else [value], np.int64)

    def _without_separators(self, ids: Indices) -> Indices:
        begin, end = self.vocabulary.begin, self.vocabulary.end
        if begin is not None and ids[:1].tolist() != [begin]:
            raise FormatError(f"expected id {begin} before the sample, got {ids[:1].tolist()}")
        if end is not None and ids[-1:].tolist() != [end]:
            raise FormatError(f"expected id {end} after the sample, got {ids[-1:].tolist()}")
        first = 0 if begin is None else 1
        return ids[first : len(ids) if end is None else -1]
