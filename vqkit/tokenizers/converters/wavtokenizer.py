"""WavTokenizer -> a tokenizer of vqkit."""

from vqkit.nets import ConvStyle, SEANetEncoder
from vqkit.quantizers import from_encodec
from vqkit.tokenizers.audio_frontend import AudioFrontend
from vqkit.tokenizers.converters.seanet import ORIGINAL_SEANET, seanet_sizes
from vqkit.tokenizers.converters.state import State, below, fold_weight_norm, load, renamed
from vqkit.tokenizers.converters.vocos import VOCOS_ENCODEC, vocos_decoder
from vqkit.tokenizers.tokenizer import Tokenizer

__all__ = ["wavtokenizer_from_original"]

_SAMPLE_RATE_HZ = 24_000


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
    theirs = below(state, VOCOS_ENCODEC)
    encodec = renamed(fold_weight_norm(theirs), ORIGINAL_SEANET)
    style = ConvStyle(causal=False, norm="none")
    encoder = SEANetEncoder(1, **seanet_sizes(below(encodec, "encoder."), style))
    decoder = vocos_decoder(state, row=0, hop=encoder.stride[0])
    load(encoder, below(encodec, "encoder."), "WavTokenizer's encoder")
    quantizer = from_encodec(theirs)
    return Tokenizer(
        AudioFrontend(_SAMPLE_RATE_HZ), encoder, quantizer, decoder, name="audio/wavtokenizer"
    ).eval()
