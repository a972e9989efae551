"""Mixed radix: a vector of digits as one integer, exactly, up to 2^62."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.shapes import Float, Int

__all__ = ["check_bases", "digits_to_index", "index_to_digits"]

MAX_INDEX_BITS = 62
_EXACT_IN_FLOAT32 = 2**24


def check_bases(bases: Sequence[int]) -> None:
    """Refuse bases below 2 and products that an int64 cannot hold safely.

    Raises:
        ConfigError: No base, a base below 2, or a product above 2^62.
    """
    if not bases or any(base < 2 for base in bases):
        raise ConfigError(f"Levels: expected one or more integers >= 2, got {list(bases)}.")
    if math.prod(bases) > 2**MAX_INDEX_BITS:
        raise ConfigError(
            f"Levels {list(bases)} give {math.prod(bases)} codes: expected at most 2^62 in one "
            "index. Split the dimensions over several quantizers."
        )


def digits_to_index(
    digits: Int[Tensor, "*positions digits"] | Float[Tensor, "*positions digits"],
    bases: Sequence[int],
) -> Int[Tensor, "*positions"]:
    """Join digits into an index, first digit fastest: ``sum_i digit_i prod_(j<i) base_j``.

    Args:
        digits: Integers, of a floating dtype of at least 24 bits as well.
        bases: One per digit.

    >>> digits_to_index(torch.tensor([1, 2]), [8, 5])
    tensor(17)
    """
    # From the slowest on, so that no number on the way is above the index: float32 holds those
    # below 2^24 exactly, and loses digits above.
    columns = digits.unbind(-1)
    if not digits.is_floating_point() or math.prod(bases) > _EXACT_IN_FLOAT32:
        columns = tuple(column.long() for column in columns)
    index = columns[-1]
    for digit, base in zip(columns[-2::-1], bases[-2::-1], strict=True):
        index = torch.add(digit, index, alpha=base)
    return index.long()


def index_to_digits(
    index: Int[Tensor, "*positions"], bases: Sequence[int]
) -> Int[Tensor, "*positions digits"]:
    """Split an index into its digits, the inverse of :func:`digits_to_index`.

    >>> index_to_digits(torch.tensor(17), [8, 5])
    tensor([1, 2])
    """
    index = index.long()
    digits = []
    for base in bases:
        digits.append(index % base)
        index = torch.div(index, base, rounding_mode="floor")
    return torch.stack(digits, dim=-1)
