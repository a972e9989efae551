"""Mimi: moshi, Hugging Face transformers."""

from vqkit.quantizers.base import Quantizer
from vqkit.quantizers.interchange.assembly import projected, residual, vector_quantizer
from vqkit.quantizers.interchange.weights import State, Weights
from vqkit.quantizers.loss import VQLoss
from vqkit.quantizers.split import Split

__all__ = ["from_mimi"]

_LIBRARY = "Mimi"
_SUMS = ("embedding_sum", "embed_sum", "embed_avg")
_COUNTS = ("cluster_usage", "cluster_size")
# The library's floor of the counts.
_EPS = 1e-5


def from_mimi(state: State) -> Quantizer:
    """The quantizer of Mimi (Moshi, arXiv 2410.00037): a semantic and an acoustic part.

    Args:
        state: State dict of moshi or of Hugging Face transformers; of the model or of its quantizer
            alone.

    Returns:
        A ``Split`` of two ``Factorized(Residual(VectorQuantizer))`` (without the projection where
        there is none), in evaluation mode. Codes are sums over counts, with which EMA goes on.

    Raises:
        ConfigError: No such quantizer, a part or level missing or not initialised, wrong shapes.
    """
    weights = Weights.find(
        state,
        _LIBRARY,
        rf"(rvq_first\.vq|semantic_residual_vector_quantizer)\.layers\.\d+\._?codebook"
        rf"\.({'|'.join(_SUMS)})",
        "quantizer.rvq_first.vq.layers.0._codebook.embedding_sum",
    )
    quantizer = Split(
        semantic=_part(weights.below_one_of("rvq_first", "semantic_residual_vector_quantizer")),
        acoustic=_part(weights.below_one_of("rvq_rest", "acoustic_residual_vector_quantizer")),
    )
    weights.finish()
    return quantizer.eval()


def _part(weights: Weights) -> Quantizer:
    inside = weights.below("vq") if weights.has_below("vq") else weights
    levels = residual([_level(level) for level in inside.numbered("layers")], _LIBRARY)
    return projected(levels, weights, "input_proj", "output_proj")


def _level(weights: Weights) -> Quantizer:
    codebook = weights.below_one_of("_codebook", "codebook")
    codebook.require_initialized("_initialized", "initialized", "inited")
    sums = codebook.take_one_of(_SUMS, None, None)
    counts = codebook.take_one_of(_COUNTS, len(sums))
    codes = sums / counts.clamp_min(_EPS)[:, None]
    quantizer = vector_quantizer(codes, counts=counts, loss=VQLoss.encodec())
    return projected(quantizer, weights, "project_in", "project_out")
