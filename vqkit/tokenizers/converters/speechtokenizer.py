"""SpeechTokenizer <-> a tokenizer of vqkit."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.nets import BidirectionalLSTM, ConvStyle, SEANetDecoder, SEANetEncoder
from vqkit.quantizers import from_encodec
from vqkit.tokenizers.audio_frontend import AudioFrontend
from vqkit.tokenizers.converters.encodec import encodec_parts, level_state
from vqkit.tokenizers.converters.seanet import (
    ORIGINAL_SEANET,
    lstm_layers,
    original_state,
    seanet_sizes,
)
from vqkit.tokenizers.converters.state import State, below, fold_weight_norm, load, renamed
from vqkit.tokenizers.tokenizer import Tokenizer

__all__ = ["speechtokenizer_from_original", "speechtokenizer_to_original"]

_SAMPLE_RATE_HZ = 16_000
_FIXED = {"activation": "ELU", "dilation_base": 2}


def speechtokenizer_from_original(config: Mapping[str, Any], state: State) -> Tokenizer:
    """The tokenizer of a checkpoint of SpeechTokenizer (arXiv 2308.16692).

    The linear map ``transform``, which its training compares with features of HuBERT, is no part of
    coding and is left out. Sizes are read from the shapes.

    Args:
        config: What stands in its ``config.json``; may be empty, and the rate is 16 kHz then.
        state: The state dict.

    Raises:
        ConfigError: Settings or weights that are no such model's.
    """
    for name, value in _FIXED.items():
        if config.get(name, value) != value:
            raise ConfigError(
                f"SpeechTokenizer: expected {name} {value!r}, which is what SEANet has here, got "
                f"{config[name]!r}."
            )
    flat = renamed(fold_weight_norm(state), ORIGINAL_SEANET)
    networks = {name: below(flat, f"{name}.") for name in ("encoder", "decoder")}
    sizes = seanet_sizes(networks["encoder"], ConvStyle(causal=False, norm="none"))
    encoder = SEANetEncoder(1, **sizes)
    sizes["num_lstm_layers"] = lstm_layers(networks["decoder"])
    decoder = SEANetDecoder(1, **sizes)
    load(encoder, networks["encoder"], "SpeechTokenizer's encoder")
    load(decoder, networks["decoder"], "SpeechTokenizer's decoder")
    frontend = AudioFrontend(config.get("sample_rate", _SAMPLE_RATE_HZ))
    quantizer = from_encodec(state)
    return Tokenizer(frontend, encoder, quantizer, decoder, name="audio/speechtokenizer").eval()


def speechtokenizer_to_original(tokenizer: Tokenizer) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """``config.json`` and the state dict of SpeechTokenizer, for ``torch.save``.

    The library leaves ``transform`` out where features have one width, so the configuration says
    that they have.

    Raises:
        ConfigError: A tokenizer that is no SpeechTokenizer.
    """
    encoder, decoder, levels, frontend = encodec_parts(tokenizer, "SpeechTokenizer")
    layers, width = encoder.num_lstm_layers, levels[0].dim
    if not isinstance(layers, BidirectionalLSTM) or decoder.num_lstm_layers != layers.num_layers:
        raise ConfigError(
            "SpeechTokenizer: expected an encoder whose LSTM runs in both directions, and as many "
            f"layers in the decoder, got {layers} and {decoder.num_lstm_layers}."
        )
    if (encoder.style.causal, encoder.style.padding) != (False, "reflect"):
        raise ConfigError("SpeechTokenizer: expected networks that reflect and are not causal.")
    if (*encoder.kernels[::2], encoder.compress, encoder.learned_shortcut) != (7, 7, 2, True):
        raise ConfigError(
            "SpeechTokenizer: expected kernels of 7 at both ends, compress 2 and learned "
            f"shortcuts, got {encoder.kernels}, {encoder.compress}, {encoder.learned_shortcut}."
        )
    config = {
        "sample_rate": frontend.sample_rate_hz,
        "n_filters": encoder.num_filters,
        "dimension": width,
        "semantic_dimension": width,
        "strides": list(reversed(encoder.strides)),
        "lstm_layers": layers.num_layers,
        "bidirectional": True,
        "residual_kernel_size": encoder.kernels[1],
        "n_residual_layers": encoder.num_blocks,
        "n_q": len(levels),
        "codebook_size": levels[0].codebook_size,
        **_FIXED,
    }
    state = original_state("encoder", encoder) | original_state("decoder", decoder)
    for number, level in enumerate(levels):
        state |= level_state(level, f"quantizer.vq.layers.{number}._codebook")
    return config, state
