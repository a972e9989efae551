"""Quantization in a space of few dimensions."""

from collections.abc import Sequence
from typing import final

from torch import Tensor, nn
from torch.nn import functional as F

from vqkit.errors import ConfigError
from vqkit.quantizers.base import NO_TOKEN, Assignment, Quantizer

__all__ = ["Factorized"]


@final
class Factorized(Quantizer):
    """Projects the input down, quantizes there, projects the codes back up.

    Factorised codes (ViT-VQGAN, arXiv 2110.04627, section 3.2; DAC, arXiv 2306.06546): a search in
    8 dimensions uses far more of a codebook than one in 256. It is also what fits a quantizer of
    fixed width, such as FSQ, to any encoder.

    Args:
        inner: Quantizer of the low-dimensional space.
        dim: Features of the input and the output.
        bias: Whether the projections have biases.

    Raises:
        ConfigError: ``dim < 1``.

    >>> import torch
    >>> from vqkit.quantizers import FSQ
    >>> quantizer = Factorized(FSQ([8, 5, 5, 5]), dim=64)
    >>> quantizer.decode(quantizer.encode(torch.randn(1, 4, 64))).shape
    torch.Size([1, 4, 64])
    """

    def __init__(self, inner: Quantizer, dim: int, bias: bool = True) -> None:
        super().__init__()
        if dim < 1:
            raise ConfigError(f"Factorized dim: expected >= 1, got {dim}.")
        self.inner = inner
        self.dim = dim
        self.bias = bias
        self.codebook_sizes = inner.codebook_sizes
        self.project_in = nn.Linear(dim, inner.dim, bias=bias)
        self.project_out = nn.Linear(inner.dim, dim, bias=bias)

    @property
    def initialized(self) -> bool:
        """Whether the inner quantizer is initialised."""
        return self.inner.initialized

    @property
    def adds_noise(self) -> bool:
        """Whether the inner quantizer does."""
        return self.inner.adds_noise

    def reset_parameters(self) -> None:
        """Draw projections and inner state anew."""
        self.project_in.reset_parameters()
        self.project_out.reset_parameters()
        self.inner.reset_parameters()

    def _quantize(self, z: Tensor, valid: Tensor | None) -> Assignment:
        result = self.inner._quantize(_linear(self.project_in, z), valid)
        return self._projected(result)

    def _assign(self, z: Tensor, valid: Tensor | None) -> Assignment:
        result = self.inner._assign(_linear(self.project_in, z), valid)
        # Who calls this estimates the gradient of z; the projection, a parameter, gets its own
        # here.
        projected = _linear(self.project_in, z.detach())
        estimated = self.inner._estimate(projected, result)
        first = result.first
        if first is not None:
            first = self.inner._estimate(projected, result._replace(codes=first))
        return self._projected(result._replace(codes=estimated, first=first))

    def _projected(self, result: Assignment) -> Assignment:
        return result.mapped(lambda codes: _linear(self.project_out, codes))

    def _index(self, z: Tensor) -> Tensor:
        return self.inner._index(_linear(self.project_in, z))

    def _lookup(self, indices: Tensor) -> Tensor:
        codes = _linear(self.project_out, self.inner._lookup(indices))
        # A bias must not turn "no token" into a vector.
        absent = (indices == NO_TOKEN).all(-1, keepdim=True)
        return codes.masked_fill(absent, 0.0)

    @property
    def _decodable(self) -> Sequence[int]:
        return self.inner._decodable


def _linear(layer: nn.Linear, x: Tensor) -> Tensor:
    # fp32 even where the module was cast to half precision.
    bias = layer.bias
    return F.linear(x, layer.weight.float(), None if bias is None else bias.float())
