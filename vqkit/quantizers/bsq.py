"""Binary spherical quantization: signs of a vector of length 1."""

import math
from collections.abc import Sequence
from typing import final

from torch import Tensor
from torch.nn import functional as F

from vqkit.ops.bits import BitOrder
from vqkit.quantizers.base import Assignment
from vqkit.quantizers.binary import BinaryQuantizer
from vqkit.quantizers.entropy_penalty import BitEntropy
from vqkit.quantizers.gradient import GradientEstimator
from vqkit.quantizers.loss import VQLoss

__all__ = ["BSQ"]

_PAPER = BitEntropy(weight=0.01)
_COMMITMENT = VQLoss(reduction="sum")


@final
class BSQ(BinaryQuantizer):
    """Signs over sqrt(dim) of the input on the unit sphere (BSQ, arXiv 2406.07548, eq. 3-5).

    The input is divided by its length here, and the code ``sign(u) / sqrt(dim)`` has length 1 as
    well, so that the error is below sqrt(2), whatever the encoder gives. As in the paper the
    gradient of the output arrives at u times ``1 / sqrt(dim)``.

    Args:
        dim: Number of bits.
        bits: Bits of each index, whose sum is ``dim``. None is one index, or as few and as even as
            hold at most 62 bits.
        order: Whether dimension 0 is the lowest bit of its index ("little") or the highest ("big",
            bsq-vit); ``vqkit.ops.reverse_bits`` converts.
        entropy: The penalty; None for none.
        loss: Weight and reduction of the commitment of u, by default 0.25 and the sum over the
            features, as in bsq-vit.
        gradient: How the gradient passes the signs.

    Raises:
        ConfigError: ``dim < 1``, bits that do not add up or exceed 62, an unknown order, an
            estimator that needs a codebook.

    >>> import torch
    >>> BSQ(dim=4)(torch.tensor([[[9.0, -3.0, 0.1, 0.0]]])).quantized.tolist()
    [[[0.5, -0.5, 0.5, -0.5]]]
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
        super().__init__(dim, bits, order, entropy, loss or _COMMITMENT, gradient)

    @property
    def _length(self) -> float:
        return 1.0 / math.sqrt(self.dim)

    def _place(self, z: Tensor) -> Tensor:
        return F.normalize(z, dim=-1)

    def _estimate(self, z: Tensor, assignment: Assignment) -> Tensor:
        # The value of z stays but for rounding, and is only used to choose directions.
        scaled = z * self._length + z.detach() * (1.0 - self._length)
        return super()._estimate(scaled, assignment)
