"""Descript Audio Codec: the original, Hugging Face transformers."""

from vqkit.quantizers.base import Quantizer
from vqkit.quantizers.codebook import GradientUpdate
from vqkit.quantizers.interchange.assembly import projected, residual, vector_quantizer
from vqkit.quantizers.interchange.weights import State, Weights
from vqkit.quantizers.loss import VQLoss
from vqkit.quantizers.metric import CosineSearch

__all__ = ["from_dac"]

_LIBRARY = "DAC"


def from_dac(state: State) -> Quantizer:
    """The residual quantizer of the Descript Audio Codec (arXiv 2306.06546), trained by gradient.

    Each level projects its input to 8 dimensions, searches by angle, and projects the code, with
    the length that it has, back up. Weight normalisation is multiplied out.

    Args:
        state: State dict of the original or of Hugging Face transformers; of the model or of its
            quantizer alone.

    Returns:
        A ``Residual`` of ``Factorized(VectorQuantizer(metric=CosineSearch()))``, in evaluation
        mode.

    Raises:
        ConfigError: No such quantizer, a level missing, wrong shapes.

    >>> import torch
    >>> state = {
    ...     "quantizer.quantizers.0.codebook.weight": torch.randn(16, 8),
    ...     "quantizer.quantizers.0.in_proj.weight": torch.randn(8, 64, 1),
    ...     "quantizer.quantizers.0.out_proj.weight": torch.randn(64, 8, 1),
    ... }
    >>> from_dac(state).dim
    64
    """
    weights = Weights.find(
        state,
        _LIBRARY,
        r"quantizers\.\d+\.codebook\.weight",
        "quantizer.quantizers.0.codebook.weight",
    )
    quantizer = residual([_level(level) for level in weights.numbered("quantizers")], _LIBRARY)
    weights.finish()
    return quantizer.eval()


def _level(weights: Weights) -> Quantizer:
    quantizer = vector_quantizer(
        weights.take("codebook.weight", None, None),
        metric=CosineSearch(),
        update=GradientUpdate(),
        loss=VQLoss.dac(),
    )
    return projected(quantizer, weights, "in_proj", "out_proj")
