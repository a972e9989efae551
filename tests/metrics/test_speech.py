"""PESQ and STOI against their packages, and every way in which they can fail."""

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.metrics.sounds import RATE_HZ, noisy, voice
from vqkit.errors import MissingExtraError, ShapeError
from vqkit.metrics import Unmeasured, pesq, speech, stoi
from vqkit.metrics.pesq_process import SAFE_SECONDS, pesq_score, pesq_score_apart

needs_pesq = pytest.mark.skipif(
    find_spec("pesq") is None, reason="the package pesq is not installed (vqkit[speech])"
)
needs_pystoi = pytest.mark.skipif(
    find_spec("pystoi") is None, reason="the package pystoi is not installed (vqkit[speech])"
)


def array(sound: Tensor) -> np.ndarray:
    return sound[0, 0].double().numpy()


def bursts(number: int, seconds: float = 0.21, pause_seconds: float = 0.21) -> Tensor:
    """As many utterances as PESQ can find in so much time."""
    loud = voice(seconds) + noisy(torch.zeros(1, 1, round(seconds * RATE_HZ)), 0.1)
    silence = torch.zeros(1, 1, round(pause_seconds * RATE_HZ))
    return torch.cat([loud, silence] * number, dim=-1)


@pytest.fixture(scope="module")
def clip() -> Tensor:
    return voice(2.0)


@needs_pesq
class TestPESQ:
    @pytest.mark.parametrize(
        ("mode", "short", "step"), [("wide", "wb", 1), ("narrow", "nb", 1), ("narrow", "nb", 2)]
    )
    def test_equals_the_package(self, clip, mode, short, step):
        from pesq import pesq as package

        target = torch.cat([clip, noisy(clip, 0.002)])[..., ::step]
        reconstruction = torch.cat([noisy(target[:1], 0.02), noisy(target[1:], 0.01)])
        scores = pesq(reconstruction, target, RATE_HZ // step, mode=mode)
        expected = [
            package(RATE_HZ // step, array(t[None]), array(r[None]), short)
            for r, t in zip(reconstruction, target, strict=True)
        ]
        assert scores.values.tolist() == expected
        assert scores.reasons == (None, None)
        assert scores.values.dtype == torch.float64

    def test_equals_torchmetrics(self, clip):
        from torchmetrics.functional.audio import perceptual_evaluation_speech_quality

        reconstruction = noisy(clip, 0.01)
        expected = perceptual_evaluation_speech_quality(reconstruction, clip, RATE_HZ, "wb")
        ours = pesq(reconstruction, clip, RATE_HZ).values
        torch.testing.assert_close(ours.float(), expected.flatten(), rtol=1e-5, atol=0)

    def test_largest_scores(self, clip):
        assert pesq(clip, clip, RATE_HZ).values.item() == pytest.approx(4.644, abs=1e-3)
        narrow = pesq(clip, clip, RATE_HZ, mode="narrow").values.item()
        assert narrow == pytest.approx(4.549, abs=1e-3)

    def test_items_without_a_score_say_why(self, clip):
        silence, spoiled = torch.zeros_like(clip), noisy(clip, 0.01)
        constant = torch.full_like(clip, 0.5)
        reconstruction = torch.cat([clip, silence, clip, spoiled])
        target = torch.cat([silence, clip, constant, clip])
        scores = pesq(reconstruction, target, RATE_HZ)
        assert scores.reasons == (
            Unmeasured.SILENT_TARGET,
            Unmeasured.SILENT_RECONSTRUCTION,
            Unmeasured.SILENT_TARGET,
            None,
        )
        assert scores.values.isnan().tolist() == [True, True, True, False]
        assert scores.count_reasons()[Unmeasured.SILENT_TARGET] == 2
        assert scores.values[3] == pesq(spoiled, clip, RATE_HZ).values[0]

    @pytest.mark.parametrize(("samples", "reason"), [(1, True), (3999, True), (4000, False)])
    def test_a_quarter_of_a_second_is_needed(self, clip, samples, reason):
        short = noisy(clip, 0.01)[..., 2000 : 2000 + samples]
        scores = pesq(short, short, RATE_HZ)
        assert scores.reasons == ((Unmeasured.TOO_SHORT if reason else None),)

    def test_no_utterance(self, clip, monkeypatch):
        import pesq as package

        def refuse(*arguments):
            raise package.NoUtterancesError

        monkeypatch.setattr(package, "pesq", refuse)
        scores = pesq(clip, clip, RATE_HZ)
        assert scores.reasons == (Unmeasured.NO_SPEECH,)
        assert scores.values.isnan().all()

    @pytest.mark.parametrize(
        ("rate_hz", "mode"), [(24_000, "wide"), (8_000, "wide"), (44_100, "narrow")]
    )
    def test_other_rates_are_refused(self, clip, rate_hz, mode):
        with pytest.raises(ShapeError, match=f"got {rate_hz} Hz. Resample"):
            pesq(clip, clip, rate_hz, mode=mode)


@needs_pesq
class TestLongRecordings:
    """The code of P.862 writes past its end from the 50th utterance on."""

    def test_safe_ones_hold_less_than_fifty_utterances(self):
        # 0.2 s of speech and a pause above 0.2 s each, in frames of 4 ms.
        assert SAFE_SECONDS < 49 * (50 + 51) * 0.004

    def test_a_process_of_its_own_gives_the_same_score(self, clip):
        pair = array(clip), array(noisy(clip, 0.01))
        for mode in ("wb", "nb"):
            assert pesq_score_apart(*pair, RATE_HZ, mode) == pesq_score(*pair, RATE_HZ, mode)

    def test_only_long_ones_get_one(self, clip, monkeypatch):
        measured = []
        monkeypatch.setattr(speech, "pesq_score", lambda t, *_: measured.append(len(t)) or 1.0)
        monkeypatch.setattr(speech, "pesq_score_apart", lambda t, *_: measured.append(-len(t)))
        limit = round(SAFE_SECONDS * RATE_HZ)
        for samples in (limit, limit + 1):
            sound = noisy(torch.zeros(1, 1, samples), 0.1)
            scores = pesq(sound, sound, RATE_HZ)
        assert measured == [limit, -limit - 1]
        assert scores.reasons == (Unmeasured.CRASHED,)

    def test_a_crash_is_a_reason(self):
        # 100 utterances end the process of anybody who calls the package.
        target = bursts(100)
        scores = pesq(noisy(target, 0.01), target, RATE_HZ)
        assert scores.reasons == (Unmeasured.CRASHED,)
        assert scores.values.isnan().all()

    def test_many_utterances_below_the_limit(self):
        number = int(SAFE_SECONDS / 0.42)
        target = bursts(number)
        assert target.shape[-1] / RATE_HZ > SAFE_SECONDS - 0.42
        reconstruction = noisy(target, 0.01)
        score = pesq(reconstruction, target, RATE_HZ).values.item()
        assert score == pesq_score_apart(array(target), array(reconstruction), RATE_HZ, "wb")


@needs_pystoi
class TestSTOI:
    @pytest.mark.parametrize("extended", [False, True])
    @pytest.mark.parametrize("rate_hz", [10_000, 16_000, 24_000])
    def test_equals_the_package(self, clip, extended, rate_hz):
        from pystoi import stoi as package

        target = torch.cat([clip, noisy(clip, 0.002)])
        reconstruction = torch.cat([noisy(target[:1], 0.1), noisy(target[1:], 0.05)])
        scores = stoi(reconstruction, target, rate_hz, extended=extended)
        expected = [
            package(array(t[None]), array(r[None]), rate_hz, extended=extended)
            for r, t in zip(reconstruction, target, strict=True)
        ]
        assert scores.values.tolist() == pytest.approx(expected, abs=1e-9)
        assert scores.reasons == (None, None)

    def test_equals_torchmetrics(self, clip):
        from torchmetrics.functional.audio import short_time_objective_intelligibility

        reconstruction = noisy(clip, 0.1)
        expected = short_time_objective_intelligibility(reconstruction, clip, RATE_HZ)
        ours = stoi(reconstruction, clip, RATE_HZ).values
        torch.testing.assert_close(ours.float(), expected.flatten().float(), rtol=1e-5, atol=0)

    @pytest.mark.parametrize("extended", [False, True])
    def test_identical_speech_gets_one(self, clip, extended):
        scores = stoi(noisy(clip, 1e-3), noisy(clip, 1e-3), RATE_HZ, extended=extended)
        assert scores.values.item() == pytest.approx(1, abs=1e-6)

    @pytest.mark.parametrize("extended", [False, True])
    def test_silence(self, clip, extended):
        silence = torch.zeros_like(clip)
        target, reconstruction = torch.cat([silence, clip]), torch.cat([clip, silence])
        scores = stoi(reconstruction, target, RATE_HZ, extended=extended)
        assert scores.reasons == (Unmeasured.SILENT_TARGET, None)
        assert scores.values[1] == 0

    @pytest.mark.parametrize("samples", [1, 300, 410, 5000])
    def test_too_short(self, samples):
        sound = noisy(torch.zeros(1, 1, samples) + 0.1, 0.1)
        if samples == 1:
            sound = torch.cat([sound, -sound], dim=-1)
        scores = stoi(sound, sound, RATE_HZ)
        assert scores.reasons == (Unmeasured.TOO_SHORT,)
        assert scores.values.isnan().all()

    def test_a_long_recording_with_little_sound_is_too_short(self):
        click = torch.zeros(1, 1, 2 * RATE_HZ)
        click[..., RATE_HZ] = 0.5
        assert stoi(click, click, RATE_HZ).reasons == (Unmeasured.TOO_SHORT,)

    def test_the_noise_of_estoi_is_its_own(self, clip):
        # Between the syllables both are silent: nothing there but the noise.
        reconstruction = torch.where(clip.abs() > 0.2, clip, 0)
        np.random.seed(1)
        before = np.random.get_state()[1].copy()
        first = stoi(reconstruction, clip, RATE_HZ, extended=True).values
        assert (np.random.get_state()[1] == before).all()
        np.random.seed(2)
        assert torch.equal(stoi(reconstruction, clip, RATE_HZ, extended=True).values, first)


@pytest.mark.parametrize(("measure", "package"), [(pesq, "pesq"), (stoi, "pystoi")])
class TestBadInput:
    def test_a_missing_package_names_the_extra(self, clip, measure, package, monkeypatch):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(MissingExtraError, match=rf"{package}.*Install vqkit\[speech\]"):
            measure(clip, clip, RATE_HZ)

    def test_several_channels(self, clip, measure, package, unchecked_shapes):
        pytest.importorskip(package)
        stereo = clip.expand(-1, 2, -1)
        with pytest.raises(ShapeError, match="one channel, got 2"):
            measure(stereo, stereo, RATE_HZ)

    def test_no_number(self, clip, measure, package):
        pytest.importorskip(package)
        with pytest.raises(ShapeError, match="NaN or infinity"):
            measure(clip * torch.nan, clip, RATE_HZ)

    def test_an_empty_batch(self, measure, package):
        pytest.importorskip(package)
        scores = measure(torch.zeros(0, 1, 9), torch.zeros(0, 1, 9), RATE_HZ)
        assert scores.values.shape == (0,)

    def test_more_noise_is_worse(self, clip, measure, package):
        pytest.importorskip(package)
        levels = (0.001, 0.01, 0.1)
        target = noisy(clip, 0.0003, seed=1)
        values = [measure(noisy(target, level), target, RATE_HZ).values.item() for level in levels]
        assert values[0] > values[1] > values[2]

    def test_more_noise_on_a_real_voice_is_worse(self, development_media: Path, measure, package):
        pytest.importorskip(package)
        soundfile = pytest.importorskip("soundfile")
        path = development_media / "audio/speech/librispeech_flac/103-1240-0000.flac"
        samples, rate_hz = soundfile.read(path, dtype="float32", frames=4 * RATE_HZ)
        target = torch.from_numpy(samples)[None, None]
        values = [
            measure(noisy(target, level), target, rate_hz).values.item()
            for level in (0.0, 0.003, 0.01, 0.03, 0.1)
        ]
        assert values == sorted(values, reverse=True)
        assert len(set(values)) == 5
