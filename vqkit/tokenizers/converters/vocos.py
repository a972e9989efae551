"""Vocos as a decoder of EnCodec's tokens -> a tokenizer of vqkit."""

import re
from collections.abc import Sequence

from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.nets import VocosDecoder
from vqkit.quantizers import VectorQuantizer, from_encodec
from vqkit.tokenizers.converters.encodec import (
    encodec_from_original,
    encodec_parts,
    level_state,
)
from vqkit.tokenizers.converters.state import State, below, load, renamed
from vqkit.tokenizers.tokenizer import Tokenizer

__all__ = ["VOCOS_ENCODEC", "vocos_decoder", "vocos_from_original"]

VOCOS_ENCODEC = "feature_extractor.encodec."
"""Before the names of EnCodec in checkpoints of Vocos and WavTokenizer."""

_CODEBOOKS = "feature_extractor.codebook_weights"
_BANDWIDTHS_KBPS = (1.5, 3.0, 6.0, 12.0)
_BACKBONE = (
    (r"^backbone\.pos_net\.", "position."),
    (r"^backbone\.final_layer_norm\.", "final_norm."),
    (r"^backbone\.", ""),
    (r"^head\.out\.", "head.linear."),
)
_CONDITIONED = re.compile(r"(.*\bnorm)\.(scale|shift)\.weight")


def vocos_from_original(
    state: State,
    encodec: Tokenizer | None = None,
    *,
    bandwidth_kbps: float = 6.0,
    bandwidths_kbps: Sequence[float] = _BANDWIDTHS_KBPS,
) -> Tokenizer:
    """The tokenizer of Vocos for EnCodec at 24 kHz (arXiv 2306.00814): its sound, EnCodec's tokens.

    Norms of Vocos are conditioned on the bandwidth: those of one are taken, and as many codebooks.
    The tokens are those that EnCodec makes at that bandwidth. The variant for mel spectra is a
    vocoder without tokens and cannot be one.

    Args:
        state: State dict of Vocos.
        encodec: EnCodec at 24 kHz, where the checkpoint does not carry it.
        bandwidth_kbps: Which bandwidth.
        bandwidths_kbps: Those that the norms were trained for, in their order.

    Raises:
        ConfigError: Weights that are no such model's, EnCodec missing, or no such bandwidth.
    """
    if bandwidth_kbps not in bandwidths_kbps:
        raise ConfigError(
            f"Vocos: expected a bandwidth of {list(bandwidths_kbps)} kbit/s, got {bandwidth_kbps}."
        )
    theirs = below(state, VOCOS_ENCODEC)
    codec = encodec_from_original(theirs) if theirs else encodec
    if codec is None:
        what = (
            "EnCodec at 24 kHz beside Vocos, whose file leaves it out. Give it too"
            if _CODEBOOKS in state
            else "the variant for tokens of EnCodec. That for mel spectra is a vocoder: it has no "
            "tokens"
        )
        raise ConfigError(f"Vocos: expected {what}.")
    _, _, levels, frontend = encodec_parts(codec, "Vocos")
    levels = levels[: _num_codebooks(codec, bandwidth_kbps)]
    _check_codebooks(state, levels)
    quantizer = from_encodec(
        {
            name: value
            for number, level in enumerate(levels)
            for name, value in level_state(level, f"layers.{number}._codebook").items()
        }
    )
    row = list(bandwidths_kbps).index(bandwidth_kbps)
    decoder = vocos_decoder(state, row=row, hop=codec.stride[0])
    return Tokenizer(frontend, codec.encoder, quantizer, decoder, name="audio/vocos").eval()


def vocos_decoder(state: State, *, row: int, hop: int) -> VocosDecoder:
    """Backbone and head with their weights, of Vocos or WavTokenizer.

    Args:
        state: State dict of a checkpoint.
        row: Of tables of norms the one to take.
        hop: Samples per frame.

    Raises:
        ConfigError: Weights that are no such networks'.
    """
    backbone = _backbone(state, row)
    if "embed.weight" not in backbone or "head.linear.weight" not in backbone:
        raise ConfigError(
            "Vocos weights: expected names below 'backbone.' and 'head.out.', got "
            f"{sorted({name.split('.')[0] for name in state})[:8]}."
        )
    width, dim, _ = backbone["embed.weight"].shape
    decoder = VocosDecoder(
        dim,
        width,
        len(backbone["convnext.0.pwconv1.weight"]),
        sum(name.endswith(".dwconv.weight") for name in backbone),
        hop=hop,
        n_fft=len(backbone["head.linear.weight"]) - 2,
        position_net=any(name.startswith("position.") for name in backbone),
    )
    load(decoder, backbone, "Vocos' decoder")
    return decoder


def _backbone(state: State, row: int) -> dict[str, Tensor]:
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
            continue
        if row >= len(value):
            raise ConfigError(
                f"Vocos weights: expected norms for {row + 1} bandwidths or more, got {len(value)}."
            )
        backbone[f"{match[1]}.{'weight' if match[2] == 'scale' else 'bias'}"] = value[row]
    return backbone


def _num_codebooks(codec: Tokenizer, bandwidth_kbps: float) -> int:
    sizes = codec.quantizer.codebook_sizes
    rate = codec.spec.bits_per_second
    assert rate is not None
    count = int(bandwidth_kbps * 1000 * len(sizes) / rate + 1e-6)
    if not 0 < count <= len(sizes):
        raise ConfigError(
            f"Vocos: expected a bandwidth of {rate / len(sizes) / 1000:.3f} to {rate / 1000:.3f} "
            f"kbit/s, which this EnCodec has, got {bandwidth_kbps}."
        )
    return count


def _check_codebooks(state: State, levels: Sequence[VectorQuantizer]) -> None:
    """Vocos reads its features from codebooks of its own, which are EnCodec's unless trained on."""
    own = state.get(_CODEBOOKS)
    if own is None:
        return
    size = levels[0].codebook_size
    for number, level in enumerate(levels):
        if not level.codebook.equal(own[number * size : (number + 1) * size]):
            raise ConfigError(
                f"Vocos: expected the codebooks of its EnCodec, got others at level {number}. This "
                "is not the EnCodec that it was trained for."
            )
