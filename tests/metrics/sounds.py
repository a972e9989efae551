"""Sounds that the tests of the audio metrics share."""

import math

import torch
from torch import Tensor

RATE_HZ = 16_000


def voice(seconds: float = 2.0, pitch_hz: float = 120.0) -> Tensor:
    """``[1, 1, samples]`` at 16 kHz: harmonics under moving formants, in syllables with pauses."""
    time = torch.arange(round(seconds * RATE_HZ), dtype=torch.float64) / RATE_HZ
    pitch = pitch_hz * (1 + 0.1 * torch.sin(2 * math.pi * 0.7 * time))
    phase = 2 * math.pi * pitch.cumsum(0) / RATE_HZ
    formant = 900 + 500 * torch.sin(2 * math.pi * 1.3 * time)
    sound = torch.zeros_like(time)
    for harmonic in range(1, 30):
        distance = (harmonic * pitch - formant) / 400
        sound += torch.sin(harmonic * phase) * (0.02 + torch.exp(-(distance**2)))
    syllables = torch.sin(2 * math.pi * 1.5 * time).clamp(min=0) ** 0.5
    sound = sound * syllables
    return (0.5 * sound / sound.abs().max()).float()[None, None]


def noisy(sound: Tensor, level: float, seed: int = 5) -> Tensor:
    """With white noise of a deviation of ``level``."""
    generator = torch.Generator().manual_seed(seed)
    return sound + level * torch.randn(sound.shape, generator=generator)
