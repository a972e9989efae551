"""Bits of an index, in either order."""

from typing import Literal

import torch
from torch import Tensor

from vqkit.shapes import Bool, Int

__all__ = ["BitOrder", "bits_to_index", "index_to_bits", "reverse_bits"]

BitOrder = Literal["little", "big"]
"""Whether the first bit is the lowest of the index ("little") or the highest ("big")."""


def bits_to_index(
    bits: Bool[Tensor, "*positions bits"], order: BitOrder = "little"
) -> Int[Tensor, "*positions"]:
    """Join at most 62 bits into an index.

    >>> bits = torch.tensor([True, False, False])
    >>> int(bits_to_index(bits)), int(bits_to_index(bits, "big"))
    (1, 4)
    """
    # Integers throughout: a float product loses bits above 2^24.
    return (bits.long() << _shifts(bits.shape[-1], order, bits.device)).sum(-1)


def index_to_bits(
    index: Int[Tensor, "*positions"], num_bits: int, order: BitOrder = "little"
) -> Bool[Tensor, "*positions bits"]:
    """Split an index into its bits, the inverse of :func:`bits_to_index`."""
    shifted = index.long()[..., None] >> _shifts(num_bits, order, index.device)
    return (shifted & 1).bool()


def reverse_bits(index: Int[Tensor, "*positions"], num_bits: int) -> Int[Tensor, "*positions"]:
    """The index of the same bits in the other order; -1, no token, stays.

    Open-MAGVIT2 has dimension 0 in the lowest bit, vector-quantize-pytorch and bsq-vit in the
    highest: this turns the indices of one into those of the other.

    >>> reverse_bits(torch.tensor([1, 6, -1]), 3)
    tensor([ 4,  3, -1])
    """
    reversed_ = bits_to_index(index_to_bits(index, num_bits), "big")
    return torch.where(index < 0, index.long(), reversed_)


def _shifts(num_bits: int, order: BitOrder, device: torch.device) -> Tensor:
    shifts = torch.arange(num_bits, device=device)
    return shifts if order == "little" else shifts.flip(0)
