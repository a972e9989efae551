"""Mel and STFT distances against torchaudio, torch.stft and loops."""

import math

import numpy as np
import pytest
import torch
import torchaudio
from torch import Tensor

from tests.metrics.sounds import RATE_HZ, noisy, voice
from vqkit.errors import ConfigError
from vqkit.metrics import (
    DAC_MEL,
    DAC_STFT,
    VOCOS_MEL,
    SpectralDefinition,
    mel_distance,
    spectral,
    stft_distance,
)
from vqkit.ops.mel import mel_filterbank


def spectrogram(wave: np.ndarray, window: int) -> np.ndarray:
    """Magnitudes of one channel, frame by frame: ``[frames, bins]``."""
    half, hop = window // 2, window // 4
    mirrored = np.concatenate((wave[half:0:-1], wave, wave[-2 : -half - 2 : -1]))
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    num_frames = len(wave) // hop + 1
    return np.stack(
        [abs(np.fft.rfft(mirrored[i * hop : i * hop + window] * hann)) for i in range(num_frames)]
    )


def naive_distance(
    reconstruction: Tensor, target: Tensor, definition: SpectralDefinition, rate_hz: int
) -> float:
    """Of one item: a loop over scales and channels."""
    total = 0.0
    for scale, window in enumerate(definition.windows):
        terms = []
        for channel in range(target.shape[1]):
            x, y = (
                spectrogram(audio[0, channel].double().numpy(), window)
                for audio in (reconstruction, target)
            )
            if definition.num_mels:
                filters = mel_filterbank(
                    window // 2 + 1,
                    rate_hz,
                    definition.num_mels[scale],
                    scale=definition.mel_scale,
                    norm="slaney" if definition.unit_area else None,
                ).numpy()
                x, y = x @ filters.T, y @ filters.T
            floored = [
                np.maximum(values, definition.floor) ** definition.power for values in (x, y)
            ]
            logs = [np.log(values) / np.log(definition.log_base) for values in floored]
            terms.append(
                definition.log_weight * abs(logs[0] - logs[1]).mean()
                + definition.magnitude_weight * abs(x - y).mean()
            )
        total += float(np.mean(terms))
    return total


class TestDistance:
    @pytest.mark.parametrize(
        "definition",
        [
            DAC_MEL,
            VOCOS_MEL,
            SpectralDefinition(
                windows=(2048, 512), num_mels=(150, 80), power=2.0, magnitude_weight=1.0
            ),
        ],
        ids=["dac", "vocos", "dac by default"],
    )
    @pytest.mark.parametrize("samples", [3000, 4097])
    def test_mel_equals_loops(self, definition, samples):
        target = torch.cat([voice(0.3), voice(0.3, 200.0)], dim=1)[..., :samples]
        reconstruction = noisy(target, 0.02)
        ours = mel_distance(reconstruction, target, RATE_HZ, definition=definition).item()
        expected = naive_distance(reconstruction, target, definition, RATE_HZ)
        assert ours == pytest.approx(expected, rel=1e-10)

    def test_stft_equals_loops(self):
        target = voice(0.3)
        reconstruction = noisy(target, 0.02)
        ours = stft_distance(reconstruction, target).item()
        expected = naive_distance(reconstruction, target, DAC_STFT, RATE_HZ)
        assert ours == pytest.approx(expected, rel=1e-10)

    def test_vocos_equals_torchaudio(self):
        # With a noise floor: pauses near 1e-7 show that torchaudio's window is rounded to fp32.
        target = noisy(voice(0.5), 1e-3, seed=6)
        reconstruction = noisy(target, 0.02)
        mel = torchaudio.transforms.MelSpectrogram(
            24_000, n_fft=1024, hop_length=256, n_mels=100, power=1
        ).double()
        x, y = (mel(audio.double()).clamp(min=1e-7).log() for audio in (reconstruction, target))
        ours = mel_distance(reconstruction, target, 24_000, definition=VOCOS_MEL).item()
        assert ours == pytest.approx((x - y).abs().mean().item(), rel=1e-4)

    def test_a_louder_copy_moves_every_band_by_the_same(self):
        target = noisy(voice(0.5), 0.1)
        definition = SpectralDefinition(windows=(512, 128), num_mels=(20, 10))
        assert mel_distance(10 * target, target, RATE_HZ, definition=definition).item() == (
            pytest.approx(2.0, rel=1e-9)  # one decade at each of two scales
        )
        natural = SpectralDefinition(windows=(512,), power=3.0, log_base=math.e)
        assert stft_distance(2 * target, target, definition=natural).item() == pytest.approx(
            3 * math.log(2), rel=1e-9
        )

    def test_silence_is_at_the_floor(self):
        silence = torch.zeros(1, 1, 2000)
        assert mel_distance(silence, silence, RATE_HZ).item() == 0
        # An impulse of height 1 has the magnitude of its place in the window in every bin.
        impulse = silence.clone()
        impulse[..., 1024] = 1.0
        definition = SpectralDefinition(windows=(8,), log_weight=0.0, magnitude_weight=1.0)
        hann_sum = 4 / 2 * 1.0  # of the frames that see it, four to a window
        assert stft_distance(impulse, silence, definition=definition).item() == pytest.approx(
            hann_sum / 1001, rel=1e-9
        )

    def test_phase_and_order_do_not_matter(self):
        target = voice(0.5)
        other = noisy(target, 0.05)
        assert mel_distance(-target, target, RATE_HZ).item() == 0
        assert torch.equal(
            mel_distance(target, other, RATE_HZ), mel_distance(other, target, RATE_HZ)
        )

    def test_blocks_of_frames_do_not_show(self, monkeypatch):
        target = torch.cat([voice(0.3), voice(0.3, 200.0)])
        reconstruction = noisy(target, 0.02)
        whole = mel_distance(reconstruction, target, RATE_HZ)
        for values in (1, 5000, 50_000):
            monkeypatch.setattr(spectral, "_BLOCK_VALUES", values)
            again = mel_distance(reconstruction, target, RATE_HZ)
            torch.testing.assert_close(again, whole, rtol=1e-12, atol=0)

    def test_short_items_are_extended_with_zeros(self):
        target, longer = torch.full((1, 1, 3), 0.5), torch.zeros(1, 1, 1025)
        longer[..., :3] = 0.5
        definition = SpectralDefinition(windows=(2048,))
        short = stft_distance(0.5 * target, target, definition=definition)
        assert short.item() > 0
        assert torch.equal(short, stft_distance(0.5 * longer, longer, definition=definition))


class TestDefinition:
    @pytest.mark.parametrize("windows", [(), (2,), (512, 511)])
    def test_windows(self, windows):
        with pytest.raises(ConfigError, match="windows that four divides"):
            SpectralDefinition(windows=windows)

    def test_one_number_of_bands_per_window(self):
        with pytest.raises(ConfigError, match="for each of 2 windows"):
            SpectralDefinition(windows=(512, 256), num_mels=(80,))

    def test_each_function_has_its_kind(self):
        audio = torch.zeros(1, 1, 100)
        with pytest.raises(ConfigError, match="with mel bands"):
            mel_distance(audio, audio, RATE_HZ, definition=DAC_STFT)
        with pytest.raises(ConfigError, match="without mel bands"):
            stft_distance(audio, audio, definition=DAC_MEL)
