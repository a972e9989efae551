"""Mimi, of moshi and of transformers <-> a tokenizer of vqkit."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.nets import (
    CausalTransformer,
    ConvStyle,
    MimiDecoder,
    MimiEncoder,
    SEANetDecoder,
    SEANetEncoder,
)
from vqkit.quantizers import Factorized, Quantizer, Residual, Split, VectorQuantizer, from_mimi
from vqkit.tokenizers.audio_frontend import AudioFrontend
from vqkit.tokenizers.converters.seanet import ORIGINAL_SEANET, seanet_sizes, sizes_of_config
from vqkit.tokenizers.converters.state import State, below, fold_weight_norm, load, renamed
from vqkit.tokenizers.tokenizer import Tokenizer

__all__ = ["mimi_from_original", "mimi_from_transformers", "mimi_to_transformers"]

# Since version 5.23 the networks stand below the two halves of the model, in memory; files have
# the flat names.
_FLAT = (
    (r"^(en|de)coder\.\1coder_seanet\.", r"\1coder."),
    (r"^(en|de)coder\.\1coder_transformer\.", r"\1coder_transformer."),
    (r"^encoder\.downsample\.", "downsample."),
    (r"^decoder\.upsample\.", "upsample."),
)
_TRANSFORMER = (
    (r"\.self_attn\.o_proj\.", ".out_proj."),
    (r"\.mlp\.fc([12])\.", r".linear\1."),
    (r"\.input_layernorm\.", ".norm1."),
    (r"\.post_attention_layernorm\.", ".norm2."),
    (r"\.self_attn_layer_scale\.scale$", ".gain1"),
    (r"\.mlp_layer_scale\.scale$", ".gain2"),
)
_ORIGINAL = (
    (r"^downsample\.(conv\.){3}", "downsample.conv."),
    (r"^upsample\.(convtr\.){3}", "upsample.conv."),
    *ORIGINAL_SEANET,
    (r"^(en|de)coder_transformer\.transformer\.", r"\1coder_transformer."),
    (r"\.self_attn\.in_proj_weight$", ".in_proj.weight"),
    (r"\.self_attn\.in_projs\.0\.", ".in_proj."),
    (r"\.self_attn\.out_proj(s\.0)?\.", ".out_proj."),
    (r"\.layer_scale_([12])\.scale$", r".gain\1"),
)
_NUM_HEADS, _WINDOW = 8, 250  # of the one model that there is
_TRANSFORMER_BACK = (
    (r"\.out_proj\.", ".self_attn.o_proj."),
    (r"\.linear([12])\.", r".mlp.fc\1."),
    (r"\.norm1\.", ".input_layernorm."),
    (r"\.norm2\.", ".post_attention_layernorm."),
    (r"\.gain1$", ".self_attn_layer_scale.scale"),
    (r"\.gain2$", ".mlp_layer_scale.scale"),
)
_FIXED = {
    "hidden_act": "gelu",
    "attention_bias": False,
    "trim_right_ratio": 1.0,
    "dilation_growth_rate": 2,
    "norm_eps": 1e-5,
    "num_semantic_quantizers": 1,
}


def mimi_from_transformers(config: Mapping[str, Any], state: State) -> Tokenizer:
    """The tokenizer of a ``MimiModel`` (Moshi, arXiv 2410.00037).

    Args:
        config: What stands in its ``config.json``.
        state: Its state dict, with the names of its files or of version 5.23 in memory.

    Raises:
        ConfigError: Settings that this network does not have, or weights that are no such model's.
    """
    for name, value in _FIXED.items():
        if config.get(name, value) != value:
            raise ConfigError(f"Mimi: expected {name} {value!r}, got {config[name]!r}.")
    heads, dim = config["num_attention_heads"], config["hidden_size"]
    if config.get("num_key_value_heads", heads) != heads or config["head_dim"] * heads != dim:
        raise ConfigError(
            f"Mimi: expected as many keys as queries and heads that fill {dim}, got "
            f"{config.get('num_key_value_heads')} keys, {heads} heads of {config['head_dim']}."
        )
    flat = renamed(fold_weight_norm(state), _FLAT)
    style = ConvStyle(
        causal=config["use_causal_conv"],
        padding="zero" if config["pad_mode"] == "constant" else config["pad_mode"],
        norm="none",
    )
    sizes = sizes_of_config(config, style, 0)
    for name in ("encoder_transformer.", "decoder_transformer."):
        layers = _attention_joined(renamed(below(flat, name), _TRANSFORMER))
        flat = {key: value for key, value in flat.items() if not key.startswith(name)}
        flat |= {name + key: value for key, value in layers.items()}
    transformer = (
        dim,
        config["num_hidden_layers"],
        heads,
        config["intermediate_size"],
        config["sliding_window"],
    )
    return _assembled(
        sizes,
        transformer,
        flat,
        state,
        channels=config["audio_channels"],
        sample_rate_hz=config["sampling_rate"],
    )


def mimi_from_original(
    state: State, *, num_heads: int = _NUM_HEADS, window: int = _WINDOW
) -> Tokenizer:
    """The tokenizer of the weights of ``moshi``.

    There the rotary positions pair neighbouring features, here those of two halves: rows of
    queries and keys change places.

    Args:
        state: What its file holds.
        num_heads: Heads of attention, which shapes do not say.
        window: Frames that a frame looks at.

    Raises:
        ConfigError: Weights that are no such model's.
    """
    flat = renamed(fold_weight_norm(state), _ORIGINAL)
    sizes = seanet_sizes(below(flat, "encoder."), ConvStyle(padding="zero", norm="none"))
    for name, value in flat.items():
        if name.endswith(".in_proj.weight"):
            flat[name] = _halves(value, num_heads)
    layers = below(flat, "encoder_transformer.")
    hidden_dim = len(layers["layers.0.linear1.weight"])
    num_layers = sum(name.endswith(".in_proj.weight") for name in layers)
    transformer = (sizes["dim"], num_layers, num_heads, hidden_dim, window)
    return _assembled(sizes, transformer, flat, state, channels=1, sample_rate_hz=24_000)


def mimi_to_transformers(tokenizer: Tokenizer) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The inverse: ``config.json`` and the state dict of a ``MimiModel``, with its files' names.

    Raises:
        ConfigError: A tokenizer that is no Mimi.
    """
    encoder, decoder, quantizer = tokenizer.encoder, tokenizer.decoder, tokenizer.quantizer
    frontend = tokenizer.frontend
    if not (
        isinstance(encoder, MimiEncoder)
        and isinstance(decoder, MimiDecoder)
        and isinstance(quantizer, Split)
        and isinstance(frontend, AudioFrontend)
    ):
        raise ConfigError(
            f"Mimi: expected its networks and a split quantizer, got {type(encoder).__name__} and "
            f"{type(quantizer).__name__}."
        )
    seanet, transformer = encoder.seanet, encoder.transformer
    levels, inner_dim = _levels(quantizer.acoustic)
    config = _FIXED | {
        "model_type": "mimi",
        "architectures": ["MimiModel"],
        "sampling_rate": frontend.sample_rate_hz,
        "audio_channels": frontend.channels,
        "hidden_size": encoder.dim,
        "num_filters": seanet.num_filters,
        "num_residual_layers": seanet.num_blocks,
        "upsampling_ratios": list(reversed(seanet.strides)),
        "kernel_size": seanet.kernels[0],
        "residual_kernel_size": seanet.kernels[1],
        "last_kernel_size": seanet.kernels[2],
        "use_causal_conv": seanet.style.causal,
        "pad_mode": "constant" if seanet.style.padding == "zero" else seanet.style.padding,
        "compress": seanet.compress,
        "use_conv_shortcut": seanet.learned_shortcut,
        "codebook_size": quantizer.codebook_sizes[0],
        "codebook_dim": levels[0].dim,
        "num_quantizers": len(quantizer.codebook_sizes),
        "vector_quantization_hidden_dimension": inner_dim,
        "upsample_groups": encoder.dim,
        "num_hidden_layers": transformer.num_layers,
        "intermediate_size": transformer.hidden_dim,
        "num_attention_heads": transformer.num_heads,
        "num_key_value_heads": transformer.num_heads,
        "head_dim": transformer.dim // transformer.num_heads,
        "sliding_window": transformer.window,
        "layer_scale_initial_scale": transformer.initial_gain,
        "frame_rate": frontend.sample_rate_hz / encoder.stride[0],
    }
    state: dict[str, Tensor] = {}
    for name, network, step in (("encoder", encoder, "down"), ("decoder", decoder, "up")):
        folded = fold_weight_norm(network.state_dict())
        state |= {f"{name}.{key}": value for key, value in below(folded, "seanet.").items()}
        state |= {f"{step}sample.{key}": value for key, value in below(folded, "resample.").items()}
        layers = renamed(_attention_split(below(folded, "transformer.")), _TRANSFORMER_BACK)
        state |= {f"{name}_transformer.{key}": value for key, value in layers.items()}
    for name, part in (("semantic", quantizer.semantic), ("acoustic", quantizer.acoustic)):
        state |= _part_state(part, f"quantizer.{name}_residual_vector_quantizer")
    return config, state


def _assembled(
    sizes: dict[str, Any],
    transformer: tuple[int, int, int, int, int],
    flat: State,
    state: State,
    *,
    channels: int,
    sample_rate_hz: int,
) -> Tokenizer:
    # The last step in rate has a convolution twice as wide as the step is long.
    factor = flat["downsample.conv.weight"].shape[-1] // 2
    encoder = MimiEncoder(SEANetEncoder(channels, **sizes), CausalTransformer(*transformer), factor)
    decoder = MimiDecoder(SEANetDecoder(channels, **sizes), CausalTransformer(*transformer), factor)
    for network, name, step in ((encoder, "encoder", "down"), (decoder, "decoder", "up")):
        load(network.seanet, below(flat, f"{name}."), f"Mimi's {name}")
        load(network.resample, below(flat, f"{step}sample."), f"Mimi's step {step}")
        load(
            network.transformer,
            below(flat, f"{name}_transformer."),
            f"the transformer of Mimi's {name}",
        )
    return Tokenizer(
        AudioFrontend(sample_rate_hz, channels),
        encoder,
        from_mimi(state),
        decoder,
        name="audio/mimi",
    ).eval()


def _halves(in_proj: Tensor, num_heads: int) -> Tensor:
    """Rows of queries and keys from pairs of neighbours to pairs across the halves of a head."""
    queries, keys, values = in_proj.chunk(3)
    paired = [
        rows.unflatten(0, (num_heads, -1, 2)).transpose(1, 2).flatten(0, 2)
        for rows in (queries, keys)
    ]
    return torch.cat([*paired, values])


def _attention_joined(state: State) -> dict[str, Tensor]:
    """Queries, keys and values as one matrix, in this order."""
    joined = {name: value for name, value in state.items() if ".self_attn." not in name}
    for name in state:
        if name.endswith(".self_attn.q_proj.weight"):
            parts = [state[name.replace("q_proj", f"{part}_proj")] for part in "qkv"]
            joined[name.replace("self_attn.q_proj", "in_proj")] = torch.cat(parts)
    return joined


def _attention_split(state: State) -> dict[str, Tensor]:
    split = {name: value for name, value in state.items() if ".in_proj." not in name}
    for name, value in state.items():
        if ".in_proj." in name:
            for part, rows in zip("qkv", value.chunk(3), strict=True):
                split[name.replace("in_proj", f"self_attn.{part}_proj")] = rows.clone()
    return split


def _levels(part: Quantizer) -> tuple[list[VectorQuantizer], int]:
    """The levels of one part, and the features that they quantize."""
    residual = part.inner if isinstance(part, Factorized) else part
    if not isinstance(residual, Residual):
        raise ConfigError(f"Mimi: expected residual levels, got {type(residual).__name__}.")
    levels = [level for level in residual.levels if isinstance(level, VectorQuantizer)]
    if len(levels) != len(residual.levels):
        raise ConfigError("Mimi: expected levels of vectors alone.")
    return levels, residual.dim


def _part_state(part: Quantizer, prefix: str) -> dict[str, Tensor]:
    levels, _ = _levels(part)
    state: dict[str, Tensor] = {}
    if isinstance(part, Factorized):
        for name, linear in (("input_proj", part.project_in), ("output_proj", part.project_out)):
            state[f"{prefix}.{name}.weight"] = linear.weight.detach()[..., None]
    for number, level in enumerate(levels):
        codebook = f"{prefix}.layers.{number}.codebook"
        # Codes that were never used have no weight in the mean, and are given one here.
        counts = level.cluster_size.clamp_min(1.0)
        state |= {
            f"{codebook}.embed_sum": level.codebook.detach() * counts[:, None],
            f"{codebook}.cluster_usage": counts,
            f"{codebook}.initialized": counts.new_ones(1),
        }
    return state
