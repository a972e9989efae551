"""SI-SDR, SNR and L1 against closed forms and torchmetrics."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.functional.audio import (
    scale_invariant_signal_distortion_ratio,
    scale_invariant_signal_noise_ratio,
    signal_noise_ratio,
)

from tests.metrics.sounds import RATE_HZ, noisy, voice
from vqkit.errors import ShapeError
from vqkit.metrics import (
    SDR_CAP_DB,
    SILENCE_RMS,
    mel_distance,
    si_sdr,
    snr,
    stft_distance,
    waveform_l1,
)


def mel_16k(reconstruction, target):
    return mel_distance(reconstruction, target, RATE_HZ)


MEASURES = [si_sdr, snr, waveform_l1, mel_16k, stft_distance]


def waves(samples: int = 400) -> tuple[torch.Tensor, torch.Tensor]:
    """A cosine and a sine of whole periods: orthogonal, without a mean, of one energy."""
    angle = torch.arange(samples, dtype=torch.float64) * (2 * math.pi * 5 / samples)
    return torch.cos(angle)[None, None], torch.sin(angle)[None, None]


class TestSISDR:
    @pytest.mark.parametrize("ratio_db", [-30.0, 0.0, 17.5, 60.0])
    @pytest.mark.parametrize("gain", [1.0, -0.2, 40.0])
    def test_orthogonal_noise_of_a_known_ratio(self, ratio_db, gain):
        target, orthogonal = waves()
        reconstruction = gain * (target + 10 ** (-ratio_db / 20) * orthogonal)
        assert si_sdr(reconstruction, target).item() == pytest.approx(ratio_db, abs=1e-9)

    @pytest.mark.parametrize("gain", [1.0, 0.3, -2.0, 1e-5])
    def test_scaled_copy_gets_the_cap(self, gain):
        target, _ = waves()
        assert si_sdr(gain * target, target).item() == SDR_CAP_DB
        assert si_sdr(gain * target, target, cap_db=30).item() == 30

    def test_nothing_of_the_target_gets_the_negative_cap(self):
        target, orthogonal = waves()
        assert si_sdr(orthogonal, target).item() == -SDR_CAP_DB
        assert si_sdr(torch.zeros_like(target), target).item() == -SDR_CAP_DB

    def test_silent_target_has_no_ratio(self):
        _, sound = waves()
        for level in (0.0, 0.3):
            silence = torch.full_like(sound, level)
            assert si_sdr(sound, silence).isnan().all()
            assert si_sdr(silence, silence).isnan().all()

    def test_silence_is_what_24_bit_audio_cannot_hold(self):
        target, _ = waves()
        assert si_sdr(target, target * SILENCE_RMS).isnan().all()
        assert not si_sdr(target, target * 2**-23).isnan().any()

    def test_mean_counts_only_when_asked_to(self):
        target, _ = waves()
        shifted = target + 0.1
        assert si_sdr(shifted, target).item() == SDR_CAP_DB
        # Energies 1/2 and 0.01 per sample.
        assert si_sdr(shifted, target, zero_mean=False).item() == pytest.approx(
            10 * math.log10(0.5 / 0.01), abs=1e-9
        )

    def test_equals_torchmetrics(self):
        target = torch.cat([voice(0.5), voice(0.5, 200.0)]).double() + 0.01
        reconstruction = noisy(target, 0.05) * torch.tensor([0.5, -2.0])[:, None, None]
        for zero_mean in (True, False):
            expected = scale_invariant_signal_distortion_ratio(
                reconstruction, target, zero_mean=zero_mean
            )[:, 0]
            ours = si_sdr(reconstruction, target, zero_mean=zero_mean)
            torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)
        expected = scale_invariant_signal_noise_ratio(reconstruction, target)[:, 0]
        torch.testing.assert_close(si_sdr(reconstruction, target), expected, rtol=0, atol=1e-6)

    def test_channels_are_one_vector(self):
        target = torch.cat([voice(0.2), voice(0.2, 180.0)], dim=1)
        reconstruction = noisy(target, 0.1)
        joined = si_sdr(reconstruction.reshape(1, 1, -1), target.reshape(1, 1, -1))
        torch.testing.assert_close(si_sdr(reconstruction, target), joined, rtol=1e-12, atol=0)

    @given(
        gain=st.floats(0.01, 100),
        target_gain=st.floats(0.01, 100),
        offset=st.floats(-1, 1),
        negative=st.booleans(),
    )
    def test_invariant_to_gain_offset_and_polarity(self, gain, target_gain, offset, negative):
        target = voice(0.1).double()
        reconstruction = noisy(target, 0.05)
        expected = si_sdr(reconstruction, target)
        changed = (-gain if negative else gain) * reconstruction + offset
        torch.testing.assert_close(
            si_sdr(changed, target_gain * target - offset), expected, rtol=0, atol=1e-8
        )

    def test_a_shift_by_one_sample_matters(self):
        target = voice(0.5)
        assert si_sdr(target.roll(1, -1), target).item() < 30


class TestSNR:
    def test_equals_the_formula_and_torchmetrics(self):
        target = voice(0.3).double()
        reconstruction = noisy(target, 0.02)
        signal, noise = (x.numpy() for x in (target, target - reconstruction))
        expected = 10 * np.log10((signal**2).sum() / (noise**2).sum())
        assert snr(reconstruction, target).item() == pytest.approx(expected, abs=1e-12)
        other = signal_noise_ratio(reconstruction, target).item()
        assert snr(reconstruction, target).item() == pytest.approx(other, abs=1e-6)

    def test_caps_and_silence(self):
        target, _ = waves()
        assert snr(target, target).item() == SDR_CAP_DB
        assert snr(torch.zeros_like(target), target).item() == 0
        assert snr(1e9 * target, target).item() == -SDR_CAP_DB
        assert snr(target, torch.zeros_like(target)).isnan().all()
        assert snr(torch.zeros_like(target), torch.zeros_like(target)).isnan().all()

    def test_a_constant_is_a_signal(self):
        constant = torch.full((1, 1, 5), 0.5)
        assert snr(0.9 * constant, constant).item() == pytest.approx(20, abs=1e-5)

    def test_gain_matters(self):
        target, _ = waves()
        assert snr(target / 2, target).item() == pytest.approx(20 * math.log10(2), abs=1e-9)


def test_l1_is_the_mean_over_channels_and_samples():
    target = torch.zeros(2, 2, 4)
    reconstruction = target.clone()
    reconstruction[0, 0] = 1
    reconstruction[1, :, 2] = -0.5
    assert waveform_l1(reconstruction, target).tolist() == [0.5, 0.125]


@pytest.mark.parametrize("measure", MEASURES)
class TestEveryMeasure:
    def test_batch_gives_the_values_of_its_items(self, measure):
        target = torch.cat([voice(0.3), voice(0.3, 210.0)])
        reconstruction = torch.cat([noisy(target[:1], 0.1), noisy(target[1:], 0.3)])
        whole = measure(reconstruction, target)
        single = [measure(reconstruction[i : i + 1], target[i : i + 1]) for i in range(2)]
        torch.testing.assert_close(whole, torch.cat(single), rtol=1e-12, atol=0)
        assert whole.dtype == torch.float64
        assert whole[0] != whole[1]

    def test_more_noise_is_worse(self, measure):
        target = voice(0.5)
        values = [measure(noisy(target, level), target).item() for level in (0.003, 0.03, 0.3)]
        assert values == sorted(values, reverse=measure in (si_sdr, snr))
        assert len(set(values)) == 3

    def test_half_precision_is_compared_in_fp64(self, measure):
        target = voice(0.2).bfloat16()
        reconstruction = noisy(target.float(), 0.1).bfloat16()
        expected = measure(reconstruction.double(), target.double())
        assert torch.equal(measure(reconstruction, target), expected)

    def test_an_empty_batch_gives_nothing(self, measure):
        assert measure(torch.zeros(0, 1, 100), torch.zeros(0, 1, 100)).shape == (0,)

    @pytest.mark.parametrize("samples", [1, 2, 3])
    def test_single_samples(self, measure, samples):
        target = torch.linspace(0.1, 0.5, samples)[None, None]
        assert measure(target / 2, target).shape == (1,)
        identical = measure(target, target).item()
        if measure is si_sdr and samples == 1:  # nothing is left without the mean
            assert math.isnan(identical)
        else:
            assert identical == (SDR_CAP_DB if measure in (si_sdr, snr) else 0)

    def test_gradients_are_not_kept(self, measure):
        target = voice(0.1)
        assert not measure(noisy(target, 0.1).requires_grad_(), target).requires_grad

    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_values_that_are_not_finite_are_refused(self, measure, value):
        target = voice(0.1)
        broken = target.clone()
        broken[0, 0, 7] = value
        with pytest.raises(ShapeError, match=r"NaN or infinity \(in the reconstruction\)"):
            measure(broken, target)
        with pytest.raises(ShapeError, match=r"NaN or infinity \(in the target\)"):
            measure(target, broken)

    def test_shapes_that_differ_are_refused(self, measure, unchecked_shapes):
        with pytest.raises(ShapeError, match=r"\(1, 1, 9\).*\(1, 1, 8\)"):
            measure(torch.zeros(1, 1, 9), torch.zeros(1, 1, 8))
        with pytest.raises(ShapeError, match=r"\[batch, channels, samples\]"):
            measure(torch.zeros(1, 9), torch.zeros(1, 9))
        with pytest.raises(ShapeError, match="at least one channel and one sample"):
            measure(torch.zeros(1, 1, 0), torch.zeros(1, 1, 0))
