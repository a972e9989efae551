"""Many items at once: who goes with whom, and that it makes no difference."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.tokenizers.converters import peers
from tests.training import tiny
from vqkit.media import find_audio, read_audio
from vqkit.quantizers import FSQ
from vqkit.tokenizers import Tokenizer
from vqkit.tokenizers.batching import by_length
from vqkit.tokenizers.converters import (
    dac_from_transformers,
    encodec_from_transformers,
    mimi_from_transformers,
)

SPEECH = Path(__file__).resolve().parents[3] / "shared" / "data" / "audio" / "speech"


def encodec() -> Tokenizer:
    model = peers.encodec()
    return encodec_from_transformers(model.config.to_dict(), model.state_dict())


def dac() -> Tokenizer:
    model = peers.dac([2, 4, 5, 8])
    return dac_from_transformers(model.config.to_dict(), model.state_dict())


def mimi() -> Tokenizer:
    model = peers.mimi()
    return mimi_from_transformers(model.config.to_dict(), model.state_dict())


def check_batched_is_single(tokenizer, sounds, **settings):
    tokens = tokenizer.encode(sounds, **settings)
    assert tokenizer.encode(sounds, batched=True, **settings).same_as(tokens)
    together = tokenizer.decode(tokens, batched=True)
    for mine, alone in zip(together, tokenizer.decode(tokens), strict=True):
        assert mine.shape == alone.shape
        torch.testing.assert_close(mine, alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("codec", [encodec, dac, mimi])
def test_sounds_of_different_lengths_have_the_tokens_they_have_alone(codec):
    tokenizer = codec()
    (hop,) = tokenizer.stride
    generator = torch.Generator().manual_seed(0)
    lengths = [1, hop - 1, 0, hop, hop + 1, int(3.7 * hop), 4 * hop, 0]
    sounds = [torch.rand(1, length, generator=generator) - 0.5 for length in lengths]
    check_batched_is_single(tokenizer, sounds)


def test_sounds_of_no_length_alone():
    tokenizer = dac()
    tokens = tokenizer.encode([torch.zeros(1, 0), torch.zeros(1, 0)], batched=True)
    assert tokens.indices.shape == (2, 0, 3)
    assert [sound.shape for sound in tokenizer.decode(tokens, batched=True)] == [(1, 0)] * 2


@pytest.mark.slow
@pytest.mark.skipif(not SPEECH.is_dir(), reason="needs the sounds of ../shared")
@pytest.mark.parametrize("codec", [encodec, dac, mimi])
def test_speech_has_the_tokens_it_has_alone(codec):
    sounds = [read_audio(path) for path in find_audio(SPEECH / "fsdd_8khz")[::20]]
    assert len(sounds) == 10
    samples = [sound.samples for sound in sounds]
    check_batched_is_single(codec(), samples, sample_rate_hz=8000)


def test_images_are_decoded_together_by_shape():
    tokenizer = tiny.tokenizer(FSQ([5] * 4))
    media = [torch.rand(3, h, w) * 2 - 1 for h, w in [(8, 8), (9, 5), (8, 8), (7, 8)]]
    tokens = tokenizer.encode(media)
    for mine, alone in zip(
        tokenizer.decode(tokens, batched=True), tokenizer.decode(tokens), strict=True
    ):
        torch.testing.assert_close(mine, alone, rtol=0, atol=1e-5)


@given(st.lists(st.integers(1, 1000)), st.integers(1, 3000))
def test_batches_hold_every_item_once_and_little_padding(lengths, most):
    batches = by_length(lengths, most)
    assert sorted(number for batch in batches for number in batch) == list(range(len(lengths)))
    for batch in batches:
        size = max(lengths[i] for i in batch) * len(batch)
        assert size <= most or len(batch) == 1
        assert sum(lengths[i] for i in batch) >= 0.8 * size
