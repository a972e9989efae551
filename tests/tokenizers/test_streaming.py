"""Sounds that come in pieces have the tokens, and the sound, that they have as a whole."""

import itertools
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vqkit.errors import ShapeError, StreamingError
from vqkit.media import read_audio
from vqkit.nets import (
    CausalTransformer,
    ConvStyle,
    DACDecoder,
    DACEncoder,
    FastDecoder,
    FastEncoder,
    MimiDecoder,
    MimiEncoder,
    SEANetDecoder,
    SEANetEncoder,
    VocosDecoder,
)
from vqkit.quantizers import FSQ, Factorized, Residual, Split, VectorQuantizer
from vqkit.tokenizers import AudioFrontend, ImageFrontend, Tokenizer

RATE = 16_000


def _seanet(style: ConvStyle) -> Tokenizer:
    sizes = {"dim": 8, "num_filters": 2, "strides": [4, 5], "style": style}
    quantizer = Residual(VectorQuantizer(8, 32), 3)
    return Tokenizer(
        AudioFrontend(RATE), SEANetEncoder(**sizes), quantizer, SEANetDecoder(**sizes), "seanet"
    )


def _dac() -> Tokenizer:
    quantizer = Factorized(FSQ([8, 8, 8]), dim=8)
    encoder = DACEncoder(dim=8, num_filters=2, strides=[3, 5])
    return Tokenizer(
        AudioFrontend(RATE), encoder, quantizer, DACDecoder(dim=8, num_filters=8, strides=[3, 5])
    )


def _mimi() -> Tokenizer:
    style = ConvStyle(padding="zero", norm="none")
    sizes = {"dim": 8, "num_filters": 2, "strides": [4, 5], "num_lstm_layers": 0, "style": style}
    encoder = MimiEncoder(SEANetEncoder(**sizes), _transformer())
    decoder = MimiDecoder(SEANetDecoder(**sizes), _transformer())
    quantizer = Split(VectorQuantizer(8, 32), Residual(VectorQuantizer(8, 32), 2))
    return Tokenizer(AudioFrontend(RATE), encoder, quantizer, decoder)


def _transformer() -> CausalTransformer:
    return CausalTransformer(8, 2, 2, hidden_dim=16, window=6, initial_gain=0.5)


def _vocos() -> Tokenizer:
    encoder = SEANetEncoder(dim=8, num_filters=2, strides=[4, 5], style=ConvStyle(causal=False))
    decoder = VocosDecoder(8, 32, 48, num_layers=2, hop=20, n_fft=80, position_net=False)
    return Tokenizer(AudioFrontend(RATE), encoder, VectorQuantizer(8, 64), decoder)


TOKENIZERS: dict[str, Callable[[], Tokenizer]] = {
    "EnCodec": lambda: _seanet(ConvStyle()),
    "zero padding": lambda: _seanet(ConvStyle(padding="zero")),
    "not causal": lambda: _seanet(ConvStyle(causal=False)),
    "DAC, odd strides": _dac,
    "Mimi": _mimi,
    "WavTokenizer without attention": _vocos,
}


@cache
def _tokenizer(name: str) -> Tokenizer:
    torch.manual_seed(0)
    tokenizer = TOKENIZERS[name]()
    # Codes as they are learned of latents: random ones would give one token to all of a sound.
    noise = _sound(8 * 64 * tokenizer.stride[0]).reshape(8, 1, -1)
    if isinstance(tokenizer.quantizer, Factorized):
        with torch.no_grad():
            tokenizer.quantizer.project_in.weight /= tokenizer.encoder(noise).std()
    tokenizer(noise)
    tokenizer.eval()
    assert len(tokenizer.encode(noise[:1]).indices.unique()) > 8
    return tokenizer


def _sound(num_samples: int, channels: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(num_samples)
    noise = torch.randn(channels, num_samples, generator=generator)
    return (noise.cumsum(-1) / 40).clamp(-1, 1) if num_samples else noise


def _cut(x: Tensor, cuts: list[int]) -> list[Tensor]:
    bounds = [0, *sorted(min(cut, x.shape[-1]) for cut in cuts), x.shape[-1]]
    return [x[..., a:b] for a, b in itertools.pairwise(bounds)]


def _check_stream(tokenizer: Tokenizer, sound: Tensor, rate: int, cuts: list[int]) -> None:
    tokens = tokenizer.encode([sound], sample_rate_hz=rate)
    whole = tokenizer.decode(tokens)[0]
    stream = tokenizer.stream(sample_rate_hz=rate, channels=len(sound))
    outputs = [stream.push(piece[None]) for piece in _cut(sound, cuts)] + [stream.finish()]

    assert torch.equal(torch.cat([out.indices for out in outputs], dim=1), tokens.indices)
    samples = torch.cat([out.samples for out in outputs], dim=-1)
    torch.testing.assert_close(samples[0], whole, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=4, deadline=None)
@given(
    length=st.integers(0, 800),
    cuts=st.lists(st.integers(0, 800), max_size=3),
    rate=st.sampled_from([RATE, RATE, 8000, 44_100]),
    channels=st.integers(1, 2),
)
def test_a_stream_gives_what_the_whole_gives(
    name: str, length: int, cuts: list[int], rate: int, channels: int
) -> None:
    _check_stream(_tokenizer(name), _sound(length, channels), rate, cuts)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_real_speech_in_a_stream(name: str, development_media: Path) -> None:
    tokenizer = _tokenizer(name)
    generator = torch.Generator().manual_seed(0)
    files = sorted((development_media / "audio" / "speech" / "vctk").glob("*.flac"))
    for file in files[:2]:
        clip, rate = (found := read_audio(file)).samples, found.sample_rate_hz
        cuts = torch.randint(rate // 2, (4,), generator=generator).tolist()
        _check_stream(tokenizer, clip[:, rate : 3 * rate // 2], rate, cuts)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_pieces_are_the_whole(name: str) -> None:
    """Whatever the pieces: the same bits for the same length of them, the same tokens for any."""
    tokenizer = _tokenizer(name)
    sound = _sound(2_500, channels=2)
    whole = tokenizer.encode([sound], sample_rate_hz=44_100, chunk_seconds=float("inf"))
    for seconds in (0.003, 0.013, 10.0):
        tokens = tokenizer.encode([sound], sample_rate_hz=44_100, chunk_seconds=seconds)
        assert torch.equal(tokens.indices, whole.indices)
        for length in (400, 2_499):
            pieces = tokenizer.encode_pieces(
                sound.split(length, dim=1), sample_rate_hz=44_100, chunk_seconds=seconds
            )
            assert pieces.same_as(tokens)
        decoded = tokenizer.decode(tokens, chunk_seconds=seconds)[0]
        parts = list(tokenizer.decode_pieces(tokens, chunk_seconds=seconds))
        assert torch.equal(torch.cat(parts, dim=-1), decoded)
        assert len(parts) > 1 or seconds == 10.0
        torch.testing.assert_close(decoded, tokenizer.decode(whole)[0], atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("num_samples", [0, 1, 19, 20, 21, 74])
def test_short_sounds_in_pieces_of_a_frame(num_samples: int) -> None:
    tokenizer = _tokenizer("EnCodec")
    sound = _sound(num_samples)
    tokens = tokenizer.encode_pieces([sound[:, :5], sound[:, 5:]], chunk_seconds=1e-9)
    assert tokens.same_as(tokenizer.encode([sound]))
    assert tokenizer.decode(tokens, chunk_seconds=1e-9)[0].shape == sound.shape


def test_networks_that_need_the_whole_have_one_piece() -> None:
    style = ConvStyle(causal=False, norm="group")
    tokenizer = _seanet(style).eval()
    sound = _sound(3_000)
    tokens = tokenizer.encode([sound], chunk_seconds=0.01)
    assert tokens.same_as(tokenizer.encode([sound]))
    pieces = tokenizer.encode_pieces(sound.split(700, dim=1), chunk_seconds=0.01)
    assert tokens.same_as(pieces)
    pieces = tokenizer.decode_pieces(tokens, chunk_seconds=0.01)
    assert [piece.shape[1] for piece in pieces] == [3_000, 0]
    with pytest.raises(StreamingError, match="GroupNorm"):
        tokenizer.stream()


def test_many_streams_in_step_and_one_of_them_anew() -> None:
    tokenizer = _tokenizer("Mimi")
    hop = tokenizer.stride[0]
    sounds = torch.stack(
        [_sound(40 * hop), _sound(40 * hop + 1)[:, :-1], _sound(41 * hop)[:, hop:]]
    )
    stream = tokenizer.stream(batch_size=3)
    outputs = [stream.push(sounds[..., : 13 * hop])]
    stream.restart(torch.tensor([False, True, False]))
    outputs.append(stream.push(sounds[..., 13 * hop :]))
    indices = torch.cat([out.indices for out in outputs], dim=1)
    samples = torch.cat([out.samples for out in outputs], dim=-1)

    pieces = [(0, 0, 40), (1, 0, 13), (1, 13, 40), (2, 0, 40)]
    for row, first, last in pieces:
        tokens = tokenizer.encode([sounds[row, :, first * hop : last * hop]])
        assert torch.equal(indices[row, first:last], tokens.indices[0])
        alone = tokenizer.decode(tokens)[0]
        torch.testing.assert_close(
            samples[row, :, first * hop : last * hop], alone, atol=2e-6, rtol=1e-5
        )


@pytest.mark.parametrize("name", TOKENIZERS)
def test_latency_is_what_a_stream_has(name: str) -> None:
    """Sample by sample once it runs: none comes later than is said, and one as late."""
    tokenizer = _tokenizer(name)
    stream = tokenizer.stream()
    hop = tokenizer.stride[0]
    sound = _sound(45 * hop)[None]
    num_in = 40 * hop
    num_out = stream.push(sound[..., :num_in]).samples.shape[-1]
    latest = 0
    while num_in < sound.shape[-1]:
        num_in += 1
        if num_new := stream.push(sound[..., num_in - 1 : num_in]).samples.shape[-1]:
            latest = max(latest, num_in - num_out)
            num_out += num_new
    assert latest == round(stream.latency_seconds * RATE) >= hop


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_stream_starts_when_it_says(name: str) -> None:
    stream = _tokenizer(name).stream()
    needed = round(stream.start_seconds * RATE)
    sound = _sound(needed)[None]
    assert not stream.push(sound[..., :-1]).samples.shape[-1]
    assert stream.push(sound[..., -1:]).samples.shape[-1]


def test_causal_networks_wait_for_their_frame_alone() -> None:
    stream = _tokenizer("zero padding").stream()
    assert stream.frame_samples == 20
    assert stream.encoder.lookahead_samples == 0
    assert stream.latency_seconds == stream.start_seconds == 20 / RATE
    assert stream.encoder.receptive_field_samples == float("inf")  # the LSTM
    # Reflected beginnings wait for what is reflected, and only they.
    reflected = _tokenizer("EnCodec").stream()
    assert reflected.latency_seconds == 20 / RATE
    assert reflected.start_seconds > 20 / RATE


def test_decoding_alone_at_the_other_end() -> None:
    tokenizer = _tokenizer("EnCodec")
    sound = _sound(1234)
    tokens = tokenizer.encode([sound])
    decoder = tokenizer.stream().decoder
    first = decoder.push(tokens.indices[:, :40, :2])
    rest = decoder.finish(tokens.indices[:, 40:, :2], num_samples=1234)
    whole = tokenizer.decode(tokens.first_codebooks(2))[0]
    torch.testing.assert_close(torch.cat([first, rest], -1)[0], whole, atol=2e-6, rtol=1e-5)


def test_misuse_is_named() -> None:
    tokenizer = _tokenizer("zero padding")
    stream = tokenizer.stream(batch_size=2)
    with pytest.raises(ShapeError, match=r"\[2, 1, samples\]"):
        stream.push(torch.zeros(1, 1, 100))
    with pytest.raises(ShapeError, match=r"\[-1, 1\]"):
        stream.push(torch.full((2, 1, 100), float("nan")))
    with pytest.raises(ShapeError, match=r"\[2, frames"):
        stream.decoder.push(torch.zeros(1, 3, 3, dtype=torch.int64))
    decoder = tokenizer.stream().decoder
    decoder.push(torch.zeros(1, 3, 3, dtype=torch.int64))
    with pytest.raises(StreamingError, match="expected 10 samples, got 60"):
        decoder.finish(num_samples=10)
    with pytest.raises(StreamingError, match="at the model's 16000 Hz"):
        tokenizer.stream(sample_rate_hz=8000).restart(torch.tensor([True]))
    with pytest.raises(ShapeError, match="at least one"):
        tokenizer.encode_pieces([])
    with pytest.raises(ShapeError, match="1 channels as before"):
        tokenizer.encode_pieces([torch.zeros(1, 5), torch.zeros(2, 5)])
    images = Tokenizer(ImageFrontend(), FastEncoder(dim=3), FSQ([4, 4, 4]), FastDecoder(dim=3))
    with pytest.raises(StreamingError, match="of sounds, got one of image"):
        images.stream()
