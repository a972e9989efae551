"""taming-transformers and what descends from it: diffusers, LlamaGen, IBQ, TiTok."""

import re

import torch

from vqkit.quantizers.base import Quantizer
from vqkit.quantizers.codebook import GradientUpdate
from vqkit.quantizers.gumbel import GumbelQuantizer
from vqkit.quantizers.ibq import IBQ
from vqkit.quantizers.interchange.assembly import vector_quantizer
from vqkit.quantizers.interchange.weights import State, Weights
from vqkit.quantizers.loss import VQLoss
from vqkit.quantizers.metric import Cosine, Euclidean

__all__ = ["from_diffusers", "from_ibq", "from_taming", "from_titok"]


def from_taming(state: State, *, cosine: bool = False) -> Quantizer:
    """The codebook of a VQGAN of taming-transformers (arXiv 2012.09841), trained by gradient.

    The 1x1 convolutions ``quant_conv`` and ``post_quant_conv`` belong to the networks around it:
    the input here is the output of the first.

    Args:
        state: State dict of the model (its ``state_dict``) or of ``quantize`` alone.
        cosine: Inputs and codes are divided by their length, as LlamaGen does, whose beta is on the
            commitment; taming-transformers has it on the other term. The weights do not tell.

    Returns:
        A ``VectorQuantizer`` in evaluation mode, or a ``GumbelQuantizer``, whose evaluation takes
        the largest logit where the library's draws.

    Raises:
        ConfigError: No such codebook, or one whose indices are remapped to the used ones.

    >>> import torch
    >>> from_taming({"quantize.embedding.weight": torch.eye(4)}).codebook_sizes
    (4,)
    """
    if any(re.search(r"(^|\bquantize\.)embed\.weight$", name) for name in state):
        return _gumbel_quantizer(_find(state, "VQGAN", "embed"))
    weights = _find(state, "VQGAN")
    # A log of recent indices, in LlamaGen.
    weights.drop("codebook_used")
    return _vector_quantizer(weights, cosine, VQLoss.paper() if cosine else VQLoss.taming())


def from_diffusers(state: State) -> Quantizer:
    """The codebook of diffusers' ``VQModel``, trained by gradient.

    The 1x1 convolutions ``quant_conv`` and ``post_quant_conv`` belong to the networks around it:
    the input here is the output of the first.

    Args:
        state: State dict of the model or of ``quantize`` alone.

    Returns:
        A ``VectorQuantizer`` in evaluation mode.

    Raises:
        ConfigError: No such codebook, or one whose indices are remapped to the used ones.
    """
    return _vector_quantizer(_find(state, "diffusers VQModel"), False, VQLoss.taming())


def from_titok(state: State, *, cosine: bool = False) -> Quantizer:
    """The codebook of TiTok (arXiv 2406.07550) or TA-TiTok, with beta on the commitment.

    Args:
        state: State dict of the model or of ``quantize`` alone.
        cosine: Inputs and codes are divided by their length (``use_l2_norm``). The weights do not
            tell.

    Returns:
        A ``VectorQuantizer`` in evaluation mode; how TA-TiTok revives codes is ``Anchors()``.

    Raises:
        ConfigError: No such codebook.
    """
    weights = _find(state, "TiTok")
    weights.drop("embed_prob")
    return _vector_quantizer(weights, cosine, VQLoss.paper())


@torch.no_grad()
def from_ibq(state: State) -> Quantizer:
    """The codebook of IBQ (arXiv 2412.02692) from SEED-Voken: the largest dot product is the code.

    The 1x1 convolutions ``quant_conv`` and ``post_quant_conv`` belong to the networks around it:
    the input here is the output of the first.

    Args:
        state: State dict of the model (its ``state_dict``) or of ``quantize`` alone.

    Returns:
        An ``IBQ`` in evaluation mode, with the weights of the terms as in the source.

    Raises:
        ConfigError: No such codebook, or one whose indices are remapped to the used ones.
    """
    weights = _find(state, "IBQ")
    codes = weights.take("embedding.weight", None, None)
    weights.finish()
    quantizer = IBQ(codes.shape[1], len(codes), loss=VQLoss.taming())
    quantizer.codebook.copy_(codes)
    return quantizer.eval()


def _find(state: State, library: str, table: str = "embedding") -> Weights:
    if f"{table}.weight" in state:
        return Weights(dict(state), library, "")
    # A network beside it may have embeddings of its own: the module's name counts.
    example = f"quantize.{table}.weight"
    return Weights.find(state, library, re.escape(example), example).below("quantize")


def _vector_quantizer(weights: Weights, cosine: bool, loss: VQLoss) -> Quantizer:
    codes = weights.take("embedding.weight", None, None)
    weights.finish()
    quantizer = vector_quantizer(
        codes,
        metric=Cosine() if cosine else Euclidean(),
        update=GradientUpdate(),
        loss=loss,
    )
    return quantizer.eval()


@torch.no_grad()
def _gumbel_quantizer(weights: Weights) -> Quantizer:
    codes = weights.take("embed.weight", None, None)
    num_codes, dim = codes.shape
    logits = weights.take("proj.weight", num_codes, dim, 1, 1)
    bias = weights.take("proj.bias", num_codes)
    weights.finish()
    quantizer = GumbelQuantizer(dim, num_codes)
    quantizer.codebook.copy_(codes)
    quantizer.logits.weight.copy_(logits[..., 0, 0])
    quantizer.logits.bias.copy_(bias)
    return quantizer.eval()
