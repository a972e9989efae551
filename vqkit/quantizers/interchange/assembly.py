"""Quantizers made of weights that exist: codes, levels, projections."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vqkit.errors import ConfigError
from vqkit.quantizers.base import Quantizer
from vqkit.quantizers.codebook import EMA, CodebookUpdate, RandomInit
from vqkit.quantizers.factorized import Factorized
from vqkit.quantizers.interchange.weights import Weights
from vqkit.quantizers.loss import VQLoss
from vqkit.quantizers.metric import Metric
from vqkit.quantizers.residual import Residual
from vqkit.quantizers.vq import VectorQuantizer

__all__ = ["projected", "residual", "vector_quantizer"]


@torch.no_grad()
def vector_quantizer(
    codes: Tensor,
    *,
    counts: Tensor | None = None,
    metric: Metric | None = None,
    update: CodebookUpdate | None = None,
    loss: VQLoss,
) -> VectorQuantizer:
    """A codebook of ``codes [K, dim]``; with ``counts [K]`` its moving average goes on from there.

    Nothing waits for data: the codes are there.
    """
    num_codes, dim = codes.shape
    quantizer = VectorQuantizer(
        dim, num_codes, metric=metric, update=update or EMA(), init=RandomInit(), loss=loss
    )
    placed = codes if quantizer.trains_codebook else quantizer.metric.place(codes)
    quantizer.codebook.copy_(placed)
    if counts is not None:
        quantizer.cluster_size.copy_(counts)
    return quantizer


def residual(levels: Sequence[Quantizer], library: str) -> Residual:
    """These quantizers as the levels of one.

    Raises:
        ConfigError: They are not of one kind.
    """
    kinds = sorted({f"{type(level).__name__}({_sizes(level)})" for level in levels})
    if len(kinds) > 1 or len({str(level) for level in levels}) > 1:
        raise ConfigError(
            f"{library} weights: expected levels of one kind and size, got {kinds}. Levels of "
            "different kinds cannot be read."
        )
    whole = Residual(levels[0], len(levels))
    whole.levels = nn.ModuleList(levels)
    return whole


def projected(inner: Quantizer, weights: Weights, down: str, up: str) -> Quantizer:
    """``inner`` between the projections of these names, or itself where there are none.

    Linear layers or convolutions of size 1, with or without bias and weight normalisation.

    Raises:
        ConfigError: One of two, or shapes that do not fit.
    """
    if not weights.has_below(down) and not weights.has_below(up):
        return inner
    weight_in, bias_in = _linear(weights.below(down), inner.dim, None)
    dim = weight_in.shape[1]
    weight_out, bias_out = _linear(weights.below(up), dim, inner.dim)
    has_bias = bias_in is not None or bias_out is not None
    whole = Factorized(inner, dim, bias=has_bias)
    with torch.no_grad():
        for layer, weight, bias in (
            (whole.project_in, weight_in, bias_in),
            (whole.project_out, weight_out, bias_out),
        ):
            layer.weight.copy_(weight)
            if has_bias:
                layer.bias.copy_(torch.zeros(len(weight)) if bias is None else bias)
    return whole


def _linear(weights: Weights, out_dim: int, in_dim: int | None) -> tuple[Tensor, Tensor | None]:
    """Matrix ``[out_dim, in_dim]`` and bias ``[out_dim]`` of a layer."""
    for direction, length in (
        ("weight_v", "weight_g"),
        ("parametrizations.weight.original1", "parametrizations.weight.original0"),
    ):
        if direction in weights:
            v = _matrix(weights, direction, out_dim, in_dim)
            g = _matrix(weights, length, out_dim, 1)
            # Weight normalisation, arXiv 1602.07868, eq. 2, per output feature.
            weight = g * v / torch.linalg.vector_norm(v, dim=1, keepdim=True)
            break
    else:
        weight = _matrix(weights, "weight", out_dim, in_dim)
    return weight, weights.take("bias", out_dim) if "bias" in weights else None


def _matrix(weights: Weights, name: str, out_dim: int, in_dim: int | None) -> Tensor:
    kernel = (1,) * max(weights.num_axes(name) - 2, 0)
    return weights.take(name, out_dim, in_dim, *kernel).flatten(1)


def _sizes(quantizer: Quantizer) -> str:
    return f"dim={quantizer.dim}, codebook_sizes={quantizer.codebook_sizes}"
