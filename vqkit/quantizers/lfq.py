"""Lookup-free quantization: the code is the signs of the input."""

from collections.abc import Sequence
from typing import final

from torch import Tensor

from vqkit.ops.bits import BitOrder
from vqkit.quantizers.binary import BinaryQuantizer
from vqkit.quantizers.entropy_penalty import BitEntropy
from vqkit.quantizers.gradient import GradientEstimator
from vqkit.quantizers.loss import VQLoss

__all__ = ["LFQ"]

_PAPER = BitEntropy()


@final
class LFQ(BinaryQuantizer):
    """Signs of the input, 2^dim codes and no codebook (MAGVIT-v2, arXiv 2310.05737, section 3.2).

    The code is +1 where the input is above 0 and -1 elsewhere, at 0 as well. The entropy penalty
    makes tokens sure of their signs and the batch use all codes alike; the loss adds a commitment.
    It costs time and memory of ``dim`` per token, never 2^dim.

    Args:
        dim: Number of bits.
        bits: Bits of each index, whose sum is ``dim``: [6, 12] are the two tokens of Open-MAGVIT2.
            None is one index, or as few and as even as hold at most 62 bits.
        order: Whether dimension 0 is the lowest bit of its index ("little", Open-MAGVIT2) or the
            highest ("big", vector-quantize-pytorch); ``vqkit.ops.reverse_bits`` converts.
        entropy: The penalty; None for none, which leaves codes unused.
        loss: Weight and reduction of the commitment, 0.25 by default.
        gradient: How the gradient passes the signs.

    Raises:
        ConfigError: ``dim < 1``, bits that do not add up or exceed 62, an unknown order, an
            estimator that needs a codebook.

    >>> quantizer = LFQ(dim=18)
    >>> quantizer.codebook_sizes
    (262144,)
    >>> import torch
    >>> LFQ(dim=3).encode(torch.tensor([[[0.3, -2.0, 0.0], [-1.0, 0.2, 5.0]]])).tolist()
    [[[1], [6]]]
    """

    def __init__(
        self,
        dim: int,
        bits: Sequence[int] | None = None,
        order: BitOrder = "little",
        *,
        entropy: BitEntropy | None = _PAPER,
        loss: VQLoss | None = None,
        gradient: GradientEstimator | None = None,
    ) -> None:
        super().__init__(dim, bits, order, entropy, loss or VQLoss(), gradient)

    @property
    def _length(self) -> float:
        return 1.0

    def _place(self, z: Tensor) -> Tensor:
        return z
