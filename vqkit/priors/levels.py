"""Indices <-> the levels that a prior predicts one after the other.

A codebook of up to 4,096 codes is one level. The indices of a larger one, or the words of a
pyramid, are split into digits, the highest first: a table over all their values would be too large
to make at every position, and to learn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from vqkit.shapes import Int

__all__ = ["UNKNOWN", "Levels"]

UNKNOWN = -1
"""Stands for a token that is not known, in indices and in levels."""

_MAX_BITS = 12  # of a level


@dataclass(frozen=True)
class Levels:
    """The digits of codebooks.

    Args:
        codebook_sizes: Codes of each codebook; one of a single code has no level.

    Example:
        >>> levels = Levels((512, 1, 1 << 16))
        >>> levels.sizes
        (512, 256, 256)
        >>> split = levels.split(torch.tensor([[7, 0, 513], [7, 0, -1]]))
        >>> split.tolist(), levels.join(split).tolist()
        ([[7, 2, 1], [7, -1, -1]], [[7, 0, 513], [7, 0, -1]])
    """

    codebook_sizes: tuple[int, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of values of each level."""
        return tuple(digit.size for digits in self._digits for digit in digits)

    def split(self, indices: Int[Tensor, "*positions codebooks"]) -> Int[Tensor, "*positions l"]:
        """Digits of indices; all digits of an unknown index are unknown."""
        levels = [
            torch.where(column < 0, UNKNOWN, (column >> digit.shift) & digit.mask)
            for column, digits in zip(indices.unbind(-1), self._digits, strict=True)
            for digit in digits
        ]
        return torch.stack(levels, -1) if levels else indices[..., :0]

    def join(self, levels: Int[Tensor, "*positions l"]) -> Int[Tensor, "*positions codebooks"]:
        """Indices of digits; an index is unknown if one of its digits is.

        Digits that no index has give an index beyond its codebook.
        """
        columns = iter(levels.unbind(-1))
        joined = []
        for digits in self._digits:
            index = torch.zeros(levels.shape[:-1], dtype=torch.int64, device=levels.device)
            known = torch.ones_like(index, dtype=torch.bool)
            for digit in digits:
                column = next(columns)
                index |= column.clamp(min=0) << digit.shift
                known &= column >= 0
            joined.append(torch.where(known, index, UNKNOWN))
        return torch.stack(joined, -1)

    @cached_property
    def _digits(self) -> tuple[tuple["_Digit", ...], ...]:
        return tuple(tuple(_digits_of(size)) for size in self.codebook_sizes)


@dataclass(frozen=True)
class _Digit:
    shift: int
    size: int

    @property
    def mask(self) -> int:
        """Of the digit's bits."""
        return (1 << (self.size - 1).bit_length()) - 1


def _digits_of(codebook_size: int) -> Sequence[_Digit]:
    num_bits = (codebook_size - 1).bit_length()
    num_digits = -(-num_bits // _MAX_BITS)
    width = -(-num_bits // num_digits) if num_digits else 0
    shifts = [position * width for position in reversed(range(num_digits))]
    return [
        _Digit(shift, ((codebook_size - 1) >> shift) + 1 if place == 0 else 1 << width)
        for place, shift in enumerate(shifts)
    ]
