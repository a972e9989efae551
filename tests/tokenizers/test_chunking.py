"""Chunks against a plain way to cut and join, and what files and parts make of them."""

import dataclasses
from itertools import pairwise

import pytest
import torch

from vqkit.errors import ConfigError, ShapeError
from vqkit.files import dumps, loads
from vqkit.nets import ConvStyle, FastDecoder, FastEncoder, SEANetDecoder, SEANetEncoder
from vqkit.quantizers import FSQ, Factorized
from vqkit.tokenizers import (
    AudioFrontend,
    Chunking,
    ImageFrontend,
    MediaPart,
    SplitChannels,
    Tokenizer,
    Tokens,
    TokenStream,
)
from vqkit.tokenizers.chunking import SCALE_STREAM
from vqkit.tokenizers.float_bits import bytes_of, floats_of_bytes

RATE_HZ, CHUNKS = 8000, Chunking(chunk_samples=200, step_samples=190)


def tokenizer(chunking=CHUNKS, **frontend) -> Tokenizer:
    torch.manual_seed(0)
    style = ConvStyle(causal=False, norm="group")
    sizes = {"dim": 4, "num_filters": 4, "strides": (2, 3), "num_lstm_layers": 1, "style": style}
    return Tokenizer(
        AudioFrontend(RATE_HZ, **frontend),
        SEANetEncoder(**sizes),
        Factorized(FSQ([5, 5]), 4),
        SEANetDecoder(**sizes),
        "audio/chunks",
        chunking,
    ).eval()


def noise(samples: int, channels: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(samples)
    sound = 0.3 * torch.randn(channels, samples, generator=generator)
    return (sound * torch.linspace(0.1, 1, samples)).clamp(-1, 1)


def joined(chunks, step):
    """Every sample by itself: the mean of the chunks over it, weighted by their triangles."""
    length = len(chunks[0])
    total = step * (len(chunks) - 1) + len(chunks[-1])
    sound = torch.zeros(total)
    for sample in range(total):
        values, weights = [], []
        for number, chunk in enumerate(chunks):
            place = sample - number * step
            if 0 <= place < len(chunk):
                position = (place + 1) / (length + 1)
                weights.append(0.5 - abs(position - 0.5))
                values.append(float(chunk[place]))
        sound[sample] = sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)
    return sound


@pytest.mark.parametrize("chunking", [CHUNKS, Chunking(200, 100, False), Chunking(120, 120)])
@pytest.mark.parametrize("samples", [1, 190, 191, 200, 201, 385, 1000])
def test_chunks_are_encoded_alone_and_fade_into_each_other(chunking, samples):
    model, sound = tokenizer(chunking), noise(samples)
    indices, scales, decoded = [], [], []
    for start in range(0, samples, chunking.step_samples):
        chunk = sound[:, start : start + chunking.chunk_samples]
        scale = chunk.square().mean().sqrt() + 1e-8 if chunking.normalises else torch.ones(())
        with torch.no_grad():
            coded = model.quantizer.encode(model.encoder(chunk[None] / scale).movedim(1, -1))
            latent = model.quantizer.decode(coded).movedim(-1, 1)
            decoded.append(model.decoder(latent)[0, 0] * scale)
        indices.append(coded)
        scales.append(scale)
    tokens = model.encode([sound])
    assert torch.equal(tokens.indices, torch.cat(indices, dim=1))
    if chunking.normalises:
        kept = floats_of_bytes(tokens.streams[SCALE_STREAM].indices)
        torch.testing.assert_close(kept, torch.stack(scales)[None])
    else:
        assert tokens.streams.keys() == {"tokens"}
    expected = joined(decoded, chunking.step_samples)[:samples].clamp(-1, 1)
    (found,) = model.decode(loads(dumps(tokens)))
    torch.testing.assert_close(found, expected[None], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("chunking", [CHUNKS, Chunking(200, 100), Chunking(120, 120, False)])
@pytest.mark.parametrize("samples", [0, 1, 120, 200, 1234])
def test_pieces_of_any_length_are_the_whole(chunking, samples):
    """So hours of sound are coded with a chunk in memory."""
    sound = noise(samples)[None] if samples else torch.zeros(1, 1, 0)
    lengths = []

    def networks(chunk):
        lengths.append(chunk.shape[-1])
        return (chunk[:, :, ::10].movedim(1, -1) * 100).long()

    whole = chunking.encode([sound], networks)
    assert max(lengths) <= chunking.chunk_samples
    generator = torch.Generator().manual_seed(samples)
    for _ in range(5):
        sizes = torch.randint(0, 90, (100,), generator=generator).tolist()
        cut = torch.cat([torch.zeros(1, dtype=torch.int64), torch.tensor(sizes).cumsum(0)])
        bounds = [*cut.clamp(max=samples).tolist(), samples]
        pieces = [sound[..., a:b] for a, b in pairwise(bounds)]
        streams = chunking.encode(iter(pieces), networks)
        assert streams.keys() == whole.keys()
        assert all(torch.equal(streams[name], whole[name]) for name in whole)
    decoded = list(chunking.decode(whole, samples, 10, lambda x: x[:, None, :, 0].float()))
    assert len(decoded) == max(1, len(chunking.lengths(samples)))
    assert all(piece.shape[-1] <= chunking.chunk_samples for piece in decoded)


def test_a_chunk_does_not_depend_on_the_others():
    model, sound = tokenizer(), noise(2000)
    tokens = model.encode([sound])
    per_chunk = -(-200 // 6)
    changed = sound.clone()
    changed[:, 5 * 190 + 10 : 6 * 190] = 0.5
    others = model.encode([changed])
    is_equal = (tokens.indices == others.indices).all(-1)[0]
    assert is_equal[: 5 * per_chunk].all()
    assert not is_equal[5 * per_chunk : 6 * per_chunk].all()
    assert is_equal[6 * per_chunk :].all()


@pytest.mark.parametrize("frontend", [{}, {"channel_policy": SplitChannels()}])
def test_a_part_is_that_of_the_whole_exactly(frontend):
    model = tokenizer(**frontend)
    for samples in (150, 377, 390, 1000, 1515):
        sound = noise(samples, channels=2)
        tokens = model.encode([sound])
        (whole,) = model.decode(tokens)
        generator = torch.Generator().manual_seed(samples)
        for _ in range(3):
            ends = torch.randint(samples + 1, (2,), generator=generator).sort().values.tolist()
            start, stop = ends[0], max(ends[1], ends[0] + 1)
            if stop > samples:
                continue
            part = MediaPart.of(model.spec, tokens.media[0], {"time": (start, stop)}, context=8)
            cut = _cut(tokens, part)
            found = part.cut(model.decode(cut)[0])
            torch.testing.assert_close(found, whole[:, start:stop], rtol=1e-5, atol=1e-6)
            assert cut.num_tokens <= tokens.num_tokens


def _cut(tokens: Tokens, part: MediaPart) -> Tokens:
    def cut(stream: TokenStream, ranges) -> TokenStream:
        tile = [slice(*ranges[axis]) if axis in ranges else slice(None) for axis in stream.axes]
        return dataclasses.replace(stream, indices=stream.indices[:, *tile])

    streams = {
        name: cut(stream, part.grid if name == "tokens" else part.side)
        for name, stream in tokens.streams.items()
    }
    size = {**tokens.media[0], "samples": part.size["time"]}
    return dataclasses.replace(tokens, streams=streams, media=(size,))


def test_a_long_sound_needs_few_of_its_tokens_for_a_part():
    spec = tokenizer().spec
    size = {"samples": 10**7, "sample_rate_hz": RATE_HZ, "channels": 1}
    part = MediaPart.of(spec, size, {"time": (5_000_000, 5_000_100)}, context=8)
    assert part.grid["time"][1] - part.grid["time"][0] < 3 * 34
    assert part.side["chunk"][1] - part.side["chunk"][0] <= 3
    with pytest.raises(ValueError, match=r"along \['time'\], got 'channel'"):
        MediaPart.of(spec, size, {"channel": (0, 1)}, context=8)


def test_numbers_of_a_stranger_are_counted_and_not_listed():
    """A token file may say of its sound what it likes."""
    for samples in range(1, 1200):
        frames = sum(-(-length // 6) for length in CHUNKS.lengths(samples))
        assert CHUNKS.num_frames(samples, 6) == frames
        assert CHUNKS.num_chunks(samples) == len(CHUNKS.lengths(samples))
    model = tokenizer()
    tokens = model.encode([noise(1000)])
    size = {"samples": 1 << 53, "sample_rate_hz": RATE_HZ, "channels": 1}
    with pytest.raises(ShapeError, match="expected a grid of"):
        model.decode(dataclasses.replace(tokens, media=(size,)))


def test_lost_scales_are_those_of_the_neighbours():
    model = tokenizer()
    tokens = model.encode([noise(1000)])
    stream = tokens.streams[SCALE_STREAM]
    values = floats_of_bytes(stream.indices)
    lost = stream.indices.clone()
    lost[0, 2, 1] = -1
    assert floats_of_bytes(lost).isnan().sum() == 1
    (decoded,) = model.decode(tokens.with_indices(SCALE_STREAM, lost))
    mean = (values.sum() - values[0, 2]) / (values.shape[1] - 1)
    filled = values.clone()
    filled[0, 2] = mean
    (expected,) = model.decode(tokens.with_indices(SCALE_STREAM, bytes_of(filled)))
    torch.testing.assert_close(decoded, expected)
    assert model.decode(tokens.with_indices(SCALE_STREAM, lost.fill_(-1)))[0].isfinite().all()


def test_scales_that_no_encoder_writes_are_refused():
    model = tokenizer()
    tokens = model.encode([noise(1000)])
    stream = tokens.streams[SCALE_STREAM]
    for value in (-1.0, 0.0, float("inf"), 1e30):
        wrong = bytes_of(torch.full(stream.indices.shape[:2], value))
        with pytest.raises(ShapeError, match="scales of chunks"):
            model.decode(tokens.with_indices(SCALE_STREAM, wrong))
    short = dataclasses.replace(stream, indices=stream.indices[:, 1:])
    for streams in (
        {"tokens": tokens.streams["tokens"]},
        {**tokens.streams, SCALE_STREAM: short},
    ):
        with pytest.raises(ShapeError, match="expected a stream 'scale'"):
            model.decode(dataclasses.replace(tokens, streams=streams))


def test_chunks_with_gaps_or_of_pictures_are_refused():
    for chunk, step in ((10, 11), (10, 4), (0, 0)):
        with pytest.raises(ConfigError, match="half a chunk to all of it"):
            Chunking(chunk, step)
    sizes = {"dim": 4, "widths": (16, 24), "num_blocks": (1, 1)}
    networks = FastEncoder(3, **sizes), Factorized(FSQ([5, 5]), 4), FastDecoder(3, **sizes)
    with pytest.raises(ConfigError, match="sounds for chunks"):
        Tokenizer(ImageFrontend(), *networks, chunking=CHUNKS)


def test_bits_of_numbers_are_exact():
    values = torch.tensor([[1e-8, 0.1, 3.5e-41, 1.0], [0.7, 2.5, 15.99, 1e-20]])
    assert torch.equal(floats_of_bytes(bytes_of(values)), values)
    assert torch.equal(floats_of_bytes(bytes_of(-values)), -values)
