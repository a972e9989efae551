import numpy as np
import pytest
import torch
from scipy.signal import lfilter

from vqkit.data import Voices
from vqkit.data.voices import _filtered
from vqkit.errors import ConfigError


def test_a_sound_is_a_function_of_seed_and_number():
    voices = Voices(20, seconds=0.5, seed=3)
    expected = list(voices)
    again = Voices(20, seconds=0.5, seed=3)
    assert all(torch.equal(again[i], expected[i]) for i in reversed(range(20)))
    assert len({sound.numpy().tobytes() for sound in expected}) == 20
    other = Voices(20, seconds=0.5, seed=4)
    assert not any(torch.equal(a, b) for a, b in zip(other, expected, strict=True))
    assert [voices.name(0), other.name(7)] == ["voices/3/0", "voices/4/7"]


@pytest.mark.parametrize("rate", [8000, 11_025, 16_000, 24_000, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("seconds", [1e-5, 0.37, 2.0])
def test_rates_lengths_and_channels(rate, channels, seconds):
    for sound in Voices(3, seconds=seconds, sample_rate_hz=rate, channels=channels):
        assert sound.shape == (channels, max(1, round(seconds * rate)))
        assert sound.dtype == torch.float32
        peaks = sound.abs().amax(1)
        assert ((peaks > 0.19) & (peaks < 0.91)).all()
        torch.testing.assert_close(sound / peaks[:, None], sound[:1].expand_as(sound) / peaks[0])


def spectra(sound: torch.Tensor) -> torch.Tensor:
    """Power [bins, frames] of 40 ms windows at 24 kHz."""
    return (
        torch.stft(sound[0], 960, 240, window=torch.hann_window(960), return_complex=True)
        .abs()
        .square()
    )


def test_they_sound_like_speech():
    """Voiced with a pitch of 80 to 300 Hz, bass-heavy, with noise bursts and pauses between."""
    num_voiced = num_noisy = num_quiet = num_frames = 0
    for sound in Voices(12, seconds=3.0):
        power = spectra(sound)
        total = power.sum(0)
        loudest = total.max()
        centroid = (torch.arange(481.0)[:, None] * 25 * power).sum(0) / total
        quiet = total < 1e-3 * loudest
        num_quiet += int(quiet.sum())
        num_noisy += int((~quiet & (centroid > 2500)).sum())
        num_frames += len(total)
        windows = sound[0].unfold(0, 960, 480)
        windows = windows[windows.square().sum(1) > 0.05 * windows.square().sum(1).max()]
        autocorrelation = torch.fft.irfft(torch.fft.rfft(windows, 2048).abs().square())[:, :960]
        # Corrected for the overlap that shrinks with the lag.
        normal = autocorrelation / autocorrelation[:, :1] / (1 - torch.arange(960) / 960)
        num_voiced += int((normal[:, 24_000 // 310 : 24_000 // 78].amax(1) > 0.7).sum())
    assert num_voiced > 0.4 * num_frames / 2
    assert 0.03 * num_frames < num_noisy < 0.4 * num_frames
    assert 0.02 * num_frames < num_quiet < 0.5 * num_frames


def test_the_resonators_are_those_of_a_recursion():
    """Where they do not move, the windows add up to the filter itself."""
    rate, hop = 24_000, 240
    random = np.random.default_rng(0)
    signal = random.standard_normal(40 * hop).astype(np.float32)
    frequencies, bandwidths = (600.0, 1700.0), (130.0, 200.0)
    filtered = _filtered(signal, np.tile(np.float32(frequencies), (41, 1)), bandwidths, hop, rate)
    expected = signal.astype(np.float64)
    for frequency, bandwidth in zip(frequencies, bandwidths, strict=True):
        radius = np.exp(-np.pi * bandwidth / rate)
        b, c = 2 * radius * np.cos(2 * np.pi * frequency / rate), -(radius**2)
        expected = lfilter([1 - b - c], [1, -b, -c], expected)
    # What rings for longer than two frames comes round to their start: 20 ms of 130 Hz, -70 dB.
    assert np.abs(filtered - expected).max() < 2e-3 * np.abs(expected).max()


@pytest.mark.parametrize(
    "settings",
    [
        {"num_sounds": 0},
        {"seconds": 0.0},
        {"seconds": 61.0},
        {"sample_rate_hz": 4000},
        {"seed": -1},
    ],
)
def test_what_makes_no_sense_is_refused(settings):
    with pytest.raises(ConfigError, match="Voices: expected num_sounds >= 1"):
        Voices(**settings)
    with pytest.raises(ConfigError, match="channels of at least 1"):
        Voices(channels=0)
