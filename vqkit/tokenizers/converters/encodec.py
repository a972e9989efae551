"""EnCodec, of its own library and of transformers <-> a tokenizer of vqkit."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from vqkit.errors import ConfigError
from vqkit.nets import ConvStyle, SEANetDecoder, SEANetEncoder
from vqkit.quantizers import Residual, VectorQuantizer, from_encodec
from vqkit.tokenizers.audio_frontend import AudioFrontend
from vqkit.tokenizers.converters.seanet import ORIGINAL_SEANET, seanet_sizes, sizes_of_config
from vqkit.tokenizers.converters.state import (
    State,
    below,
    fold_weight_norm,
    load,
    renamed,
    unfold_weight_norm,
)
from vqkit.tokenizers.tokenizer import Tokenizer

__all__ = ["encodec_from_original", "encodec_from_transformers", "encodec_to_transformers"]

_PADDING = {"reflect": "reflect", "constant": "zero", "zero": "zero", "replicate": "replicate"}


def encodec_from_transformers(config: Mapping[str, Any], state: State) -> Tokenizer:
    """The tokenizer of an ``EncodecModel`` (EnCodec, arXiv 2210.13438).

    Weight norm is multiplied out. Where the library takes a bandwidth, the tokenizer takes a number
    of codebooks: 2, 4, 8, 16, 32 for 1.5, 3, 6, 12, 24 kbit/s at 24 kHz.

    Args:
        config: What stands in its ``config.json``.
        state: Its state dict.

    Raises:
        ConfigError: Settings or weights that are no such model's, or chunks that are normalised one
            by one, as the model at 48 kHz does it.
    """
    if config.get("normalize") or config.get("chunk_length_s"):
        raise ConfigError(
            "EnCodec: expected a model that takes a sound as a whole, got one that normalises "
            f"chunks of {config.get('chunk_length_s')} s, which cannot be converted."
        )
    if config.get("trim_right_ratio", 1.0) != 1.0 or config.get("dilation_growth_rate", 2) != 2:
        raise ConfigError(
            "EnCodec: expected trim_right_ratio 1 and dilation_growth_rate 2, got "
            f"{config.get('trim_right_ratio')} and {config.get('dilation_growth_rate')}."
        )
    style = ConvStyle(
        causal=config["use_causal_conv"],
        padding=_PADDING.get(config["pad_mode"], config["pad_mode"]),
        norm="group" if config["norm_type"] == "time_group_norm" else "none",
    )
    sizes = sizes_of_config(config, style, config["num_lstm_layers"])
    return _assembled(
        config["audio_channels"], sizes, fold_weight_norm(state), state, config["sampling_rate"]
    )


def encodec_from_original(
    state: State, *, sample_rate_hz: int = 24_000, style: ConvStyle | None = None
) -> Tokenizer:
    """The tokenizer of a checkpoint of ``encodec``, or of ``best_state`` of one of audiocraft.

    Sizes are read from the shapes. What those do not say has the values of EnCodec at 24 kHz.

    Args:
        state: The state dict.
        sample_rate_hz: Of the model.
        style: Causality and padding; without norm, which is multiplied out.

    Raises:
        ConfigError: Weights that are no such model's, or those of the model at 48 kHz, which
            normalises chunks of a sound one by one.
    """
    flat = renamed(fold_weight_norm(state), ORIGINAL_SEANET)
    if any(".norm." in name for name in flat):
        raise ConfigError(
            "EnCodec: expected a model that takes a sound as a whole, got one that normalises "
            "chunks, which cannot be converted."
        )
    sizes = seanet_sizes(below(flat, "encoder."), style or ConvStyle(norm="none"))
    channels = flat["encoder.layers.0.conv.weight"].shape[1]
    return _assembled(channels, sizes, flat, state, sample_rate_hz)


def encodec_to_transformers(tokenizer: Tokenizer) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The inverse: ``config.json`` and state dict of an ``EncodecModel``.

    Raises:
        ConfigError: A tokenizer that is no EnCodec.
    """
    encoder, decoder, quantizer = tokenizer.encoder, tokenizer.decoder, tokenizer.quantizer
    frontend = tokenizer.frontend
    if not (
        isinstance(encoder, SEANetEncoder)
        and isinstance(decoder, SEANetDecoder)
        and isinstance(quantizer, Residual)
        and isinstance(frontend, AudioFrontend)
    ):
        raise ConfigError(
            "EnCodec: expected SEANet and a residual quantizer, got "
            f"{type(encoder).__name__} and {type(quantizer).__name__}."
        )
    style = encoder.style
    frame_rate = -(-frontend.sample_rate_hz // encoder.stride[0])
    bits = (quantizer.codebook_sizes[0] - 1).bit_length()
    depths = [1 << i for i in range(1, 8) if 1 << i < len(quantizer.levels)]
    config = {
        "model_type": "encodec",
        "architectures": ["EncodecModel"],
        "target_bandwidths": [
            depth * bits * frame_rate / 1000 for depth in (*depths, len(quantizer.levels))
        ],
        "sampling_rate": frontend.sample_rate_hz,
        "audio_channels": frontend.channels,
        "normalize": False,
        "chunk_length_s": None,
        "overlap": None,
        "hidden_size": encoder.dim,
        "num_filters": encoder.num_filters,
        "num_residual_layers": encoder.num_blocks,
        "upsampling_ratios": list(reversed(encoder.strides)),
        "norm_type": "time_group_norm" if style.norm == "group" else "weight_norm",
        "kernel_size": encoder.kernels[0],
        "residual_kernel_size": encoder.kernels[1],
        "last_kernel_size": encoder.kernels[2],
        "dilation_growth_rate": 2,
        "use_causal_conv": style.causal,
        "pad_mode": "constant" if style.padding == "zero" else style.padding,
        "compress": encoder.compress,
        "num_lstm_layers": encoder.num_lstm_layers,
        "trim_right_ratio": 1.0,
        "codebook_size": quantizer.codebook_sizes[0],
        "codebook_dim": quantizer.dim,
        "use_conv_shortcut": encoder.learned_shortcut,
    }
    state: dict[str, Tensor] = {}
    for name, network in (("encoder", encoder), ("decoder", decoder)):
        folded = fold_weight_norm({f"{name}.{k}": v for k, v in network.state_dict().items()})
        convolutions = [
            f"{name}.{path}"
            for path, module in network.named_modules()
            if isinstance(module, nn.Conv1d | nn.ConvTranspose1d)
        ]
        state |= folded if style.norm == "group" else unfold_weight_norm(folded, convolutions)
    for number, level in enumerate(quantizer.levels):
        if not isinstance(level, VectorQuantizer):
            raise ConfigError(f"EnCodec: expected levels of vectors, got {type(level).__name__}.")
        prefix = f"quantizer.layers.{number}.codebook"
        codes, counts = level.codebook.detach(), level.cluster_size
        state |= {
            f"{prefix}.embed": codes,
            f"{prefix}.embed_avg": codes * counts[:, None],
            f"{prefix}.cluster_size": counts,
            f"{prefix}.inited": codes.new_ones(1),
        }
    return config, state


def _assembled(
    channels: int, sizes: dict[str, Any], folded: State, state: State, sample_rate_hz: int
) -> Tokenizer:
    encoder = SEANetEncoder(channels, **sizes)
    decoder = SEANetDecoder(channels, **sizes)
    load(encoder, below(folded, "encoder."), "EnCodec's encoder")
    load(decoder, below(folded, "decoder."), "EnCodec's decoder")
    return Tokenizer(
        AudioFrontend(sample_rate_hz, channels),
        encoder,
        from_encodec(state),
        decoder,
        name="audio/encodec",
    ).eval()
