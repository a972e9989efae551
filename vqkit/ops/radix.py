"""Mixed radix: a vector of digits as one integer, exactly, up to 2^62."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.shapes import Int

__all__ = ["check_bases", "digits_to_index", "index_to_digits"]

MAX_INDEX_BITS = 62


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
    digits: Int[Tensor, "*positions digits"], bases: Sequence[int]
) -> Int[Tensor, "*positions"]:
    """Join digits into an index, first digit fastest: ``sum_i digit_i prod_(j<i) base_j``.

    >>> digits_to_index(torch.tensor([1, 2]), [8, 5])
    tensor(17)
    """
    # Integer arithmetic throughout: a float dot product loses digits above 2^24.
    digits = digits.long()
    index = torch.zeros_like(digits[..., 0])
    weight = 1
    for digit, base in zip(digits.unbind(-1), bases, strict=True):
        index = index + digit * weight
        weight *= base
    return index


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
