"""Spectrogram pairs: the levels that are drawn, and the file."""

import io
import math

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from tests.metrics.sounds import noisy, voice
from vqkit.errors import ShapeError
from vqkit.evaluation import spectrogram_figure, spectrogram_png

RATE_HZ = 16_000


def tone(frequency_hz: float, seconds: float = 1.0, level: float = 0.5) -> torch.Tensor:
    time = torch.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return level * torch.sin(2 * math.pi * frequency_hz * time)[None]


def panels(figure: Figure) -> list[np.ndarray]:
    """What the three panels show: ``[bins, columns]`` in dB."""
    return [axes.images[0].get_array().data for axes in figure.axes[:3]]


class TestFigure:
    def test_a_tone_is_loudest_where_it_is(self):
        original, reconstruction, difference = panels(
            spectrogram_figure(tone(2000), tone(2000) / 10, RATE_HZ)
        )
        frequencies_hz = np.linspace(0, RATE_HZ / 2, len(original))
        middle = original.shape[1] // 2
        assert frequencies_hz[original[:, middle].argmax()] == pytest.approx(2000, abs=1)
        peak = original[:, middle].max()
        assert peak == pytest.approx(0, abs=0.1)
        assert original.min() == -80
        bin_of_tone = original[:, middle].argmax()
        assert difference[bin_of_tone, middle] == pytest.approx(-20, abs=1e-6)
        np.testing.assert_array_equal(difference, reconstruction - original)

    def test_the_louder_of_the_two_sets_the_scale(self):
        original, reconstruction, _ = panels(
            spectrogram_figure(tone(2000) / 10, tone(2000), RATE_HZ)
        )
        assert reconstruction.max() == pytest.approx(0, abs=1e-9)
        assert original.max() == pytest.approx(-20, abs=1e-6)

    def test_time_runs_to_the_right(self):
        half = tone(1000)
        half[:, RATE_HZ // 2 :] = 0
        original, *_ = panels(spectrogram_figure(half, half, RATE_HZ))
        num_columns = original.shape[1]
        # The first frames see the mirrored edge.
        assert original[:, 2 : num_columns // 2 - 2].max(axis=0).min() > -1
        assert original[:, num_columns // 2 + 2 :].max() == -80

    def test_columns_of_a_long_recording_are_means_of_frames(self):
        original = noisy(torch.zeros(1, RATE_HZ * 20), 0.1)
        shown, *_ = panels(spectrogram_figure(original, original, RATE_HZ))
        window = torch.hann_window(512)
        frames = torch.stft(original[0], 512, 128, window=window, return_complex=True)
        power = frames.abs().square().double().numpy()
        columns = np.arange(power.shape[1]) * 800 // power.shape[1]
        means = np.stack([power[:, columns == column].mean(axis=1) for column in range(800)], 1)
        expected = 10 * np.log10(means / means.max())
        np.testing.assert_allclose(shown, np.maximum(expected, -80), atol=1e-3)

    def test_channels_are_averaged(self):
        stereo = torch.cat([tone(1000), torch.zeros_like(tone(1000))])
        both = torch.cat([tone(1000), tone(1000)])
        _, shown, difference = panels(spectrogram_figure(stereo, both, RATE_HZ))
        place = np.unravel_index(shown.argmax(), shown.shape)
        assert difference[place] == pytest.approx(10 * math.log10(2), abs=1e-6)

    def test_says_what_was_measured(self):
        figure = spectrogram_figure(tone(500), tone(500) / 2, RATE_HZ, name="$a$ \u4e00.wav")
        text = figure.get_suptitle()
        assert text.startswith("$a$ ?.wav · 1.00 s · 16000 Hz · SI-SDR 100.00 dB · mel ")
        silence = torch.zeros(1, 100)
        silent = spectrogram_figure(silence, silence, RATE_HZ).get_suptitle()
        assert silent == "0.01 s · 16000 Hz · original is silent · mel 0.000"

    @pytest.mark.parametrize("samples", [1, 2, 257])
    @pytest.mark.parametrize("rate_hz", [80, 8_000, 192_000])
    def test_short_recordings_and_odd_rates(self, samples, rate_hz):
        audio = torch.linspace(-0.5, 0.5, samples)[None]
        shown = panels(spectrogram_figure(audio, audio * 0, rate_hz))
        assert all(np.isfinite(values).all() for values in shown)

    def test_shapes_that_differ_are_refused(self):
        with pytest.raises(ShapeError, match="of one shape"):
            spectrogram_figure(tone(500), tone(500, 0.5), RATE_HZ)


def test_the_file_is_small_and_always_the_same():
    original = voice(3.0)[0]
    reconstruction = noisy(original, 0.01)
    data = spectrogram_png(original, reconstruction, RATE_HZ, name="voice")
    assert data == spectrogram_png(original, reconstruction, RATE_HZ, name="voice")
    assert len(data) < 500_000
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.size == (960, 720)
        assert len(picture.convert("RGB").getcolors(257)) > 50
