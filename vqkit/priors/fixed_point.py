"""The numbers of a prior: whole numbers times powers of two, in training and in use.

Matrices multiply numbers of eight bits, few enough that float32 holds every partial sum exactly:
the result is the same in whatever order they are summed. Between the products stand single
operations that IEEE 754 rounds in one way only (division, square root, rounding) and tables. So
what is predicted is the same on every machine, device, and number of threads, also where TF32 or
bfloat16 stand in for float32, which both hold eight bits.

A number "of ``bits``" is a multiple of ``2^-bits``. Sums of products of two of them have the sum of
their bits, and no sum has more than 24 binary digits:

- a row of weights, of 4 to 10 bits, times up to 512 activations, plus a bias below 64, whose 8 bits
  are never finer than the products': ``512 * 127^2 + 2^21``;
- queries times keys: ``32 * 127^2``, plus the bias of an offset below ``2^20``;
- weights of keys times values: ``500 * 255 * 127``, for tiles have at most 500 keys.
"""

from decimal import Decimal
from typing import Any

import torch
from torch import Tensor, nn

__all__ = [
    "ACTIVATION_BITS",
    "BIAS_BITS",
    "BIAS_LIMIT",
    "EIGHT_BITS",
    "HEAD_DIM",
    "LOGIT_BITS",
    "MAX_FAN_IN",
    "NORM_BITS",
    "OFFSET_BITS",
    "OFFSET_LIMIT",
    "RESIDUAL_BITS",
    "RESIDUAL_LIMIT",
    "WEIGHT_BITS",
    "Rounded",
    "RoundedRows",
    "attention_weights",
    "rounded",
    "symbol_weights",
    "weight_bits",
]

EIGHT_BITS = 127  # the largest magnitude of weights and activations, in their units
ACTIVATION_BITS = 4  # queries, keys, values, hidden units: up to 7.9
NORM_BITS = 5  # normalised activations: up to 4 times their root mean square
RESIDUAL_BITS, RESIDUAL_LIMIT = 8, (1 << 15) - 1
BIAS_BITS, BIAS_LIMIT = 8, (1 << 14) - 1
HEAD_DIM = 32
OFFSET_BITS, OFFSET_LIMIT = 2 * ACTIVATION_BITS + 2, (1 << 20) - 1
LOGIT_BITS = 5
WEIGHT_BITS = (4, 10)  # each row has its own, by its largest weight
MAX_FAN_IN = 512

_ATTENTION_TABLE_BITS = 4


def _exponentials(scale: int, bits: int, lowest: int) -> list[int]:
    """``scale * exp(-i / 2^bits)`` until it is ``lowest``; decimal rounds alike everywhere."""
    table = [scale]
    while table[-1] > lowest:
        value = scale * (Decimal(-len(table)) / (1 << bits)).exp()
        table.append(max(lowest, int(value.to_integral_value())))
    return table


_ATTENTION_TABLE = torch.tensor(_exponentials(255, _ATTENTION_TABLE_BITS, 0), dtype=torch.float32)
_SYMBOL_TABLE = torch.tensor(_exponentials(1 << 20, LOGIT_BITS, 1), dtype=torch.float64)


def rounded(x: Tensor, bits: int, limit: int) -> Tensor:
    """The nearest number of ``bits`` whose magnitude is up to ``limit`` units.

    The gradient is that of the clamp.
    """
    result: Tensor = _Rounding.apply(x, bits, limit)
    return result


class _Rounding(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bits: int, limit: int) -> Tensor:
        units = x * 2.0**bits
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(units.abs() <= limit)
        return units.round_().clamp_(-limit, limit).mul_(2.0**-bits)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (within,) = ctx.saved_tensors
        return gradients[0] * within, None, None


def attention_weights(scores: Tensor) -> Tensor:
    """``255 exp(score - best)`` along the last axis, from a table where no gradient is asked for.

    Args:
        scores: Numbers of `OFFSET_BITS`; those far below the best weigh nothing.
    """
    below = scores.amax(-1, keepdim=True) - scores
    if scores.requires_grad:
        return 255 * torch.exp(-below)
    last = len(_ATTENTION_TABLE) - 1
    place = torch.round(below * (1 << _ATTENTION_TABLE_BITS)).clamp(max=last)
    return _ATTENTION_TABLE.to(scores.device)[place.long()]


def symbol_weights(logits: Tensor) -> Tensor:
    """``2^20 exp(logit - best)`` from a table, 1 or more: whole numbers in float64."""
    units = torch.round(logits * (1 << LOGIT_BITS))
    below = units.amax(-1, keepdim=True) - units
    return _SYMBOL_TABLE.to(logits.device)[below.clamp(max=len(_SYMBOL_TABLE) - 1).long()]


def weight_bits(weight: Tensor) -> Tensor:
    """``[rows]`` the most bits that rows of weights can have within eight bits."""
    largest = weight.detach().abs().amax(dim=1).clamp(min=1e-30)
    return torch.floor(torch.log2(EIGHT_BITS / largest)).clamp(*WEIGHT_BITS)


class RoundedRows(nn.Module):
    """Parametrization of a matrix: each row of as many bits as eight bits have room for."""

    def forward(self, weight: Tensor) -> Tensor:
        """``[rows, columns]`` rounded, with the gradient of a clamp."""
        scale = torch.exp2(weight_bits(weight))[:, None]
        return rounded(weight * scale, 0, EIGHT_BITS) / scale


class Rounded(nn.Module):
    """Parametrization of a tensor: numbers of so many bits.

    Args:
        bits: Their unit is ``2^-bits``.
        limit: Largest magnitude, in units.
    """

    def __init__(self, bits: int, limit: int) -> None:
        super().__init__()
        self.bits = bits
        self.limit = limit

    def forward(self, value: Tensor) -> Tensor:
        """Rounded, with the gradient of a clamp."""
        return rounded(value, self.bits, self.limit)
