"""Spectrograms: a loop over a plain Fourier sum, the padding rules, short inputs, silence."""

import cmath
import math

import pytest
import torch
import torch.nn.functional as F
import torchaudio

from vqkit.errors import ConfigError, ShapeError
from vqkit.ops.stft import magnitude_spectrogram, reflect_pad, spectrogram


def naive(samples: list[float], size: int, hop: int) -> list[list[complex]]:
    """Frames of windowed samples, each summed against each frequency."""
    window = [0.5 - 0.5 * math.cos(2 * math.pi * n / size) for n in range(size)]
    return [
        [
            sum(
                window[n] * samples[start + n] * cmath.exp(-2j * math.pi * k * n / size)
                for n in range(size)
            )
            for k in range(size // 2 + 1)
        ]
        for start in range(0, len(samples) - size + 1, hop)
    ]


def mirrored(samples: list[float], left: int, right: int) -> list[float]:
    period = 2 * len(samples) - 2
    positions = [abs(i) % period for i in range(-left, len(samples) + right)]
    return [samples[p if p < len(samples) else period - p] for p in positions]


@pytest.mark.parametrize(("padding", "num_frames"), [("centre", 6), ("same", 6), ("none", 4)])
def test_equals_a_loop(padding, num_frames):
    x = torch.randn(23, dtype=torch.float64)
    sides = {"centre": (4, 4), "same": (2, 6 * 4 + 4 - 2 - 23), "none": (0, 0)}[padding]
    expected = torch.tensor(naive(mirrored(x.tolist(), *sides), 8, 4), dtype=torch.complex128)
    found = spectrogram(x, 8, 4, padding=padding)
    assert found.shape == (5, num_frames)
    torch.testing.assert_close(found.T, expected)


def test_centre_is_torchs_and_normalised_is_torchaudios():
    x = torch.randn(2, 3, 500)
    theirs = torchaudio.transforms.Spectrogram(64, hop_length=16, power=None, normalized=True)(x)
    torch.testing.assert_close(spectrogram(x, 64, 16, normalised=True), theirs)
    bare = torch.stft(x[0], 64, 16, window=torch.ones(64), return_complex=True)
    torch.testing.assert_close(spectrogram(x[0], 64, 16, window="rectangular"), bare)


@pytest.mark.parametrize("num_samples", [640, 649])
def test_same_is_match_stride_of_audiotools(num_samples):
    """It pads by hand, lets torch pad once more and drops two frames at each end."""
    x, size, hop = torch.randn(2, num_samples), 64, 16
    right = -(-num_samples // hop) * hop - num_samples
    side = (size - hop) // 2
    padded = F.pad(x[:, None], (side, side + right), "reflect")[:, 0]
    window = torch.hann_window(size)
    theirs = torch.stft(padded, size, hop, window=window, return_complex=True)[..., 2:-2]
    torch.testing.assert_close(spectrogram(x, size, hop, padding="same"), theirs)


@pytest.mark.parametrize("num_samples", [1, 2, 5, 31, 32, 33, 63, 64, 65])
def test_short_inputs(num_samples):
    x = torch.randn(2, num_samples, requires_grad=True)
    frames = {"centre": 1 + num_samples // 16, "same": -(-num_samples // 16)}
    frames["none"] = 1 + max(0, num_samples - 64) // 16
    for padding, count in frames.items():
        spectra = magnitude_spectrogram(x, 64, 16, padding=padding)
        assert spectra.shape == (2, 33, count)
        (gradient,) = torch.autograd.grad(spectra.sum(), x)
        assert gradient.isfinite().all()
        assert gradient.abs().sum() > 0 or num_samples == 1  # Hann's first weight is 0


def test_reflection_of_short_inputs_is_that_with_zeros_cut_off():
    x = torch.tensor([[1.0, 2.0, 3.0]])
    expected = [0.0, 0.0, 0.0, 3.0, 2.0, 1.0, 2.0, 3.0, 0.0, 0.0, 0.0, 0.0]
    assert reflect_pad(x, 5, 4)[0].tolist() == expected
    for left, right in ((2, 2), (0, 1), (1, 0)):
        assert torch.equal(reflect_pad(x, left, right), F.pad(x, (left, right), "reflect"))
    with pytest.raises(ShapeError, match="at least one sample"):
        reflect_pad(torch.zeros(2, 0), 1, 1)


def test_silence_has_a_gradient_of_zero():
    x = torch.zeros(1, 300, requires_grad=True)
    (gradient,) = torch.autograd.grad(magnitude_spectrogram(x, 64, 16).sum(), x)
    assert torch.equal(gradient, torch.zeros(1, 300))


def test_half_precision_is_computed_in_fp32():
    x = torch.randn(300)
    for dtype in (torch.bfloat16, torch.float16):
        found = magnitude_spectrogram(x.to(dtype), 64, 16)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, magnitude_spectrogram(x.to(dtype).float(), 64, 16))


@pytest.mark.usefixtures("unchecked_shapes")
def test_refuses():
    for size, hop in ((7, 2), (8, 0), (8, 9), (0, 1)):
        with pytest.raises(ConfigError, match="even window_size"):
            spectrogram(torch.zeros(20), size, hop)
    with pytest.raises(ConfigError, match="padding 'centre', 'same' or 'none'"):
        spectrogram(torch.zeros(20), 8, 4, padding="zero")
    with pytest.raises(ConfigError, match="window 'hann' or 'rectangular'"):
        spectrogram(torch.zeros(20), 8, 4, window="kaiser")
    with pytest.raises(ShapeError, match=r"at least one sample, got \[2, 0\]"):
        spectrogram(torch.zeros(2, 0), 8, 4)
