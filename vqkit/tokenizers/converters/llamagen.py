"""LlamaGen's tokenizers <-> a tokenizer of vqkit: VQGAN's networks, codes on the unit sphere."""

from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.quantizers import Cosine, Quantizer, VectorQuantizer, from_taming
from vqkit.tokenizers.converters.checkpoint import unwrapped
from vqkit.tokenizers.converters.state import State, renamed
from vqkit.tokenizers.converters.vqgan import (
    assembled_vqgan,
    upside_down,
    vqgan_to_original,
)
from vqkit.tokenizers.tokenizer import Tokenizer

__all__ = ["llamagen_from_original", "llamagen_to_original"]

MARKS = ("encoder.conv_blocks.0.res.0.conv1.weight",)

_MIDDLE = {"0": "block_1", "1": "attn_1", "2": "block_2"}


def llamagen_from_original(state: State, *, cosine: bool = True) -> Tokenizer:
    """The tokenizer of LlamaGen (arXiv 2406.06525), VQ-8 or VQ-16.

    Args:
        state: ``model`` or ``ema`` of the checkpoint.
        cosine: Inputs and codes have unit length (``codebook_l2_norm``), as in all that were
            published. The weights do not tell.

    Raises:
        ConfigError: Weights of other models, or with entries whose meaning is unknown.
    """

    def read_codes(codes: State) -> Quantizer:
        return from_taming(codes, cosine=cosine)

    rules = [
        (r"^encoder\.conv_blocks\.", "encoder.down."),
        (r"^decoder\.conv_blocks\.", "decoder.up."),
        (r"(?<=\.)res\.(\d+)\.", r"block.\1."),
        *((rf"(?<=\.)mid\.{theirs}\.", f"mid.{ours}.") for theirs, ours in _MIDDLE.items()),
    ]
    taming = upside_down(renamed(unwrapped(state, MARKS), rules))
    return assembled_vqgan(taming, read_codes, "image/llamagen", "LlamaGen")


def llamagen_to_original(tokenizer: Tokenizer) -> dict[str, Tensor]:
    """The state dict that LlamaGen loads, as ``model`` of a checkpoint.

    Without ``codebook_used``, its log of recent indices: a model of theirs without
    ``codebook_show_usage`` has none.

    Raises:
        ConfigError: Other networks, or codes that are not compared by angle.
    """
    quantizer = tokenizer.quantizer
    if not isinstance(quantizer, VectorQuantizer) or quantizer.metric != Cosine():
        raise ConfigError(
            f"LlamaGen: expected codes that are compared by angle, got {type(quantizer).__name__}"
            f"({quantizer.extra_repr()})."
        )
    rules = [
        (r"^encoder\.down\.", "encoder.conv_blocks."),
        (r"^decoder\.up\.", "decoder.conv_blocks."),
        (r"(?<=\.)block\.(\d+)\.", r"res.\1."),
        *((rf"(?<=\.)mid\.{ours}\.", f"mid.{theirs}.") for theirs, ours in _MIDDLE.items()),
    ]
    return renamed(upside_down(vqgan_to_original(tokenizer)), rules)
