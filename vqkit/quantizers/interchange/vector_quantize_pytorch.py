"""vector-quantize-pytorch: plain, residual, grouped, SimVQ, FSQ, LFQ."""

import math

import torch
from torch import Tensor, nn

from vqkit.errors import ConfigError
from vqkit.quantizers.base import Quantizer
from vqkit.quantizers.bsq import BSQ
from vqkit.quantizers.codebook import EMA, CodebookUpdate
from vqkit.quantizers.fsq import FSQ
from vqkit.quantizers.grouped import Grouped
from vqkit.quantizers.interchange.assembly import projected, residual, vector_quantizer
from vqkit.quantizers.interchange.weights import State, Weights
from vqkit.quantizers.lfq import LFQ
from vqkit.quantizers.loss import VQLoss
from vqkit.quantizers.metric import Cosine, Euclidean
from vqkit.quantizers.simvq import SimVQ

__all__ = ["from_vector_quantize_pytorch"]

_LIBRARY = "vector-quantize-pytorch"
_UNIT_TOLERANCE = 1e-4


def from_vector_quantize_pytorch(
    state: State, *, update: CodebookUpdate | None = None, inside: FSQ | LFQ | BSQ | None = None
) -> Quantizer:
    """A quantizer of vector-quantize-pytorch, 1.x: the classes named below.

    ``VectorQuantize`` (one head), ``ResidualVQ``, ``GroupedResidualVQ``, ``SimVQ``,
    ``ResidualSimVQ``, each with its projections. Codes that are all of length 1 are taken for those
    of ``use_cosine_sim=True``: with them both searches agree, and training differs. Indices of
    groups go group by group along the last axis; there they have an axis of their own.

    The weights do not tell ``beam_size``, nor several heads that share one codebook of the full
    width; the gradient estimator and the revival of codes are attributes to set.

    Args:
        state: State dict of a model with one such quantizer, or of the quantizer alone.
        update: Who moves the codes of ``VectorQuantize`` in further training; that library's
            default, ``EMA(decay=0.8)``, by default.
        inside: For ``FSQ`` and ``LFQ``, whose weights are their projections alone: what is between
            these. ``FSQ([8, 5, 5, 5])``, with ``symmetric=True`` for ``preserve_symmetry``;
            ``LFQ(16, order="big")``, with ``bits=[8, 8]`` for two codebooks; ``BSQ`` alike for
            ``spherical=True`` with one codebook.

    Returns:
        The quantizer in evaluation mode.

    Raises:
        ConfigError: No such quantizer, or what cannot be read: several heads, affine codebooks,
            layer norms, implicit neural codebooks, levels of different sizes. An ``inside`` of
            another size or bit order than the weights.

    >>> import torch
    >>> state = {f"layers.{i}._codebook.embed": torch.randn(1, 16, 8) for i in range(3)}
    >>> from_vector_quantize_pytorch(state).codebook_sizes
    (16, 16, 16)
    """
    if inside is not None:
        library = f"{_LIBRARY} {type(inside).__name__}"
        if isinstance(inside, FSQ):
            weights = Weights.find(state, library, r"project_in(\.0)?\.weight", "project_in.weight")
        else:
            weights = Weights.find(state, library, "mask", "mask")
            _check_bits(inside, weights)
        quantizer = projected(inside, weights, "project_in", "project_out")
    else:
        weights = Weights.find(
            state,
            _LIBRARY,
            r"(rvqs\.\d+\.)?(layers\.\d+\.)?(_codebook\.embed|frozen_codebook)",
            "layers.0._codebook.embed",
        )
        quantizer = _any(weights, update)
    weights.finish()
    return quantizer.eval()


def _check_bits(inside: LFQ | BSQ, weights: Weights) -> None:
    place_values = weights.take("mask", round(math.log2(inside.codebook_sizes[0])))
    if not torch.equal(place_values, 2.0 ** torch.arange(len(place_values)).flip(0)):
        raise ConfigError(
            f"{_LIBRARY} weights: expected the place values of bits, highest first, got "
            f"{place_values.tolist()}. Is it the state dict of another model?"
        )
    if isinstance(inside, BSQ) and inside.num_codebooks > 1:
        raise ConfigError(
            f"{_LIBRARY} BSQ: expected one codebook, got {inside.num_codebooks}. There every "
            "codebook has a sphere of its own, which cannot be read."
        )
    if inside.order != "big":
        raise ConfigError(
            f"{_LIBRARY} {type(inside).__name__}: expected the bit order of that library, got "
            f'order={inside.order!r}. Pass order="big".'
        )


def _any(weights: Weights, update: CodebookUpdate | None) -> Quantizer:
    if not weights.has_below("rvqs"):
        return _residual(weights, update)
    groups = [_residual(group, update) for group in weights.numbered("rvqs")]
    if len({str(group) for group in groups}) > 1:
        raise ConfigError(
            f"{_LIBRARY} weights: expected groups of one kind and size, got codebook sizes "
            f"{[group.codebook_sizes for group in groups]} of {[group.dim for group in groups]} "
            "features. Groups of different kinds cannot be read."
        )
    whole = Grouped(groups[0], len(groups))
    whole.parts = nn.ModuleList(groups)
    return whole


def _residual(weights: Weights, update: CodebookUpdate | None) -> Quantizer:
    if not weights.has_below("layers"):
        return _level(weights, update)
    levels = [_level(level, update) for level in weights.numbered("layers")]
    return projected(residual(levels, _LIBRARY), weights, "project_in", "project_out")


def _level(weights: Weights, update: CodebookUpdate | None) -> Quantizer:
    if "frozen_codebook" in weights:
        return _simvq(weights)
    codebook = weights.below("_codebook")
    codebook.require_initialized("initted")
    codes = _codes(weights, codebook)
    # Of one head; the first versions had no axis of heads.
    heads = (1,) * (codebook.num_axes("cluster_size") - 1)
    counts = None
    if "cluster_size" in codebook:
        counts = codebook.take("cluster_size", *heads, len(codes)).flatten()
    # The sum beside the codes says the same as they and the counts.
    codebook.drop("embed_avg")
    lengths = torch.linalg.vector_norm(codes, dim=1)
    unit = codes.shape[1] > 1 and bool(((lengths - 1.0).abs() < _UNIT_TOLERANCE).all())
    quantizer = vector_quantizer(
        codes,
        counts=counts,
        metric=Cosine() if unit else Euclidean(),
        update=update or EMA(decay=0.8),
        loss=VQLoss.encodec(),
    )
    down = "project_in.0" if "project_in.0.weight" in weights else "project_in"
    return projected(quantizer, weights, down, "project_out")


def _codes(weights: Weights, codebook: Weights) -> Tensor:
    """Codes ``[K, dim]`` of the one head that there may be."""
    if codebook.num_axes("embed") == 2:
        return codebook.take("embed", None, None)
    codes = codebook.take("embed", None, None, None)
    rows = weights.length("project_in.0.weight") or weights.length("project_in.weight")
    num_heads = max(len(codes), rows // codes.shape[-1])
    if num_heads > 1:
        raise ConfigError(
            f"{_LIBRARY} weights: expected one head, got {num_heads} ({weights.prefix}_codebook."
            f"embed of shape {list(codes.shape)}, {rows} projected features). Quantizers of "
            "several heads cannot be read."
        )
    return codes[0]


@torch.no_grad()
def _simvq(weights: Weights) -> Quantizer:
    table = weights.take("frozen_codebook", None, None)
    transform = weights.below("code_transform")
    matrix = transform.take("weight", None, table.shape[1])
    has_bias = "bias" in transform
    quantizer = SimVQ(len(matrix), len(table), table_dim=table.shape[1], bias=has_bias)
    quantizer.features.copy_(table)
    quantizer.projection.weight.copy_(matrix)
    if has_bias:
        quantizer.projection.bias.copy_(transform.take("bias", len(matrix)))
    return quantizer
