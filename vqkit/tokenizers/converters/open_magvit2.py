"""Open-MAGVIT2 of SEED-Voken <-> a tokenizer of vqkit: LFQ has no weights."""

import re
from typing import Any

from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.nets import MAGVIT2Decoder, MAGVIT2Encoder
from vqkit.quantizers import LFQ
from vqkit.tokenizers.converters.checkpoint import averaged, unwrapped
from vqkit.tokenizers.converters.state import State, below, load, multipliers_of
from vqkit.tokenizers.frontend import ImageFrontend
from vqkit.tokenizers.tokenizer import Tokenizer

__all__ = ["open_magvit2_from_original", "open_magvit2_to_original"]

MARKS = ("encoder.mid_block.0.conv1.weight",)

_PARTS = ("encoder.", "decoder.")
# Of training alone, and what LFQ computes from its number of bits.
_PASSED_OVER = ("loss.", "quantize.", "colorize")


def open_magvit2_from_original(state: State, *, last: bool = False) -> Tokenizer:
    """The tokenizer of Open-MAGVIT2 (arXiv 2409.04410), of any number of bits.

    Args:
        state: The ``state_dict`` of the checkpoint.
        last: Take the last weights; the authors' numbers are of the moving average.

    Raises:
        ConfigError: Weights of other models, or with entries whose meaning is unknown.
    """
    state = averaged(unwrapped(state, MARKS), last=last)
    rest = [key for key in state if not key.startswith(_PARTS + _PASSED_OVER)]
    if rest:
        raise ConfigError(
            f"Open-MAGVIT2 weights: expected encoder and decoder, got {sorted(rest)[:8]} besides. "
            "Remove what is no part of the tokenizer."
        )
    encoder_state, decoder_state = below(state, "encoder."), below(state, "decoder.")
    channels, dim = _end(encoder_state, "conv_in.weight", 1), _end(encoder_state, "conv_out.weight")
    layout = _layout(encoder_state, "down")
    if layout != _layout(decoder_state, "up"):
        raise ConfigError(
            f"Open-MAGVIT2 weights: expected a decoder that mirrors the encoder, got {layout} and "
            f"{_layout(decoder_state, 'up')}."
        )
    encoder = MAGVIT2Encoder(channels, dim, **layout)
    decoder = MAGVIT2Decoder(channels, dim, **layout)
    load(encoder, encoder_state, "Open-MAGVIT2's encoder")
    load(decoder, decoder_state, "Open-MAGVIT2's decoder")
    frontend = ImageFrontend(channels)
    return Tokenizer(frontend, encoder, LFQ(dim), decoder, name="image/open-magvit2").eval()


def open_magvit2_to_original(tokenizer: Tokenizer) -> dict[str, Tensor]:
    """The state dict that SEED-Voken loads, without its losses and averages.

    Raises:
        ConfigError: Other networks, or another quantizer than LFQ with one index.
    """
    encoder, decoder, quantizer = tokenizer.encoder, tokenizer.decoder, tokenizer.quantizer
    if not (
        isinstance(encoder, MAGVIT2Encoder)
        and isinstance(decoder, MAGVIT2Decoder)
        and isinstance(quantizer, LFQ)
        and quantizer.order == "little"
    ):
        raise ConfigError(
            f"Open-MAGVIT2: expected its networks and LFQ, got {type(encoder).__name__}, "
            f"{type(decoder).__name__} and {type(quantizer).__name__}({quantizer.extra_repr()})."
        )
    return {
        f"{name}.{key}": value.detach()
        for name, network in (("encoder", encoder), ("decoder", decoder))
        for key, value in network.state_dict().items()
    }


def _layout(state: State, levels: str) -> dict[str, Any]:
    found = [
        m for m in (re.match(rf"{levels}\.(\d+)\.block\.(\d+)\.", name) for name in state) if m
    ]
    if not found:
        raise ConfigError(
            f"Open-MAGVIT2 weights: expected levels {levels}.0, {levels}.1, ..., got names below "
            f"{sorted({key.split('.')[0] for key in state})[:8]}."
        )
    num_levels = max(int(match[1]) for match in found) + 1
    widths = [_end(state, f"{levels}.{level}.block.0.conv1.weight") for level in range(num_levels)]
    base_width = _end(state, "conv_in.weight") if levels == "down" else widths[0]
    return {
        "base_width": base_width,
        "multipliers": multipliers_of(widths, base_width),
        "num_res_blocks": max(int(match[2]) for match in found) + 1,
    }


def _end(state: State, name: str, axis: int = 0) -> int:
    """Channels that a convolution gives, or takes (axis 1)."""
    if name not in state or state[name].ndim != 4:
        raise ConfigError(
            f"Open-MAGVIT2 weights: expected {name!r} of a convolution, got names below "
            f"{sorted({key.split('.')[0] for key in state})[:8]}."
        )
    return state[name].shape[axis]
