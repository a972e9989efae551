"""EnCodec, of its own library and of transformers <-> a tokenizer of vqkit."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from vqkit.errors import ConfigError
from vqkit.nets import ConvStyle, SEANetDecoder, SEANetEncoder
from vqkit.quantizers import Residual, VectorQuantizer, from_encodec
from vqkit.tokenizers.audio_frontend import AudioFrontend
from vqkit.tokenizers.chunking import Chunking
from vqkit.tokenizers.converters.seanet import (
    ORIGINAL_SEANET,
    original_state,
    seanet_sizes,
    sizes_of_config,
)
from vqkit.tokenizers.converters.state import (
    State,
    below,
    fold_weight_norm,
    load,
    renamed,
    unfold_weight_norm,
)
from vqkit.tokenizers.tokenizer import Tokenizer

__all__ = [
    "WHOLE_SOUND",
    "assembled_encodec",
    "encodec_from_original",
    "encodec_from_transformers",
    "encodec_parts",
    "encodec_to_original",
    "encodec_to_transformers",
    "level_state",
    "padding_of",
]

_PADDING = {"reflect": "reflect", "constant": "zero", "zero": "zero", "replicate": "replicate"}
WHOLE_SOUND = 1 << 40
"""Samples of a chunk that is longer than any sound: its level alone is what chunks are for."""

_STEREO_RATE_HZ = 48_000
_STEREO_CHUNKS = Chunking(chunk_samples=48_000, step_samples=47_520)


def encodec_from_transformers(config: Mapping[str, Any], state: State) -> Tokenizer:
    """The tokenizer of an ``EncodecModel`` (EnCodec, arXiv 2210.13438).

    Weight norm is multiplied out. Where the library takes a bandwidth, the tokenizer takes a number
    of codebooks: 2, 4, 8, 16, 32 for 1.5, 3, 6, 12, 24 kbit/s at 24 kHz, and 2, 4, 8, 16 for 3, 6,
    12, 24 kbit/s at 48 kHz, where sounds are encoded in chunks of a second.

    Args:
        config: What stands in its ``config.json``.
        state: Its state dict.

    Raises:
        ConfigError: Settings or weights that are no such model's.
    """
    if config.get("trim_right_ratio", 1.0) != 1.0 or config.get("dilation_growth_rate", 2) != 2:
        raise ConfigError(
            "EnCodec: expected trim_right_ratio 1 and dilation_growth_rate 2, got "
            f"{config.get('trim_right_ratio')} and {config.get('dilation_growth_rate')}."
        )
    style = ConvStyle(
        causal=config["use_causal_conv"],
        padding=padding_of(config["pad_mode"]),
        norm="group" if config["norm_type"] == "time_group_norm" else "none",
    )
    sizes = sizes_of_config(config, style, config["num_lstm_layers"])
    rate = config["sampling_rate"]
    return assembled_encodec(
        sizes,
        fold_weight_norm(state),
        state,
        AudioFrontend(rate, config["audio_channels"]),
        _chunking_of(config, rate),
    )


def encodec_from_original(
    state: State, *, sample_rate_hz: int = 24_000, style: ConvStyle | None = None
) -> Tokenizer:
    """The tokenizer of a checkpoint of ``encodec``.

    Sizes are read from the shapes. What those do not say has the values of EnCodec at 24 kHz, or,
    if there are group norms, of EnCodec at 48 kHz.

    Args:
        state: The state dict.
        sample_rate_hz: Of the model without group norms.
        style: Causality and padding of it; without norm, which is multiplied out.

    Raises:
        ConfigError: Weights that are no such model's.
    """
    flat = renamed(fold_weight_norm(state), ORIGINAL_SEANET)
    style = style or ConvStyle(norm="none")
    chunking = None
    if any(".norm." in name for name in flat):
        style, chunking = ConvStyle(causal=False, norm="group"), _STEREO_CHUNKS
        sample_rate_hz = _STEREO_RATE_HZ
    sizes = seanet_sizes(below(flat, "encoder."), style)
    channels = flat["encoder.layers.0.conv.weight"].shape[1]
    frontend = AudioFrontend(sample_rate_hz, channels)
    return assembled_encodec(sizes, flat, state, frontend, chunking)


def encodec_to_original(tokenizer: Tokenizer) -> dict[str, Tensor]:
    """The inverse: the state dict of ``encodec``, for ``torch.save`` under a name in ``.th``.

    Raises:
        ConfigError: A tokenizer that is no EnCodec.
    """
    encoder, decoder, levels, _ = encodec_parts(tokenizer, "EnCodec")
    state = original_state("encoder", encoder) | original_state("decoder", decoder)
    for number, level in enumerate(levels):
        state |= level_state(level, f"quantizer.vq.layers.{number}._codebook")
    return state


def encodec_to_transformers(tokenizer: Tokenizer) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The inverse: ``config.json`` and state dict of an ``EncodecModel``.

    Raises:
        ConfigError: A tokenizer that is no EnCodec.
    """
    encoder, decoder, levels, frontend = encodec_parts(tokenizer, "EnCodec")
    style = encoder.style
    frame_rate = -(-frontend.sample_rate_hz // encoder.stride[0])
    bits = (levels[0].codebook_size - 1).bit_length()
    depths = [1 << i for i in range(1, 8) if 1 << i < len(levels)]
    config = {
        "model_type": "encodec",
        "architectures": ["EncodecModel"],
        "target_bandwidths": [depth * bits * frame_rate / 1000 for depth in (*depths, len(levels))],
        "sampling_rate": frontend.sample_rate_hz,
        "audio_channels": frontend.channels,
        **_chunks_of(tokenizer.chunking, frontend.sample_rate_hz),
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
        "num_lstm_layers": _one_way_layers(encoder),
        "trim_right_ratio": 1.0,
        "codebook_size": levels[0].codebook_size,
        "codebook_dim": levels[0].dim,
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
    for number, level in enumerate(levels):
        state |= level_state(level, f"quantizer.layers.{number}.codebook")
    return config, state


def _one_way_layers(encoder: SEANetEncoder) -> int:
    layers = encoder.num_lstm_layers
    if not isinstance(layers, int):
        raise ConfigError(f"EnCodec: expected an LSTM that runs forwards, got {layers}.")
    return layers


def padding_of(mode: str) -> Any:
    """The name of a padding here."""
    return _PADDING.get(mode, mode)


def assembled_encodec(
    sizes: dict[str, Any],
    folded: State,
    state: State,
    frontend: AudioFrontend,
    chunking: Chunking | None = None,
) -> Tokenizer:
    """The tokenizer of networks and levels.

    Args:
        sizes: Of the networks, but for their channels.
        folded: Their weights by their names here, weight norm multiplied out.
        state: With the weights of the quantizer.
        frontend: Rate and channels.
        chunking: What sounds are encoded in.

    Raises:
        ConfigError: Weights that do not fit.
    """
    encoder = SEANetEncoder(frontend.channels, **sizes)
    decoder = SEANetDecoder(frontend.channels, **sizes)
    load(encoder, below(folded, "encoder."), "EnCodec's encoder")
    load(decoder, below(folded, "decoder."), "EnCodec's decoder")
    return Tokenizer(
        frontend, encoder, from_encodec(state), decoder, name="audio/encodec", chunking=chunking
    ).eval()


def encodec_parts(
    tokenizer: Tokenizer, library: str
) -> tuple[SEANetEncoder, SEANetDecoder, list[VectorQuantizer], AudioFrontend]:
    """Networks, levels and frontend of a tokenizer like EnCodec.

    Raises:
        ConfigError: It is no such tokenizer; names the library.
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
            f"{library}: expected SEANet and a residual quantizer, got {type(encoder).__name__} "
            f"and {type(quantizer).__name__}."
        )
    levels = [level for level in quantizer.levels if isinstance(level, VectorQuantizer)]
    if len(levels) != len(quantizer.levels):
        raise ConfigError(f"{library}: expected levels of vectors, got others.")
    return encoder, decoder, levels, frontend


def level_state(level: VectorQuantizer, prefix: str) -> dict[str, Tensor]:
    """A level under the names that EnCodec has for it."""
    codes, counts = level.codebook.detach(), level.cluster_size
    return {
        f"{prefix}.embed": codes,
        f"{prefix}.embed_avg": codes * counts[:, None],
        f"{prefix}.cluster_size": counts,
        f"{prefix}.inited": codes.new_ones(1),
    }


def _chunking_of(config: Mapping[str, Any], sample_rate_hz: int) -> Chunking | None:
    """As the library counts samples."""
    seconds, normalises = config.get("chunk_length_s"), bool(config.get("normalize"))
    if seconds is None:
        return Chunking(WHOLE_SOUND, WHOLE_SOUND) if normalises else None
    samples = int(seconds * sample_rate_hz)
    overlap = config.get("overlap") or 0.0
    return Chunking(samples, max(1, int((1.0 - overlap) * samples)), normalises)


def _chunks_of(chunking: Chunking | None, sample_rate_hz: int) -> dict[str, Any]:
    """The inverse."""
    if chunking is None or chunking.chunk_samples == WHOLE_SOUND:
        return {"normalize": chunking is not None, "chunk_length_s": None, "overlap": None}
    samples, step = chunking.chunk_samples, chunking.step_samples
    config = {
        "normalize": chunking.normalises,
        "chunk_length_s": samples / sample_rate_hz,
        "overlap": round(1 - step / samples, 6),
    }
    if _chunking_of(config, sample_rate_hz) != chunking:
        # Products are cut off to whole samples: the middle between two is safe.
        config["chunk_length_s"] = (samples + 0.5) / sample_rate_hz
        config["overlap"] = 1 - (step + 0.5) / samples
    return config
