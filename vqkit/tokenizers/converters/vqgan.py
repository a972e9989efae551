"""VQGAN as taming-transformers and latent-diffusion store it <-> a tokenizer of vqkit.

Its layout is the one that others are brought to: :mod:`diffusers`, :mod:`llamagen`.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.nets import VQGANDecoder, VQGANEncoder
from vqkit.quantizers import (
    IBQ,
    GumbelQuantizer,
    Quantizer,
    VectorQuantizer,
    from_ibq,
    from_taming,
)
from vqkit.tokenizers.converters.checkpoint import averaged, unwrapped
from vqkit.tokenizers.converters.state import State, below, load, multipliers_of
from vqkit.tokenizers.frontend import ImageFrontend
from vqkit.tokenizers.tokenizer import Tokenizer

__all__ = [
    "MARKS",
    "assembled_vqgan",
    "ibq_from_original",
    "upside_down",
    "vqgan_from_original",
    "vqgan_to_original",
]

MARKS = ("encoder.conv_in.weight", "quant_conv.weight")
"""Names that every file of the family has."""

_PARTS = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.", "quantize.")
# Of training alone: losses with their discriminator and LPIPS, colours of segmentations.
_PASSED_OVER = ("loss.", "colorize")


def vqgan_from_original(state: State, *, last: bool = False) -> Tokenizer:
    """The tokenizer of a VQGAN (arXiv 2012.09841), or of a VQ first stage of latent diffusion.

    With a learned codebook or with Gumbel's logits, with attention or without, of any widths and
    factors; whole latent diffusion models may be given, whose first stage is taken.

    Args:
        state: The ``state_dict`` of the checkpoint.
        last: Take the last weights although a moving average of them is there.

    Raises:
        ConfigError: Weights of other models, of an autoencoder without codes, or with entries whose
            meaning is unknown.
    """
    return assembled_vqgan(
        averaged(unwrapped(state, MARKS), last=last), from_taming, "image/vqgan", "VQGAN"
    )


def ibq_from_original(state: State, *, last: bool = False) -> Tokenizer:
    """The tokenizer of IBQ (arXiv 2412.02692) of SEED-Voken, whose networks are VQGAN's.

    The weights do not tell: read as VQGAN's they give other codes, the nearest in place of those
    with the largest product.

    Args:
        state: The ``state_dict`` of the checkpoint.
        last: Take the last weights; the authors' numbers are of the moving average.

    Raises:
        ConfigError: Weights of other models, or with entries whose meaning is unknown.
    """
    return assembled_vqgan(
        averaged(unwrapped(state, MARKS), last=last), from_ibq, "image/ibq", "IBQ"
    )


def assembled_vqgan(
    state: State, read_quantizer: Callable[[State], Quantizer], name: str, library: str
) -> Tokenizer:
    """The tokenizer of entries under the names of taming-transformers, all of them.

    Raises:
        ConfigError: Entries are missing, left over, or do not fit.
    """
    rest = [key for key in state if not key.startswith(_PARTS + _PASSED_OVER)]
    if rest:
        raise ConfigError(
            f"{library} weights: expected encoder, decoder, quantize and the convolutions between "
            f"them, got {sorted(rest)[:8]} besides. Remove what is no part of the tokenizer."
        )
    encoder_state = below(state, "encoder.") | _kept(state, "quant_conv.")
    decoder_state = below(state, "decoder.") | _kept(state, "post_quant_conv.")
    encoder = VQGANEncoder(**_encoder_arguments(encoder_state, library))
    decoder = VQGANDecoder(**_decoder_arguments(decoder_state, library))
    load(encoder, encoder_state, f"{library}'s encoder")
    load(decoder, decoder_state, f"{library}'s decoder")
    quantizer = read_quantizer(below(state, "quantize."))
    frontend = ImageFrontend(encoder.in_channels)
    return Tokenizer(frontend, encoder, quantizer, decoder, name=name).eval()


def vqgan_to_original(tokenizer: Tokenizer) -> dict[str, Tensor]:
    """The state dict that taming-transformers loads: networks, convolutions and codes.

    Raises:
        ConfigError: Other networks, or a quantizer that the library has not.
    """
    encoder, decoder, quantizer = tokenizer.encoder, tokenizer.decoder, tokenizer.quantizer
    if not isinstance(encoder, VQGANEncoder) or not isinstance(decoder, VQGANDecoder):
        raise ConfigError(
            f"VQGAN: expected its networks, got {type(encoder).__name__} and "
            f"{type(decoder).__name__}."
        )
    state = {
        (name if name.startswith(part) else f"{network}.{name}"): value.detach()
        for network, part, module in (
            ("encoder", "quant_conv.", encoder),
            ("decoder", "post_quant_conv.", decoder),
        )
        for name, value in module.state_dict().items()
    }
    if isinstance(quantizer, VectorQuantizer | IBQ):
        state["quantize.embedding.weight"] = quantizer.codebook.detach()
    elif isinstance(quantizer, GumbelQuantizer):
        state["quantize.proj.weight"] = quantizer.logits.weight.detach()[..., None, None]
        state["quantize.proj.bias"] = quantizer.logits.bias.detach()
        state["quantize.embed.weight"] = quantizer.codebook.detach()
    else:
        raise ConfigError(
            f"VQGAN: expected one learned codebook, got {type(quantizer).__name__}, which the "
            "library has not."
        )
    return state


def upside_down(state: State) -> dict[str, Tensor]:
    """With the levels of the decoder counted from the other end."""
    levels = [int(m[1]) for m in (re.match(r"decoder\.up\.(\d+)\.", name) for name in state) if m]
    last = max(levels, default=0)
    return {
        re.sub(r"^(decoder\.up)\.(\d+)", lambda m: f"{m[1]}.{last - int(m[2])}", name): value
        for name, value in state.items()
    }


def _kept(state: State, prefix: str) -> dict[str, Tensor]:
    """The entries below a prefix, with it."""
    return {name: value for name, value in state.items() if name.startswith(prefix)}


def _encoder_arguments(state: State, library: str) -> dict[str, Any]:
    widths, num_blocks, attention_levels = _levels(state, "down", library)
    base_width, in_channels = _shape(state, "conv_in.weight", library)[:2]
    return {
        "in_channels": in_channels,
        "dim": _shape(state, "quant_conv.weight", library)[0],
        "base_width": base_width,
        "multipliers": multipliers_of(widths, base_width),
        "num_res_blocks": num_blocks,
        "attention_levels": attention_levels,
        "latent_width": _shape(state, "conv_out.weight", library)[0],
        "middle_attention": "mid.attn_1.q.weight" in state,
    }


def _decoder_arguments(state: State, library: str) -> dict[str, Any]:
    widths, num_blocks, attention_levels = _levels(state, "up", library)
    return {
        "out_channels": _shape(state, "conv_out.weight", library)[0],
        "dim": _shape(state, "post_quant_conv.weight", library)[1],
        "base_width": widths[0],
        "multipliers": multipliers_of(widths, widths[0]),
        "num_res_blocks": num_blocks - 1,
        "attention_levels": attention_levels,
        "latent_width": _shape(state, "conv_in.weight", library)[1],
        "middle_attention": "mid.attn_1.q.weight" in state,
    }


def _levels(state: State, name: str, library: str) -> tuple[list[int], int, list[int]]:
    """Width of each level, blocks of one, and the levels with attention."""
    count = _count(state, rf"{name}\.(\d+)\.")
    if count == 0:
        raise ConfigError(
            f"{library} weights: expected levels {name}.0, {name}.1, ..., got names below "
            f"{sorted({key.split('.')[0] for key in state})[:8]}."
        )
    widths = [
        _shape(state, f"{name}.{level}.block.0.conv1.weight", library)[0] for level in range(count)
    ]
    num_blocks = _count(state, rf"{name}\.0\.block\.(\d+)\.")
    attention = [level for level in range(count) if f"{name}.{level}.attn.0.q.weight" in state]
    return widths, num_blocks, attention


def _count(state: Iterable[str], pattern: str) -> int:
    matches = (re.match(pattern, name) for name in state)
    return max((int(match[1]) + 1 for match in matches if match is not None), default=0)


def _shape(state: State, name: str, library: str) -> tuple[int, ...]:
    if name not in state or state[name].ndim != 4:
        raise ConfigError(
            f"{library} weights: expected {name!r} of a convolution, got names below "
            f"{sorted({key.split('.')[0] for key in state})[:8]}."
        )
    return tuple(state[name].shape)
