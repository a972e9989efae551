"""Training in which some items go around the quantizer."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.quantizers.base import Assignment, Quantizer, refuse_grid, squares_are_finite

__all__ = ["Bypass"]


@final
class Bypass(Quantizer):
    """Hands some items of a training batch on as they are (Mimi; Moshi, arXiv 2410.00037, 3.3.2).

    Of an item that goes around the quantizer the decoder sees the latents themselves, and the
    encoder gets their true gradient. Its tokens are found all the same: codebook, commitment and
    usage know of no difference. In evaluation nothing goes around. Put it outermost: a quantizer
    around it would not see what goes around.

    Args:
        inner: Any quantizer of single positions.
        probability: That an item of a training batch goes around; Mimi has 0.5.

    Raises:
        ConfigError: A probability outside [0, 1], or an inner quantizer of whole grids.

    >>> from vqkit.quantizers import FSQ
    >>> quantizer = Bypass(FSQ([5, 5]), probability=1.0)
    >>> z = torch.rand(1, 4, 2)
    >>> bool((quantizer(z).quantized == z).all()), bool((quantizer.eval()(z).quantized == z).all())
    (True, False)
    """

    def __init__(self, inner: Quantizer, probability: float = 0.5) -> None:
        super().__init__()
        if not 0.0 <= probability <= 1.0:
            raise ConfigError(f"Bypass probability: expected 0 to 1, got {probability}.")
        refuse_grid(inner, "Bypass")
        self.inner = inner
        self.probability = probability
        self.dim = inner.dim
        self.codebook_sizes = inner.codebook_sizes

    @property
    def initialized(self) -> bool:
        """Whether the inner quantizer is initialised."""
        return self.inner.initialized

    @property
    def adds_noise(self) -> bool:
        """Whether the training output may be another than the code."""
        return self.probability > 0 or self.inner.adds_noise

    def reset_parameters(self) -> None:
        """Draw the inner state anew."""
        self.inner.reset_parameters()

    def extra_repr(self) -> str:
        """Arguments, for ``print(module)``."""
        return f"probability={self.probability}"

    def _quantize(self, z: Tensor, valid: Tensor | None) -> Assignment:
        around = None
        if self.training and torch.is_grad_enabled():
            # Drawn before anything else is random, so that a recomputed pass draws the same.
            around = torch.rand(len(z), device=z.device) < self.probability
        result = self.inner._quantize(z, valid)
        if around is None:
            return result
        # A bad item is the quantizer's to answer for.
        around = around & squares_are_finite(z)
        return result._replace(codes=torch.where(around[:, None, None], z, result.codes))

    def _assign(self, z: Tensor, valid: Tensor | None) -> Assignment:
        return self.inner._assign(z, valid)

    def _estimate(self, z: Tensor, assignment: Assignment) -> Tensor:
        return self.inner._estimate(z, assignment)

    def _index(self, z: Tensor) -> Tensor:
        return self.inner._index(z)

    def _lookup(self, indices: Tensor) -> Tensor:
        return self.inner._lookup(indices)

    @property
    def _decodable(self) -> Sequence[int]:
        return self.inner._decodable
