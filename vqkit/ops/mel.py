"""The mel scale and its triangular filters."""

import math
from typing import Literal

import torch
from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.shapes import Float

__all__ = ["MelNorm", "MelScale", "hertz_to_mel", "mel_filterbank", "mel_to_hertz"]

MelScale = Literal["htk", "slaney"]
MelNorm = Literal["slaney"]

# Slaney's scale: lines of 200/3 Hz per mel up to 1 kHz, logarithmic above: 27 mels per factor 6.4.
_HERTZ_PER_MEL = 200.0 / 3.0
_KNEE_HZ = 1000.0
_KNEE_MEL = _KNEE_HZ / _HERTZ_PER_MEL
_LOG_STEP = math.log(6.4) / 27.0


def hertz_to_mel(frequency_hz: Tensor, scale: MelScale = "htk") -> Tensor:
    """Hertz to mels, ``2595 log10(1 + f / 700)`` (HTK) or Slaney's Auditory Toolbox.

    >>> hertz_to_mel(torch.tensor([0.0, 1000.0]), "slaney")
    tensor([ 0., 15.])
    """
    if scale == "htk":
        return 2595.0 * torch.log10(1.0 + frequency_hz / 700.0)
    above = _KNEE_MEL + torch.log(frequency_hz.clamp_min(_KNEE_HZ) / _KNEE_HZ) / _LOG_STEP
    return torch.where(frequency_hz < _KNEE_HZ, frequency_hz / _HERTZ_PER_MEL, above)


def mel_to_hertz(mel: Tensor, scale: MelScale = "htk") -> Tensor:
    """The inverse of :func:`hertz_to_mel`."""
    if scale == "htk":
        return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    above = _KNEE_HZ * torch.exp(_LOG_STEP * (mel.clamp_min(_KNEE_MEL) - _KNEE_MEL))
    return torch.where(mel < _KNEE_MEL, mel * _HERTZ_PER_MEL, above)


def mel_filterbank(
    num_freqs: int,
    sample_rate_hz: int,
    num_mels: int,
    f_min: float = 0.0,
    f_max: float | None = None,
    *,
    scale: MelScale = "htk",
    norm: MelNorm | None = None,
) -> Float[Tensor, "mels freqs"]:
    """Triangles on the mel scale over the bins of a Fourier transform, computed in fp64.

    torchaudio's default is ``scale="htk", norm=None``, librosa's is Slaney's scale and norm. A
    triangle that is narrower than the distance of two bins may hold no bin: its row is zero.

    Args:
        num_freqs: Bins from 0 to half the sample rate, ``n_fft / 2 + 1``.
        sample_rate_hz: Sample rate.
        num_mels: Triangles; their feet and peaks are equally far apart in mels.
        f_min: Foot of the first triangle in Hz.
        f_max: Foot of the last one in Hz; None is half the sample rate.
        scale: Which mels.
        norm: ``"slaney"`` gives each triangle the area 1 in Hz; None the height 1.

    Returns:
        Weights ``[num_mels, num_freqs]``, fp64.

    Raises:
        ConfigError: A count below 1 (bins: 2), frequencies out of order or above half the rate.

    >>> mel_filterbank(5, 8000, 2).shape
    torch.Size([2, 5])
    """
    top = sample_rate_hz / 2 if f_max is None else f_max
    if num_freqs < 2 or num_mels < 1 or not 0 <= f_min < top <= sample_rate_hz / 2:
        raise ConfigError(
            f"Mel filters: expected num_freqs >= 2, num_mels >= 1 and 0 <= f_min < f_max <= half "
            f"the sample rate, got {num_freqs}, {num_mels}, {f_min}, {f_max} at {sample_rate_hz} "
            f"Hz."
        )
    if scale not in ("htk", "slaney") or norm not in (None, "slaney"):
        raise ConfigError(
            f"Mel filters: expected scale 'htk' or 'slaney' and norm None or 'slaney', got "
            f"{scale!r} and {norm!r}."
        )
    bins = torch.linspace(0.0, sample_rate_hz / 2, num_freqs, dtype=torch.float64, device="cpu")
    ends = hertz_to_mel(torch.tensor([f_min, top], dtype=torch.float64, device="cpu"), scale)
    spaced = torch.linspace(0.0, 1.0, num_mels + 2, dtype=torch.float64, device="cpu")
    points = mel_to_hertz(ends[0] + (ends[1] - ends[0]) * spaced, scale)
    left, peak, right = points[:-2, None], points[1:-1, None], points[2:, None]
    rising = (bins - left) / (peak - left)
    falling = (right - bins) / (right - peak)
    filters = torch.minimum(rising, falling).clamp_min(0.0)
    return filters if norm is None else filters * (2.0 / (right - left))
