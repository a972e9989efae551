"""diffusers' ``VQModel`` <-> a tokenizer of vqkit."""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.nets import VQGANDecoder, VQGANEncoder
from vqkit.quantizers import Euclidean, VectorQuantizer, from_diffusers
from vqkit.tokenizers.converters.state import State, renamed
from vqkit.tokenizers.converters.vqgan import (
    assembled_vqgan,
    upside_down,
    vqgan_to_original,
)
from vqkit.tokenizers.tokenizer import Tokenizer

__all__ = ["vqmodel_from_diffusers", "vqmodel_to_diffusers"]

# Names of taming-transformers and of diffusers. Levels of the decoder are numbered from the last.
_PAIRS = (
    (r"down.{n}.block.{n}.", r"down_blocks.{n}.resnets.{n}."),
    (r"down.{n}.attn.{n}.", r"down_blocks.{n}.attentions.{n}."),
    (r"down.{n}.downsample.", r"down_blocks.{n}.downsamplers.0."),
    (r"up.{n}.block.{n}.", r"up_blocks.{n}.resnets.{n}."),
    (r"up.{n}.attn.{n}.", r"up_blocks.{n}.attentions.{n}."),
    (r"up.{n}.upsample.", r"up_blocks.{n}.upsamplers.0."),
    (r"mid.block_1.", r"mid_block.resnets.0."),
    (r"mid.block_2.", r"mid_block.resnets.1."),
    (r"mid.attn_1.", r"mid_block.attentions.0."),
    (r"nin_shortcut.", r"conv_shortcut."),
    (r"norm_out.", r"conv_norm_out."),
)
_ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
# Before diffusers 0.14, and still in files on the hub.
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}

_FIXED = {"act_fn": ("silu", "swish"), "norm_type": ("group",), "norm_num_groups": (32,)}


def vqmodel_from_diffusers(config: Mapping[str, Any], state: State) -> Tokenizer:
    """The tokenizer of a ``VQModel``.

    Args:
        config: What stands in its ``config.json``.
        state: Its state dict.

    Raises:
        ConfigError: Another activation or normalisation, or weights that are no such model's.
    """
    for key, known in _FIXED.items():
        if config.get(key, known[0]) not in known:
            raise ConfigError(
                f"VQModel: expected {key} {' or '.join(map(repr, known))}, got {config[key]!r}."
            )
    return assembled_vqgan(_to_taming(state), _read_codes, "image/vqmodel", "VQModel")


def vqmodel_to_diffusers(tokenizer: Tokenizer) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """``config.json`` and state dict of a ``VQModel``.

    Raises:
        ConfigError: Networks or a quantizer that ``VQModel`` cannot be.
    """
    state = _from_taming(vqgan_to_original(tokenizer))
    encoder, decoder, quantizer = tokenizer.encoder, tokenizer.decoder, tokenizer.quantizer
    assert isinstance(encoder, VQGANEncoder), "checked before"
    assert isinstance(decoder, VQGANDecoder), "checked before"
    if not isinstance(quantizer, VectorQuantizer) or quantizer.metric != Euclidean():
        raise ConfigError(
            "VQModel: expected a codebook of which the nearest code is taken, got "
            f"{type(quantizer).__name__}({quantizer.extra_repr()}), whose indices would be others."
        )
    shape, mirrored = _layout(encoder), _layout(decoder)
    if shape != mirrored or encoder.multipliers[0] != 1:
        raise ConfigError(
            f"VQModel: expected a decoder that mirrors the encoder, and a first level as wide as "
            f"the first layer, got {shape} and {mirrored}."
        )
    kinds = [
        "Attn" if level in encoder.attention_levels else ""
        for level in range(len(encoder.multipliers))
    ]
    config = {
        "_class_name": "VQModel",
        "in_channels": encoder.in_channels,
        "out_channels": decoder.out_channels,
        "block_out_channels": [round(encoder.base_width * m) for m in encoder.multipliers],
        "layers_per_block": encoder.num_res_blocks,
        "down_block_types": [f"{kind}DownEncoderBlock2D" for kind in kinds],
        "up_block_types": [f"{kind}UpDecoderBlock2D" for kind in reversed(kinds)],
        "mid_block_add_attention": encoder.middle_attention,
        "latent_channels": encoder.latent_width,
        "vq_embed_dim": quantizer.dim,
        "num_vq_embeddings": quantizer.codebook_size,
        **{key: known[0] for key, known in _FIXED.items()},
    }
    return config, state


def _layout(network: VQGANEncoder | VQGANDecoder) -> dict[str, Any]:
    names = (
        "base_width",
        "multipliers",
        "num_res_blocks",
        "attention_levels",
        "latent_width",
        "middle_attention",
    )
    return {name: getattr(network, name) for name in names}


def _to_taming(state: State) -> dict[str, Tensor]:
    """Under the names of taming-transformers, attention as 1x1 convolutions."""
    old = "|".join(_OLD_ATTENTION)
    state = {
        re.sub(rf"(attentions\.\d+)\.({old})\.", _renew, name): value
        for name, value in state.items()
    }
    rules = [(_pattern(theirs), _replacement(ours)) for ours, theirs in _PAIRS]
    rules += [
        (rf"((?:attn\.\d+|attn_1)\.){re.escape(theirs)}\.", rf"\1{ours}.")
        for ours, theirs in _ATTENTION.items()
    ]
    taming = upside_down(renamed(state, rules))
    return {
        name: value[..., None, None] if _is_attention(name) and value.ndim == 2 else value
        for name, value in taming.items()
    }


def _from_taming(state: State) -> dict[str, Tensor]:
    rules = [
        (rf"((?:attn\.\d+|attn_1)\.){ours}\.", rf"\1{theirs}.")
        for ours, theirs in _ATTENTION.items()
    ]
    rules += [(_pattern(ours), _replacement(theirs)) for ours, theirs in _PAIRS]
    flat = {
        name: value[..., 0, 0] if _is_attention(name) and value.ndim == 4 else value
        for name, value in upside_down(state).items()
    }
    return renamed(flat, rules)


def _renew(match: re.Match[str]) -> str:
    return f"{match[1]}.{_OLD_ATTENTION[match[2]]}."


def _pattern(name: str) -> str:
    return r"(?<=\.)" + re.escape(name).replace(r"\{n\}", r"(\d+)")


def _replacement(name: str) -> str:
    parts = name.split("{n}")
    return "".join(
        part + (rf"\g<{i}>" if i < len(parts) else "") for i, part in enumerate(parts, 1)
    )


def _is_attention(name: str) -> bool:
    return re.search(r"\.(attn\.\d+|attn_1)\.\w+\.weight$", name) is not None


def _read_codes(state: State) -> VectorQuantizer:
    quantizer = from_diffusers(state)
    assert isinstance(quantizer, VectorQuantizer), "the library has no other"
    return quantizer
