"""EnCodec: the original, audiocraft, Hugging Face transformers."""

from vqkit.quantizers.base import Quantizer
from vqkit.quantizers.interchange.assembly import projected, residual, vector_quantizer
from vqkit.quantizers.interchange.weights import State, Weights
from vqkit.quantizers.loss import VQLoss

__all__ = ["from_encodec"]

_LIBRARY = "EnCodec"


def from_encodec(state: State) -> Quantizer:
    """The residual quantizer of EnCodec (arXiv 2210.13438), as trained by EMA.

    Args:
        state: State dict of the original, of audiocraft (its ``best_state``) or of Hugging Face
            transformers; of the model or of its quantizer alone.

    Returns:
        A ``Residual`` with one ``VectorQuantizer`` per level, in evaluation mode.

    Raises:
        ConfigError: No such quantizer, a level missing or not initialised, wrong shapes.

    >>> import torch
    >>> state = {"quantizer.vq.layers.0._codebook.embed": torch.eye(4)}
    >>> from_encodec(state).codebook_sizes
    (4,)
    """
    weights = Weights.find(
        state,
        _LIBRARY,
        r"layers\.\d+\._?codebook\.embed",
        "quantizer.layers.0.codebook.embed",
    )
    quantizer = residual([_level(level) for level in weights.numbered("layers")], _LIBRARY)
    weights.finish()
    return quantizer.eval()


def _level(weights: Weights) -> Quantizer:
    codebook = weights.below_one_of("_codebook", "codebook")
    codebook.require_initialized("inited")
    codes = codebook.take("embed", None, None)
    # The sum that the library keeps beside the codes says the same as they and the counts.
    codebook.drop("embed_avg")
    counts = codebook.take("cluster_size", len(codes)) if "cluster_size" in codebook else None
    quantizer = vector_quantizer(codes, counts=counts, loss=VQLoss.encodec())
    return projected(quantizer, weights, "project_in", "project_out")
