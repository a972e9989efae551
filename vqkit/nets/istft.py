"""Spectra to waveform by the inverse short-time Fourier transform, in real arithmetic."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.errors import ConfigError
from vqkit.nets.conv_stream import TransposedConvStream
from vqkit.nets.lengths import Lengths, TimeLayer
from vqkit.nets.stream import Span, Stream
from vqkit.shapes import Float

__all__ = ["ISTFTHead"]

_MAX_LOG_MAGNITUDE = math.log(100.0)
_MIN_ENVELOPE = 1e-11


class ISTFTHead(TimeLayer):
    """Features to magnitude and phase, and these to sound (Vocos, arXiv 2306.00814, section 3).

    One linear layer; magnitudes are the exponential of its first half, at most 100, phases its
    second half. Windowed spectra (Hann) overlap, are added and divided by the sum of the squared
    windows; of both ends ``(n_fft - hop) / 2`` samples are cut off, so that ``frames * hop`` are
    left. The inverse transform is a transposed convolution with fixed sines: no complex numbers, so
    it is exported like any other layer.

    Args:
        dim: Features of a frame.
        n_fft: Samples of a window, even.
        hop: Samples per frame, of which windows are a multiple of twice the number at least.

    Raises:
        ConfigError: Windows that do not overlap so that all is covered, or are odd.

    Example:
        >>> ISTFTHead(8, 16, 4)(torch.zeros(1, 8, 5)).shape
        torch.Size([1, 1, 20])
    """

    basis: Tensor
    squared_window: Tensor

    def __init__(self, dim: int, n_fft: int = 1280, hop: int = 320) -> None:
        super().__init__()
        if dim < 1 or hop < 1 or n_fft < 2 * hop or n_fft % 2 or (n_fft - hop) % 2:
            raise ConfigError(
                "ISTFTHead: expected an even n_fft of at least twice the hop, and a whole "
                f"(n_fft - hop) / 2, got n_fft {n_fft}, hop {hop}, dim {dim}."
            )
        self.dim = dim
        self.n_fft = n_fft
        self.hop = hop
        self.linear = nn.Linear(dim, n_fft + 2)
        window = torch.hann_window(n_fft, dtype=torch.float64, device="cpu")
        basis = _inverse_basis(n_fft) * window
        self.register_buffer("basis", basis.float()[:, None], persistent=False)
        self.register_buffer("squared_window", window.square().float(), persistent=False)

    def forward(
        self, x: Float[Tensor, "batch dim frames"], lengths: Lengths | None = None
    ) -> Float[Tensor, "batch 1 samples"]:
        """``frames * hop`` samples."""
        spectrum = self.spectrum(x)
        frames = spectrum.new_ones(1, 1, x.shape[-1])
        if lengths is not None:
            spectrum = lengths.alone(spectrum)
            frames = lengths.alone(frames.expand(len(x), -1, -1))
        out = self._overlapped(spectrum, self.basis) / self._envelope(frames)
        return out.to(x.dtype)

    def stream(self) -> Stream:
        """Begin a signal."""
        return _ISTFTStream(self)

    def overlap(self, basis: Tensor) -> Stream:
        """Begin to add windows."""
        cut = (self.n_fft - self.hop) // 2
        return TransposedConvStream(basis, None, self.hop, cut, cut)

    def spectrum(self, x: Tensor) -> Tensor:
        """Real above imaginary parts, ``[batch, n_fft + 2, frames]``."""
        features = self.linear(x.transpose(1, 2)).transpose(1, 2).float()
        log_magnitude, phase = features.chunk(2, dim=1)
        # Bounded before the exponential, which would overflow and have no gradient.
        magnitude = log_magnitude.clamp(max=_MAX_LOG_MAGNITUDE).exp()
        return torch.cat([magnitude * phase.cos(), magnitude * phase.sin()], dim=1)

    def lengths_after(self, lengths: Lengths) -> Lengths:
        """Lengths in samples."""
        return lengths.scaled(self.hop)

    def _overlapped(self, frames: Tensor, basis: Tensor) -> Tensor:
        cut = (self.n_fft - self.hop) // 2
        added = F.conv_transpose1d(frames, basis, stride=self.hop)
        return added[..., cut : added.shape[-1] - cut]

    def _envelope(self, frames: Tensor) -> Tensor:
        """Sum over each sample of the squared windows of frames ``[items, 1, frames]`` of ones."""
        added = self._overlapped(frames, self.squared_window[None, None])
        return added.clamp(min=_MIN_ENVELOPE)


class _ISTFTStream(Stream):
    """The windows' sum beside the sum of their squares."""

    def __init__(self, head: ISTFTHead) -> None:
        self._head = head
        self._sum = head.overlap(head.basis)
        self._envelope = head.overlap(head.squared_window[None, None])

    def push(self, x: Tensor) -> Tensor:
        ones = self._head.squared_window.new_ones(1, 1, x.shape[-1])
        added = self._sum.push(self._head.spectrum(x))
        return added / self._envelope.push(ones).clamp(min=_MIN_ENVELOPE)

    def finish(self) -> Tensor:
        return self._sum.finish() / self._envelope.finish().clamp(min=_MIN_ENVELOPE)

    def span(self, first: float, last: float) -> Span:
        return self._sum.span(first, last)

    def restart(self, rows: Tensor) -> None:
        self._sum.restart(rows)


def _inverse_basis(n_fft: int) -> Tensor:
    """What a real and an imaginary part of each frequency add, float64 ``[n_fft + 2, n_fft]``."""
    frequency = torch.arange(n_fft // 2 + 1, dtype=torch.float64, device="cpu")[:, None]
    time = torch.arange(n_fft, dtype=torch.float64, device="cpu")
    # Whole turns are taken off first: the angle of a large product would lose its last digits.
    angle = (frequency * time).remainder(n_fft) * (2 * math.pi / n_fft)
    # All frequencies but the first and the last stand for their conjugate as well.
    count = torch.full_like(frequency, 2.0)
    count[0] = count[-1] = 1.0
    return torch.cat([count * angle.cos(), -count * angle.sin()]) / n_fft
