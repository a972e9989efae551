"""Numbers as the bits of their float32: exact in files, which hold whole numbers alone."""

import math
import struct

import torch
from torch import Tensor

from vqkit.errors import ShapeError
from vqkit.shapes import Float, Int

__all__ = ["BYTE_SIZES", "bytes_of", "float32_bits", "float_of_bits", "floats_of_bytes"]

BYTE_SIZES = (256,) * 4
"""Codebook sizes of a stream that holds float32 numbers, the byte of sign and exponent first."""

_SHIFTS = (24, 16, 8, 0)


def float32_bits(value: float) -> int:
    """The bits of a positive number, rounded to float32.

    >>> hex(float32_bits(1.0)), float_of_bits(float32_bits(0.5), "a gain")
    ('0x3f800000', 0.5)
    """
    return int.from_bytes(struct.pack(">f", value))


def float_of_bits(bits: int, what: str) -> float:
    """The inverse.

    Raises:
        ShapeError: They are no positive number.
    """
    value = struct.unpack(">f", bits.to_bytes(4))[0] if 0 <= bits < 1 << 32 else math.nan
    if not 0 < value < math.inf:
        raise ShapeError(f"Wrong {what}: expected the bits of a positive float32, got {bits}.")
    return float(value)


def bytes_of(values: Float[Tensor, "*positions"]) -> Int[Tensor, "*positions 4"]:
    """The four bytes of each number, as indices."""
    bits = values.float().contiguous().view(torch.int32).long()
    return torch.stack([(bits >> shift) & 0xFF for shift in _SHIFTS], dim=-1)


def floats_of_bytes(indices: Int[Tensor, "*positions 4"]) -> Float[Tensor, "*positions"]:
    """The inverse; a number of which a byte is -1, unknown, is NaN."""
    is_known = (indices >= 0).all(-1)
    bits = sum(indices[..., i] << shift for i, shift in enumerate(_SHIFTS))
    assert isinstance(bits, Tensor)
    # Beyond 2^31 the bits of int32 are those of a negative number.
    values = (bits - ((bits >> 31) << 32)).int().view(torch.float32)
    return torch.where(is_known, values, torch.nan)
