"""Tokenizers of several kinds keep the contract."""

import pytest
import torch

from tests.training import tiny
from vqkit.nets import (
    CausalTransformer,
    ConvLayers,
    ConvStyle,
    CTCDecoder,
    DACDecoder,
    DACEncoder,
    FastDecoder,
    FastEncoder,
    LogMel,
    MAGVIT2Decoder,
    MAGVIT2Encoder,
    MimiDecoder,
    MimiEncoder,
    SEANetDecoder,
    SEANetEncoder,
    SpeechContext,
    SpeechEncoder,
    TiTokDecoder,
    TiTokEncoder,
    VocosDecoder,
    VQGANDecoder,
    VQGANEncoder,
)
from vqkit.quantizers import FSQ, LFQ, Factorized, MultiScaleResidual, Residual
from vqkit.testing import check_tokenizer, tokenizer_checks
from vqkit.tokenizers import (
    AudioFrontend,
    ChannelPolicy,
    Chunking,
    ImageFrontend,
    Level,
    LoudnessLevel,
    MidSide,
    RMSLevel,
    SplitChannels,
    Tokenizer,
)


def fast(channels: int = 3) -> Tokenizer:
    encoder = FastEncoder(channels, dim=4, widths=(16, 24), num_blocks=(1, 1))
    decoder = FastDecoder(channels, dim=4, widths=(16, 24), num_blocks=(1, 1))
    return Tokenizer(
        ImageFrontend(channels), encoder, Factorized(FSQ([5, 5, 5]), 4), decoder, "fast"
    )


def vqgan() -> Tokenizer:
    options = {
        "base_width": 32,
        "multipliers": (1, 1, 1),
        "num_res_blocks": 1,
        "latent_width": 32,
        "attention_levels": (2,),
    }
    return Tokenizer(
        ImageFrontend(),
        VQGANEncoder(dim=4, **options),
        tiny.vector_quantizer(),
        VQGANDecoder(dim=4, **options),
        "vqgan",
    )


def magvit2() -> Tokenizer:
    sizes = {"dim": 5, "base_width": 32, "multipliers": (1, 1), "num_res_blocks": 1}
    encoder, decoder = MAGVIT2Encoder(**sizes), MAGVIT2Decoder(**sizes)
    return Tokenizer(ImageFrontend(), encoder, LFQ(5), decoder, "magvit2")


def titok() -> Tokenizer:
    sizes = {"dim": 4, "side_pixels": 16, "patch_pixels": 8, "num_tokens": 3}
    layers = {"width": 16, "num_layers": 1, "num_heads": 2}
    encoder, decoder = TiTokEncoder(**sizes, **layers), TiTokDecoder(**sizes, **layers)
    return Tokenizer(ImageFrontend(), encoder, tiny.vector_quantizer(), decoder, "titok")


def residual() -> Tokenizer:
    return tiny.tokenizer(
        Residual(FSQ([5] * 4, symmetric=True, bound="clamp"), 3, level_scale=0.25)
    )


def multiscale() -> Tokenizer:
    scales = [[1, 1], [2, 1], [3, 2]]
    return tiny.tokenizer(MultiScaleResidual(tiny.vector_quantizer(), scales, num_convolutions=1))


def encodec() -> Tokenizer:
    sizes = {"dim": 4, "num_filters": 2, "strides": (2, 3, 5), "num_lstm_layers": 1}
    quantizer = Residual(FSQ([5] * 4, symmetric=True, bound="clamp"), 2, level_scale=0.25)
    return Tokenizer(
        AudioFrontend(8000), SEANetEncoder(**sizes), quantizer, SEANetDecoder(**sizes), "encodec"
    )


def dac() -> Tokenizer:
    sizes = {"dim": 4, "strides": (2, 3)}
    encoder, decoder = DACEncoder(num_filters=2, **sizes), DACDecoder(num_filters=8, **sizes)
    return Tokenizer(AudioFrontend(8000), encoder, tiny.vector_quantizer(), decoder, "dac")


def mimi() -> Tokenizer:
    sizes = {"dim": 8, "num_filters": 2, "strides": (2, 4), "num_lstm_layers": 0}
    frames = {"num_layers": 1, "num_heads": 2, "hidden_dim": 16, "window": 3}
    encoder = MimiEncoder(SEANetEncoder(**sizes), CausalTransformer(8, **frames))
    decoder = MimiDecoder(SEANetDecoder(**sizes), CausalTransformer(8, **frames))
    return Tokenizer(AudioFrontend(8000), encoder, Factorized(FSQ([5, 5]), 8), decoder, "mimi")


def wavtokenizer() -> Tokenizer:
    style = ConvStyle(causal=False)
    encoder = SEANetEncoder(dim=4, num_filters=2, strides=(2, 4), num_lstm_layers=1, style=style)
    decoder = VocosDecoder(4, width=64, hidden_dim=32, num_layers=2, hop=8, n_fft=32)
    return Tokenizer(AudioFrontend(8000), encoder, tiny.vector_quantizer(), decoder, "wavtokenizer")


def stereo() -> Tokenizer:
    style = ConvStyle(causal=False, norm="group")
    sizes = {"dim": 4, "num_filters": 4, "strides": (2, 2), "num_lstm_layers": 0, "style": style}
    encoder, decoder = SEANetEncoder(2, **sizes), SEANetDecoder(2, **sizes)
    return Tokenizer(AudioFrontend(8000, 2), encoder, Factorized(FSQ([5, 5]), 4), decoder, "stereo")


def alone(policy: ChannelPolicy, level: Level) -> Tokenizer:
    """Channels by themselves, in chunks, at one level."""
    sizes = {"dim": 4, "num_filters": 4, "strides": (2, 3), "num_lstm_layers": 1}
    frontend = AudioFrontend(8000, channel_policy=policy, level=level)
    quantizer = Residual(FSQ([5] * 4, symmetric=True, bound="clamp"), 2, level_scale=0.25)
    encoder, decoder = SEANetEncoder(**sizes), SEANetDecoder(**sizes)
    return Tokenizer(frontend, encoder, quantizer, decoder, "alone", Chunking(400, 360))


def supervised(decodes: bool = True) -> Tokenizer:
    layers = {"dim": 4, "num_layers": 1, "hidden_dim": 8, "kernel": 3}
    encoder = SpeechEncoder(LogMel(8000, 8, 40, 10), ConvLayers(**layers), max_frames=40)
    decoder = CTCDecoder(SpeechContext(ConvLayers(**layers), max_frames=10), "abc")
    return Tokenizer(
        AudioFrontend(8000),
        encoder,
        Factorized(FSQ([5, 5]), 4),
        decoder if decodes else None,
        "supervised",
    )


MAKERS = {
    "split": lambda: alone(SplitChannels(), LoudnessLevel()),
    "mid and side": lambda: alone(MidSide(), RMSLevel()),
    "encodec": encodec,
    "dac": dac,
    "mimi": mimi,
    "wavtokenizer": wavtokenizer,
    "supervised": supervised,
    "encode-only": lambda: supervised(decodes=False),
    "stereo": stereo,
    "fast": fast,
    "grey": lambda: fast(1),
    "vqgan": vqgan,
    "magvit2": magvit2,
    "titok": titok,
    "residual": residual,
    "multiscale": multiscale,
}


@pytest.mark.parametrize("check", tokenizer_checks(), ids=lambda check: check.__name__)
@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.usefixtures("unchecked_shapes")
def test_contract(kind, check):
    torch.manual_seed(0)
    check(MAKERS[kind]())


def test_a_broken_tokenizer_is_caught_and_the_check_is_named():
    tokenizer = tiny.tokenizer()
    tokenizer.frontend.restore = lambda output, size: output.clamp(-1, 1)
    with pytest.raises(AssertionError, match="tiny, check_sizes_come_back"):
        check_tokenizer(tokenizer)


def test_a_prefix_of_the_levels_decodes():
    torch.manual_seed(0)
    tokenizer = residual()
    image = torch.rand(3, 16, 16) * 2 - 1
    tokens = tokenizer.encode([image])
    from dataclasses import replace

    stream = tokens.streams["tokens"]
    for levels in (1, 2, 3):
        short = replace(
            stream,
            indices=stream.indices[..., :levels],
            codebook_sizes=stream.codebook_sizes[:levels],
        )
        decoded = tokenizer.decode(replace(tokens, streams={"tokens": short}))[0]
        latent = tokenizer.quantizer.decode(stream.indices[..., :levels])
        expected = tokenizer.decoder(latent.movedim(-1, 1))[0].clamp(-1, 1)
        assert torch.equal(decoded, expected)
