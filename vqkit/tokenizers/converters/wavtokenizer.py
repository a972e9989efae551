"""WavTokenizer -> a tokenizer of vqkit."""

import re

from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.nets import ConvStyle, SEANetEncoder, VocosDecoder
from vqkit.quantizers import from_encodec
from vqkit.tokenizers.audio_frontend import AudioFrontend
from vqkit.tokenizers.converters.seanet import ORIGINAL_SEANET, seanet_sizes
from vqkit.tokenizers.converters.state import State, below, fold_weight_norm, load, renamed
from vqkit.tokenizers.tokenizer import Tokenizer

__all__ = ["wavtokenizer_from_original"]

_SAMPLE_RATE_HZ = 24_000
_WINDOWS_PER_HOP = 4
_ENCODEC = "feature_extractor.encodec."
_BACKBONE = (
    (r"^backbone\.pos_net\.", "position."),
    (r"^backbone\.final_layer_norm\.", "final_norm."),
    (r"^backbone\.", ""),
    (r"^head\.out\.", "head.linear."),
)
_CONDITIONED = re.compile(r"(.*\bnorm)\.(scale|shift)\.weight")


def wavtokenizer_from_original(state: State) -> Tokenizer:
    """The tokenizer of a checkpoint of WavTokenizer (arXiv 2408.16532).

    Its norms are conditioned on a bandwidth, which is always the first of four where the model is
    used: that row is taken. Discriminators, the spectra of its losses and a decoder that it carries
    and never runs are left out.

    Args:
        state: ``state_dict`` of the checkpoint.

    Raises:
        ConfigError: Weights that are no such model's.
    """
    encodec = renamed(fold_weight_norm(below(state, _ENCODEC)), ORIGINAL_SEANET)
    backbone = _backbone(state)
    if "embed.weight" not in backbone or "head.linear.weight" not in backbone:
        raise ConfigError(
            "WavTokenizer weights: expected names below 'backbone.' and 'head.out.', got "
            f"{sorted({name.split('.')[0] for name in state})[:8]}."
        )
    style = ConvStyle(causal=False, norm="none")
    encoder = SEANetEncoder(1, **seanet_sizes(below(encodec, "encoder."), style))
    width, dim, _ = backbone["embed.weight"].shape
    num_layers = sum(name.endswith(".dwconv.weight") for name in backbone)
    n_fft = len(backbone["head.linear.weight"]) - 2
    decoder = VocosDecoder(
        dim,
        width,
        len(backbone["convnext.0.pwconv1.weight"]),
        num_layers,
        hop=n_fft // _WINDOWS_PER_HOP,
        n_fft=n_fft,
        position_net=any(name.startswith("position.") for name in backbone),
    )
    load(encoder, below(encodec, "encoder."), "WavTokenizer's encoder")
    load(decoder, backbone, "WavTokenizer's decoder")
    quantizer = from_encodec(below(state, _ENCODEC))
    return Tokenizer(
        AudioFrontend(_SAMPLE_RATE_HZ), encoder, quantizer, decoder, name="audio/wavtokenizer"
    ).eval()


def _backbone(state: State) -> dict[str, Tensor]:
    """Decoder and head; of tables of norms the first row."""
    parts = {
        name: value
        for name, value in state.items()
        if name.startswith("backbone.") or name.startswith("head.out.")
    }
    backbone = {}
    for name, value in renamed(parts, _BACKBONE).items():
        match = _CONDITIONED.fullmatch(name)
        if match is None:
            backbone[name] = value
        else:
            backbone[f"{match[1]}.{'weight' if match[2] == 'scale' else 'bias'}"] = value[0]
    return backbone
