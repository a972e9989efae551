"""The speech metrics: PESQ and STOI as sums with reasons, and models of the user."""

import math
import sys

import pytest
import torch
from torch import Tensor

from tests.metrics.sounds import RATE_HZ, noisy, voice
from vqkit.errors import MissingExtraError, ShapeError
from vqkit.metrics import (
    PESQ,
    STOI,
    ReferenceFreeScore,
    ReferenceFreeScorer,
    Transcriber,
    Unmeasured,
    WordErrorRate,
    pesq,
    stoi,
)


@pytest.fixture(scope="module")
def batch():
    target = torch.cat([voice(1.0), voice(1.0, 200.0), torch.zeros(1, 1, RATE_HZ)])
    return noisy(target, 0.01), target


@pytest.mark.parametrize(
    ("metric", "options", "function", "package"),
    [
        (PESQ, {}, pesq, "pesq"),
        (PESQ, {"mode": "narrow"}, pesq, "pesq"),
        (STOI, {}, stoi, "pystoi"),
        (STOI, {"extended": True}, stoi, "pystoi"),
    ],
)
class TestByPackage:
    def test_mean_and_reasons(self, batch, metric, options, function, package):
        pytest.importorskip(package)
        reconstruction, target = batch
        running = metric(RATE_HZ, **options)
        running.update(reconstruction[:1], target[:1])
        running.update(reconstruction[1:], target[1:])
        running.update(reconstruction[:1], target[:1], lengths=[399])
        values = function(reconstruction[:2], target[:2], RATE_HZ, **options).values
        torch.testing.assert_close(running.compute(), values.mean(), rtol=1e-12, atol=0)
        assert running.count_reasons() == {
            Unmeasured.SILENT_TARGET: 1,
            Unmeasured.TOO_SHORT: 1,
        }
        assert running.num_skipped == 2
        assert metric.higher_is_better

    def test_the_package_is_asked_for_at_once(
        self, monkeypatch, metric, options, function, package
    ):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(MissingExtraError, match=r"vqkit\[speech\]"):
            metric(RATE_HZ, **options)


def loudness(samples: Tensor, sample_rate_hz: int) -> float:
    assert samples.shape[0] == 1
    assert sample_rate_hz == RATE_HZ
    loudest = samples.abs().max().item()
    return loudest if loudest else math.nan


class Listener:
    """Hears one word per whole second."""

    def __call__(self, samples: Tensor, sample_rate_hz: int) -> str:
        return "word " * (samples.shape[-1] // sample_rate_hz)


class TestOwnModels:
    def test_scorer(self):
        running = ReferenceFreeScore(loudness, RATE_HZ)
        reconstruction = torch.tensor([0.25, 0.75, 0.0])[:, None, None].expand(3, 1, 8)
        running.update(reconstruction, torch.zeros(3, 1, 8))
        assert running.compute() == 0.5
        assert running.count_reasons() == {Unmeasured.NOT_A_NUMBER: 1}

    def test_scorer_hears_no_padding(self):
        heard = []
        running = ReferenceFreeScore(lambda samples, _: heard.append(samples.shape) or 1.0, 8_000)
        running.update(torch.ones(2, 1, 9), torch.ones(2, 1, 9), lengths=[3, 9])
        assert heard == [(1, 3), (1, 9)]

    def test_word_errors_are_pooled(self):
        running = WordErrorRate(Listener(), 100)
        running.update(torch.zeros(1, 1, 200), ["Word, word."])
        running.update(torch.zeros(2, 1, 100), ["a word", "other"])
        assert running.compute().item() == pytest.approx(2 / 5)
        running.reset()
        running.update(torch.zeros(0, 1, 100), [])
        assert running.compute().isnan()

    def test_recogniser_hears_no_padding(self):
        running = WordErrorRate(Listener(), 100)
        running.update(torch.zeros(2, 1, 300), ["word", "word word word"], lengths=[150, 300])
        assert running.compute() == 0
        with pytest.raises(ShapeError, match="expected 2 lengths from 1 to 300"):
            running.update(torch.zeros(2, 1, 300), ["", ""], lengths=[150])

    def test_as_it_stands(self):
        running = WordErrorRate(Listener(), 100, normalise=False)
        running.update(torch.zeros(1, 1, 100), ["Word"])
        assert running.compute() == 1

    def test_one_transcript_per_item(self):
        with pytest.raises(ShapeError, match="expected 2 transcripts, got 1"):
            WordErrorRate(Listener(), 100).update(torch.zeros(2, 1, 100), ["word"])

    def test_protocols_know_callables(self):
        assert isinstance(loudness, ReferenceFreeScorer)
        assert isinstance(Listener(), Transcriber)
        assert not isinstance("a name", Transcriber)
