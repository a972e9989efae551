"""taming-transformers and what descends from it: diffusers, LlamaGen, IBQ of SEED-Voken."""

import torch

from vqkit.quantizers.base import Quantizer
from vqkit.quantizers.codebook import GradientUpdate
from vqkit.quantizers.ibq import IBQ
from vqkit.quantizers.interchange.assembly import vector_quantizer
from vqkit.quantizers.interchange.weights import State, Weights
from vqkit.quantizers.loss import VQLoss
from vqkit.quantizers.metric import Cosine, Euclidean

__all__ = ["from_diffusers", "from_ibq", "from_taming"]


def from_taming(state: State, *, cosine: bool = False) -> Quantizer:
    """The codebook of a VQGAN of taming-transformers (arXiv 2012.09841), trained by gradient.

    The 1x1 convolutions ``quant_conv`` and ``post_quant_conv`` belong to the networks around it:
    the input here is the output of the first.

    Args:
        state: State dict of the model (its ``state_dict``) or of ``quantize`` alone.
        cosine: Inputs and codes are divided by their length, as LlamaGen does. The weights do not
            tell.

    Returns:
        A ``VectorQuantizer`` in evaluation mode.

    Raises:
        ConfigError: No such codebook, or one whose indices are remapped to the used ones.

    >>> import torch
    >>> from_taming({"quantize.embedding.weight": torch.eye(4)}).codebook_sizes
    (4,)
    """
    weights = _find(state, "VQGAN")
    # A log of recent indices, in LlamaGen.
    weights.drop("codebook_used")
    return _vector_quantizer(weights, cosine)


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
    return _vector_quantizer(_find(state, "diffusers VQModel"), cosine=False)


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


def _find(state: State, library: str) -> Weights:
    if "embedding.weight" in state:
        return Weights(dict(state), library, "")
    # A network beside it may have embeddings of its own: the module's name counts.
    example = "quantize.embedding.weight"
    return Weights.find(state, library, r"quantize\.embedding\.weight", example).below("quantize")


def _vector_quantizer(weights: Weights, cosine: bool) -> Quantizer:
    codes = weights.take("embedding.weight", None, None)
    weights.finish()
    quantizer = vector_quantizer(
        codes,
        metric=Cosine() if cosine else Euclidean(),
        update=GradientUpdate(),
        loss=VQLoss.taming(),
    )
    return quantizer.eval()
