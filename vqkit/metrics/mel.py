"""Mel filter bank of a spectrogram, in fp64."""

import math
from typing import Literal

import torch
from torch import Tensor

from vqkit.shapes import Float

__all__ = ["MelScale", "mel_filterbank"]

MelScale = Literal["slaney", "htk"]

# Slaney's Auditory Toolbox: linear below 1 kHz, logarithmic above.
_LINEAR_HZ_PER_MEL = 200 / 3
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ / _LINEAR_HZ_PER_MEL
_LOG_STEP = math.log(6.4) / 27


def mel_filterbank(
    sample_rate_hz: int,
    window: int,
    num_mels: int,
    *,
    scale: MelScale = "slaney",
    unit_area: bool = True,
) -> Float[Tensor, "mels bins"]:
    """Triangles between points that are equally far apart on a mel scale, from 0 Hz to Nyquist.

    Args:
        sample_rate_hz: of the audio.
        window: length of the Fourier transform; it has ``window // 2 + 1`` bins.
        num_mels: number of triangles. Where they are narrower than a bin, some stay empty.
        scale: ``slaney`` (linear, then logarithmic) as librosa, ``htk`` as torchaudio.
        unit_area: divide each triangle by its width in Hz (librosa's ``norm="slaney"``) instead
            of leaving its peak at 1.
    """
    bins = torch.arange(window // 2 + 1, dtype=torch.float64) * (sample_rate_hz / window)
    top = _mel_from_hz(sample_rate_hz / 2, scale)
    corners = _hz_from_mel(torch.linspace(0, top, num_mels + 2, dtype=torch.float64), scale)
    widths = corners.diff()[:, None]
    distances = corners[:, None] - bins
    rising, falling = -distances[:-2] / widths[:-1], distances[2:] / widths[1:]
    filters = torch.minimum(rising, falling).clamp_(min=0)
    if unit_area:
        filters *= 2 / (corners[2:] - corners[:-2])[:, None]
    return filters


def _mel_from_hz(frequency_hz: float, scale: MelScale) -> float:
    if scale == "htk":
        return 2595 * math.log10(1 + frequency_hz / 700)
    if frequency_hz < _BREAK_HZ:
        return frequency_hz / _LINEAR_HZ_PER_MEL
    return _BREAK_MEL + math.log(frequency_hz / _BREAK_HZ) / _LOG_STEP


def _hz_from_mel(mels: Tensor, scale: MelScale) -> Tensor:
    if scale == "htk":
        return 700 * (10 ** (mels / 2595) - 1)
    above = _BREAK_HZ * torch.exp(_LOG_STEP * (mels - _BREAK_MEL))
    return torch.where(mels < _BREAK_MEL, mels * _LINEAR_HZ_PER_MEL, above)
