"""The Descript Audio Codec, of its own library and of transformers <-> a tokenizer of vqkit."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.nets import DACDecoder, DACEncoder
from vqkit.quantizers import Factorized, Residual, VectorQuantizer, from_dac
from vqkit.tokenizers.audio_frontend import AudioFrontend
from vqkit.tokenizers.converters.state import State, fold_weight_norm, load
from vqkit.tokenizers.tokenizer import Tokenizer

__all__ = ["dac_from_original", "dac_from_transformers", "dac_to_transformers", "load_dac"]

_UNIT = ("snake1", "conv1", "snake2", "conv2")


def dac_from_transformers(config: Mapping[str, Any], state: State) -> Tokenizer:
    """The tokenizer of a ``DacModel`` (arXiv 2306.06546).

    Args:
        config: What stands in its ``config.json``.
        state: Its state dict.

    Raises:
        ConfigError: Weights that are no such model's.
    """
    strides = tuple(config["downsampling_ratios"])
    if tuple(config.get("upsampling_ratios", ())) not in ((), tuple(reversed(strides))):
        raise ConfigError(
            f"DAC: expected upsampling_ratios that mirror {list(strides)}, got "
            f"{list(config['upsampling_ratios'])}."
        )
    folded = fold_weight_norm(state)
    # The width of the latents is in the weights; older files have another one in their config.
    dim = len(_entry(folded, "encoder.conv2.weight"))
    encoder = DACEncoder(1, dim, config["encoder_hidden_size"], strides, weight_norm=False)
    decoder = DACDecoder(1, dim, config["decoder_hidden_size"], strides, weight_norm=False)
    return _assembled(encoder, decoder, folded, state, config["sampling_rate"], original=False)


def dac_from_original(settings: Mapping[str, Any], state: State) -> Tokenizer:
    """The tokenizer of a checkpoint of ``descript-audio-codec``.

    Args:
        settings: ``metadata.kwargs`` of the checkpoint.
        state: Its ``state_dict``.

    Raises:
        ConfigError: Weights that are no such model's.
    """
    strides = tuple(settings["encoder_rates"])
    if tuple(settings["decoder_rates"]) != tuple(reversed(strides)):
        raise ConfigError(
            f"DAC: expected decoder_rates that mirror {list(strides)}, got "
            f"{list(settings['decoder_rates'])}."
        )
    folded = fold_weight_norm(state)
    dim = len(_entry(folded, f"encoder.block.{len(strides) + 2}.weight"))
    encoder = DACEncoder(1, dim, settings["encoder_dim"], strides, weight_norm=False)
    decoder = DACDecoder(1, dim, settings["decoder_dim"], strides, weight_norm=False)
    return _assembled(encoder, decoder, folded, state, settings["sample_rate"], original=True)


def dac_to_transformers(tokenizer: Tokenizer) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """``config.json`` and state dict of a ``DacModel``.

    Raises:
        ConfigError: A tokenizer that is no DAC.
    """
    encoder, decoder, quantizer = tokenizer.encoder, tokenizer.decoder, tokenizer.quantizer
    frontend = tokenizer.frontend
    if not (
        isinstance(encoder, DACEncoder)
        and isinstance(decoder, DACDecoder)
        and isinstance(quantizer, Residual)
        and isinstance(frontend, AudioFrontend)
    ):
        raise ConfigError(
            f"DAC: expected its networks and a residual quantizer, got {type(encoder).__name__} "
            f"and {type(quantizer).__name__}."
        )
    if not decoder.bounded or decoder.whole_strides:
        raise ConfigError("DAC: expected its decoder, got X-Codec's, which has no tanh.")
    levels = [level for level in quantizer.levels if isinstance(level, Factorized)]
    if len(levels) != len(quantizer.levels):
        raise ConfigError("DAC: expected levels with projections, got some without.")
    config = {
        "model_type": "dac",
        "architectures": ["DacModel"],
        "encoder_hidden_size": encoder.num_filters,
        "decoder_hidden_size": decoder.num_filters,
        "downsampling_ratios": list(encoder.strides),
        "upsampling_ratios": list(reversed(encoder.strides)),
        "hidden_size": encoder.dim,
        "n_codebooks": len(levels),
        "codebook_size": quantizer.codebook_sizes[0],
        "codebook_dim": levels[0].inner.dim,
        "sampling_rate": frontend.sample_rate_hz,
        "hop_length": encoder.stride[0],
    }
    state: dict[str, Tensor] = {}
    for name, network in (("encoder", encoder), ("decoder", decoder)):
        folded = fold_weight_norm(network.state_dict())
        for ours, theirs, _ in _modules(name, len(encoder.strides)):
            for key in (f"{ours}.weight", f"{ours}.bias", f"{ours}.alpha"):
                if key in folded:
                    value = folded[key][None] if key.endswith("alpha") else folded[key]
                    state[theirs + key.removeprefix(ours)] = value
    for number, level in enumerate(levels):
        prefix = f"quantizer.quantizers.{number}"
        assert isinstance(level.inner, VectorQuantizer)
        state[f"{prefix}.codebook.weight"] = level.inner.codebook.detach()
        for theirs, linear in (("in_proj", level.project_in), ("out_proj", level.project_out)):
            state[f"{prefix}.{theirs}.weight"] = linear.weight.detach()[..., None]
            state[f"{prefix}.{theirs}.bias"] = linear.bias.detach()
    return config, state


def _assembled(
    encoder: DACEncoder,
    decoder: DACDecoder,
    folded: State,
    state: State,
    sample_rate_hz: int,
    *,
    original: bool,
) -> Tokenizer:
    load_dac(encoder, decoder, folded, original=original)
    return Tokenizer(
        AudioFrontend(sample_rate_hz), encoder, from_dac(state), decoder, name="audio/dac"
    ).eval()


def load_dac(
    encoder: DACEncoder, decoder: DACDecoder, folded: State, *, original: bool, library: str = "DAC"
) -> None:
    """Fill both networks with weights of the library itself, or of transformers.

    Raises:
        ConfigError: Weights of other networks.
    """
    for name, network in (("encoder", encoder), ("decoder", decoder)):
        ours = {}
        for mine, *theirs in _modules(name, len(encoder.strides)):
            module = theirs[original]
            for leaf in ("weight", "bias", "alpha"):
                if f"{module}.{leaf}" in folded:
                    value = folded[f"{module}.{leaf}"]
                    ours[f"{mine}.{leaf}"] = value[0] if leaf == "alpha" else value
        load(network, ours, f"{library}'s {name}")


def _modules(network: str, num_strides: int) -> Iterator[tuple[str, str, str]]:
    """Names of every layer here, in transformers and in the library itself."""
    is_encoder = network == "encoder"
    theirs = "encoder.block" if is_encoder else "decoder.model"
    yield "layers.0", f"{network}.conv1", f"{theirs}.0"
    for stage in range(num_strides):
        block = f"{network}.block.{stage}"
        units = range(3) if is_encoder else range(2, 5)
        ends = {3: "snake1", 4: "conv1"} if is_encoder else {0: "snake1", 1: "conv_t1"}
        for place, name in ends.items():
            layer = f"layers.{1 + 5 * stage + place}"
            yield layer, f"{block}.{name}", f"{theirs}.{stage + 1}.block.{place}"
        for number, place in enumerate(units):
            for part, name in enumerate(_UNIT):
                yield (
                    f"layers.{1 + 5 * stage + place}.block.{part}",
                    f"{block}.res_unit{number + 1}.{name}",
                    f"{theirs}.{stage + 1}.block.{place}.block.{part}",
                )
    last = 1 + 5 * num_strides
    yield f"layers.{last}", f"{network}.snake1", f"{theirs}.{num_strides + 1}"
    yield f"layers.{last + 1}", f"{network}.conv2", f"{theirs}.{num_strides + 2}"


def _entry(state: State, name: str) -> Tensor:
    if name not in state:
        networks = sorted({re.split(r"\.\d", key)[0] for key in state})[:8]
        raise ConfigError(f"DAC weights: expected {name!r}, got names below {networks}.")
    return state[name]
