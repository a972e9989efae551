"""Short-time Fourier transforms with a stated rule for the ends and for short inputs."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.errors import ConfigError, ShapeError
from vqkit.shapes import Float

__all__ = ["FramePadding", "Window", "magnitude_spectrogram", "reflect_pad", "spectrogram"]

FramePadding = Literal["centre", "same", "none"]
Window = Literal["hann", "rectangular"]


def reflect_pad(x: Float[Tensor, "*items samples"], left: int, right: int) -> Tensor:
    """Reflect the ends, of short inputs too.

    An input too short to be reflected is made longer with zeros on the right, which are cut off
    again afterwards, as in EnCodec.

    Raises:
        ShapeError: No sample.

    >>> reflect_pad(torch.tensor([1.0, 2.0, 3.0]), 2, 1)
    tensor([3., 2., 1., 2., 3., 2.])
    >>> reflect_pad(torch.tensor([1.0]), 2, 2)
    tensor([0., 0., 1., 0., 0.])
    """
    num_samples = x.shape[-1]
    if not num_samples:
        raise ShapeError(f"Reflection: expected at least one sample, got {list(x.shape)}.")
    missing = max(0, max(left, right) + 1 - num_samples)
    rows = x.reshape(1, -1, num_samples)
    if missing:  # padding by nothing would still copy
        rows = F.pad(rows, (0, missing))
    padded = F.pad(rows, (left, right), mode="reflect")
    padded = padded[..., : left + num_samples + right]
    return padded.reshape(*x.shape[:-1], padded.shape[-1])


def spectrogram(
    x: Float[Tensor, "*items samples"],
    window_size: int,
    hop: int,
    *,
    padding: FramePadding = "centre",
    window: Window = "hann",
    normalised: bool = False,
) -> Tensor:
    """Complex spectra ``[*items, window_size / 2 + 1, frames]`` of windowed frames.

    Args:
        x: Samples, last axis; any floating dtype, computed in fp32 at least.
        window_size: Samples of a frame and of its transform, even.
        hop: Samples between the beginnings of frames.
        padding: What is done to the ends.
            ``"centre"``: frame i is centred at sample i * hop, half a window is reflected at
            both ends, ``1 + samples // hop`` frames (torch, torchaudio, librosa).
            ``"same"``: ``(window_size - hop) // 2`` samples are reflected at both ends, and what
            makes the last frame whole; ``ceil(samples / hop)`` frames (audiocraft, ``match_stride``
            of audiotools; audiocraft completes the last frame with zeros).
            ``"none"``: whole frames only, ``1 + (samples - window_size) // hop``; an input shorter
            than a window is padded with zeros to one frame.
        window: Periodic Hann, or none.
        normalised: Divide by the root of the window's energy, as torchaudio's ``normalized``.

    Raises:
        ConfigError: An odd window, a hop outside 1 to the window, an unknown padding or window.
        ShapeError: No sample.

    >>> spectrogram(torch.zeros(2, 1, 1000), 64, 16, padding="same").shape
    torch.Size([2, 1, 33, 63])
    """
    if window_size < 2 or window_size % 2 or not 1 <= hop <= window_size:
        raise ConfigError(
            f"Spectrogram: expected an even window_size and 1 <= hop <= window_size, got "
            f"{window_size} and {hop}."
        )
    if not x.shape[-1]:
        raise ShapeError(f"Spectrogram: expected at least one sample, got {list(x.shape)}.")
    wide = x if x.dtype == torch.float64 else x.float()
    padded = _padded(wide, window_size, hop, padding)
    weights = _window(window, window_size, wide)
    spectra = torch.stft(
        padded.reshape(-1, padded.shape[-1]),
        window_size,
        hop,
        window=weights,
        center=False,
        return_complex=True,
    )
    if normalised:
        spectra = spectra / weights.square().sum().sqrt()
    return spectra.reshape(*x.shape[:-1], *spectra.shape[-2:])


def magnitude_spectrogram(
    x: Float[Tensor, "*items samples"],
    window_size: int,
    hop: int,
    *,
    padding: FramePadding = "centre",
    window: Window = "hann",
    normalised: bool = False,
) -> Float[Tensor, "*items freqs frames"]:
    """Absolute values of :func:`spectrogram`; their gradient is 0 where they are 0.

    >>> tone = torch.cos(torch.arange(64) * torch.pi / 4)
    >>> int(magnitude_spectrogram(tone, 16, 4)[:, 8].argmax())
    2
    """
    return spectrogram(
        x, window_size, hop, padding=padding, window=window, normalised=normalised
    ).abs()


def _window(window: Window, size: int, like: Tensor) -> Tensor:
    if window == "hann":
        return torch.hann_window(size, dtype=like.dtype, device=like.device)
    if window == "rectangular":
        return torch.ones(size, dtype=like.dtype, device=like.device)
    raise ConfigError(f"Spectrogram: expected window 'hann' or 'rectangular', got {window!r}.")


def _padded(x: Tensor, window_size: int, hop: int, padding: FramePadding) -> Tensor:
    if padding == "centre":
        return reflect_pad(x, window_size // 2, window_size // 2)
    if padding == "same":
        side = (window_size - hop) // 2
        num_frames = -(-x.shape[-1] // hop)
        return reflect_pad(x, side, (num_frames - 1) * hop + window_size - side - x.shape[-1])
    if padding == "none":
        return F.pad(x, (0, max(0, window_size - x.shape[-1])))
    raise ConfigError(f"Spectrogram: expected padding 'centre', 'same' or 'none', got {padding!r}.")
