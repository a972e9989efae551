"""X-Codec, of transformers, without its semantic half -> a tokenizer of vqkit."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from vqkit.errors import ConfigError
from vqkit.nets import DACDecoder, DACEncoder, XCodecDecoder, XCodecEncoder
from vqkit.quantizers import from_encodec
from vqkit.tokenizers.audio_frontend import AudioFrontend
from vqkit.tokenizers.converters.dac import load_dac
from vqkit.tokenizers.converters.state import State, fold_weight_norm, load, renamed
from vqkit.tokenizers.tokenizer import Tokenizer

__all__ = ["xcodec_from_transformers"]

_NAMES = (
    (r"^acoustic_(en|de)coder\.", r"\1coder."),
    (r"^quantizer\.quantizers\.", "quantizer.layers."),
)
# What a file leaves out that has the values of the published models.
_ACOUSTIC: dict[str, Any] = {
    "encoder_hidden_size": 64,
    "downsampling_ratios": (8, 5, 4, 2),
    "decoder_hidden_size": 1024,
    "upsampling_ratios": (8, 5, 4, 2),
    "hidden_size": 256,
}
_SAMPLE_RATE_HZ = 16_000


def xcodec_from_transformers(
    config: Mapping[str, Any], state: State, semantic: nn.Module | None = None
) -> Tokenizer:
    """The tokenizer of an ``XcodecModel`` (X-Codec, arXiv 2408.17175), without its HuBERT.

    Its tokens stand for features of sound and of speech together. They decode with what is
    converted: quantizer, projection, decoder. Encoding needs ``semantic`` besides, the features of
    speech, of which nothing is converted: without it, encoding is refused.

    Args:
        config: What stands in its ``config.json``.
        state: Its state dict; what is of the semantic half in it is left out.
        semantic: As for :class:`vqkit.nets.XCodecEncoder`.

    Raises:
        ConfigError: Weights that are no such model's.
    """
    settings = _ACOUSTIC | dict(config.get("acoustic_model_config") or {})
    folded = renamed(fold_weight_norm(state), _NAMES)
    for name in ("fc.weight", "fc2.weight"):
        if name not in folded:
            raise ConfigError(f"X-Codec weights: expected {name!r}, found none.")
    dim = settings["hidden_size"]
    acoustic = DACEncoder(
        1, dim, settings["encoder_hidden_size"], settings["downsampling_ratios"], weight_norm=False
    )
    sound = DACDecoder(
        1,
        dim,
        settings["decoder_hidden_size"],
        tuple(reversed(settings["upsampling_ratios"])),
        weight_norm=False,
        bounded=False,
        whole_strides=True,
    )
    load_dac(acoustic, sound, folded, original=False, library="X-Codec")
    whole = len(folded["fc.weight"])
    encoder = XCodecEncoder(acoustic, whole - dim, semantic)
    decoder = XCodecDecoder(sound, whole)
    for project, name in ((encoder.project, "fc"), (decoder.project, "fc2")):
        weights = {leaf: folded[f"{name}.{leaf}"] for leaf in ("weight", "bias")}
        load(project, weights, f"X-Codec's {name}")
    levels = {name: value for name, value in folded.items() if name.startswith("quantizer.")}
    frontend = AudioFrontend(config.get("sample_rate", _SAMPLE_RATE_HZ))
    return Tokenizer(frontend, encoder, from_encodec(levels), decoder, name="audio/xcodec").eval()
