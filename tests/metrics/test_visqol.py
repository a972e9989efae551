"""ViSQOL: what reaches the package, what comes back, and when there is nothing to ask."""

import sys
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch

from tests.metrics.sounds import RATE_HZ, noisy, voice
from vqkit.errors import MissingExtraError, ShapeError
from vqkit.metrics import Unmeasured, ViSQOL
from vqkit.metrics import visqol as visqol_of
from vqkit.metrics.visqol_score import _measure_of


class StandIn:
    """The package's interface; its score is the correlation, or what the test asks for."""

    calls: ClassVar[list[tuple[object, ...]]] = []

    def create(self, mode, use_lattice_model):
        assert use_lattice_model is False
        self.mode = mode

    def measure_from_arrays(self, reference, degraded, sample_rate):
        self.calls.append((self.mode, sample_rate))
        if reference.max() > 0.99:
            raise IndexError("no patch")
        score = np.corrcoef(reference, degraded)[0, 1]
        return SimpleNamespace(moslqo=np.float64(np.nan if degraded.max() > 0.99 else score))


@pytest.fixture
def package(monkeypatch):
    module = ModuleType("visqol")
    module.VisqolApi = StandIn
    monkeypatch.setitem(sys.modules, "visqol", module)
    _measure_of.cache_clear()
    StandIn.calls.clear()
    yield
    _measure_of.cache_clear()


def test_each_item_is_measured_against_its_original(package):
    target = torch.cat([voice(1.0), voice(1.0, 200.0)])
    reconstruction = torch.cat([target[:1], noisy(target[1:], 0.1)])
    scores = visqol_of(reconstruction, target, RATE_HZ)
    assert scores.reasons == (None, None)
    expected = np.corrcoef(target[1, 0].double(), reconstruction[1, 0].double())[0, 1]
    assert scores.values.tolist() == pytest.approx([1.0, expected])
    assert StandIn.calls == [("speech", RATE_HZ)] * 2


def test_mode_decides_on_the_rate(package):
    sound = voice(3.0)
    visqol_of(sound, sound, 48_000, mode="audio")
    assert StandIn.calls == [("audio", 48_000)]
    with pytest.raises(ShapeError, match="expected 48000 Hz in the mode audio, got 16000"):
        visqol_of(sound, sound, RATE_HZ, mode="audio")


def test_reasons_why_there_is_none(package):
    sound, silence = voice(1.0), torch.zeros(1, 1, RATE_HZ)
    too_loud = sound / sound.abs().max()
    cases = [
        (sound, silence, Unmeasured.SILENT_TARGET),
        (silence, sound, Unmeasured.SILENT_RECONSTRUCTION),
        (sound[..., :-1], sound[..., :-1], Unmeasured.TOO_SHORT),
        (too_loud, sound, Unmeasured.NOT_A_NUMBER),
        (sound, too_loud, Unmeasured.NO_SPEECH),
    ]
    for reconstruction, target, reason in cases:
        scores = visqol_of(reconstruction, target, RATE_HZ)
        assert scores.reasons == (reason,)
        assert scores.values.isnan().all()


def test_several_channels_are_refused(package, unchecked_shapes):
    with pytest.raises(ShapeError, match="one channel, got 2"):
        visqol_of(torch.ones(1, 2, 16_000), torch.ones(1, 2, 16_000), RATE_HZ)


def test_metric_is_the_mean(package):
    metric = ViSQOL()
    metric.update(voice(1.0), voice(1.0))
    metric.update(voice(1.0), torch.zeros(1, 1, RATE_HZ))
    assert metric.compute().item() == pytest.approx(1.0)
    assert metric.num_skipped == 1
    assert ViSQOL(mode="audio").sample_rate_hz == 48_000


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "visqol", None)
    with pytest.raises(MissingExtraError, match=r"vqkit\[visqol\]"):
        visqol_of(voice(1.0), voice(1.0), RATE_HZ)
    with pytest.raises(MissingExtraError, match=r"vqkit\[visqol\]"):
        ViSQOL()


@pytest.mark.slow  # the package compiles on first use
@pytest.mark.skipif(find_spec("visqol") is None, reason="visqol-python is not installed")
@pytest.mark.parametrize(
    ("mode", "rate_hz", "best"), [("speech", 16_000, 5.0), ("audio", 48_000, 4.73)]
)
def test_the_package_itself(mode, rate_hz, best):
    target = voice(3.0)
    scores = [
        visqol_of(noisy(target, level) if level else target, target, rate_hz, mode=mode)
        for level in (0.0, 0.003, 0.03)
    ]
    values = [score.values.item() for score in scores]
    assert values == sorted(values, reverse=True)
    assert values[0] == pytest.approx(best, abs=0.01)
    assert values[0] - values[-1] > 0.5
