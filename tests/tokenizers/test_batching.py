"""Many items at once: who goes with whom, and that it makes no difference."""

import threading
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.tokenizers.converters import peers
from tests.training import tiny
from vqkit.media import find_audio, read_audio
from vqkit.quantizers import FSQ
from vqkit.tokenizers import Tokenizer, batching
from vqkit.tokenizers.batching import by_length, for_each
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
    settings = {"chunk_seconds": settings.get("chunk_seconds")}
    together = tokenizer.decode(tokens, batched=True, **settings)
    for mine, alone in zip(together, tokenizer.decode(tokens, **settings), strict=True):
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


@pytest.fixture
def two_threads():
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


@pytest.mark.parametrize("chunk_seconds", [None, 0.02])  # batches; long sounds one by one
def test_sounds_have_the_same_tokens_on_several_threads(monkeypatch, two_threads, chunk_seconds):
    monkeypatch.setitem(batching._SAMPLES_AT_ONCE, "cpu", 1)
    tokenizer = encodec()
    generator = torch.Generator().manual_seed(0)
    lengths = [tokenizer.stride[0] * frames - 3 for frames in range(3, 11)]
    sounds = [torch.rand(1, length, generator=generator) - 0.5 for length in lengths]
    check_batched_is_single(tokenizer, sounds, chunk_seconds=chunk_seconds)


def test_tasks_run_beside_one_another_without_gradients(two_threads):
    together = threading.Barrier(2)
    done = []

    def task(number):
        together.wait(timeout=30)
        done.append((number, torch.is_grad_enabled()))

    for_each(task, range(6), torch.device("cpu"))
    assert sorted(done) == [(number, False) for number in range(6)]


def test_tasks_run_one_after_the_other_where_they_may_not_go_beside(two_threads):
    threads = []
    cpu = torch.device("cpu")
    for_each(lambda _: threads.append(threading.get_ident()), range(6), cpu, beside=False)
    assert threads == [threading.get_ident()] * 6


def test_what_a_task_raises_is_raised(two_threads):
    def task(number):
        if number == 4:
            raise ValueError("four")

    with pytest.raises(ValueError, match="four"):
        for_each(task, range(6), torch.device("cpu"))


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
