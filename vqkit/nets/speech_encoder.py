"""Encoders of supervised speech tokenizers: the first half of a recogniser, pooled over time."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.errors import ConfigError
from vqkit.nets.frame_layers import FrameLayers
from vqkit.nets.log_mel import LogMel
from vqkit.nets.waveform import require_waveform
from vqkit.shapes import Float, Int

__all__ = ["SpeechEncoder", "TimePooling", "sinusoids"]

_KERNEL, _STEP = 3, 2


@dataclass(frozen=True)
class TimePooling:
    """So many frames to one.

    Attributes:
        kernel: Frames that become one.
        mode: Their ``"mean"``, or feature by feature the ``"max"`` of them.

    Raises:
        ConfigError: A kernel below 1, or an unknown mode.

    >>> TimePooling(2)(torch.tensor([[[1.0], [3.0], [5.0], [7.0]]])).flatten()
    tensor([2., 6.])
    """

    kernel: int = 4
    mode: Literal["mean", "max"] = "mean"

    def __post_init__(self) -> None:
        """Refuse what is not known."""
        if self.kernel < 1 or self.mode not in ("mean", "max"):
            raise ConfigError(
                f"TimePooling: expected a kernel >= 1 and mode 'mean' or 'max', got {self.kernel} "
                f"and {self.mode!r}."
            )

    def __call__(
        self, frames: Float[Tensor, "batch frames dim"]
    ) -> Float[Tensor, "batch pooled dim"]:
        """Pool whole groups of frames."""
        groups = frames.unflatten(1, (-1, self.kernel))
        return groups.mean(2) if self.mode == "mean" else groups.amax(2)


class SpeechEncoder(nn.Module):
    """Waveform to latent frames: what a supervised tokenizer quantizes (arXiv 2411.17607).

    Whisper's encoder up to the quantizer: log-mel frames, two convolutions of which the second
    halves their rate, sinusoidal positions, layers, pooling over time. Sounds longer than
    ``max_frames`` are cut into segments of that length, each encoded by itself. Silence completes
    the last latent frame of a sound.

    Args:
        features: Waveform to log-mel frames.
        layers: What is done with the frames, whose width they say.
        pooling: To the rate of the tokens.
        causal: Convolutions look back alone.
        max_frames: Frames of a segment, as the layers have them: 1500 are Whisper's 30 s.

    Raises:
        ConfigError: An odd width, or a segment that is no multiple of the pooling's kernel.

    Example:
        >>> from vqkit.nets import AttentionLayers
        >>> encoder = SpeechEncoder(LogMel(), AttentionLayers(8, 1, 2, 16))
        >>> encoder.stride, encoder(torch.zeros(1, 1, 16_000)).shape
        ((1280,), torch.Size([1, 8, 13]))
    """

    positions: Tensor

    def __init__(
        self,
        features: LogMel,
        layers: FrameLayers,
        pooling: TimePooling | None = None,
        causal: bool = False,
        max_frames: int = 1500,
    ) -> None:
        super().__init__()
        self.features = features
        self.layers = layers
        self.pooling = pooling or TimePooling()
        self.causal = causal
        self.max_frames = max_frames
        self.dim = layers.dim
        self.in_channels = features.in_channels
        self.stride = (features.hop * _STEP * self.pooling.kernel,)
        if self.dim % 2 or max_frames < 1 or max_frames % self.pooling.kernel:
            raise ConfigError(
                f"SpeechEncoder: expected an even dim and max_frames that the pooling's kernel of "
                f"{self.pooling.kernel} divides, got {self.dim} and {max_frames}."
            )
        self.conv1 = nn.Conv1d(features.num_mels, self.dim, _KERNEL)
        self.conv2 = nn.Conv1d(self.dim, self.dim, _KERNEL, stride=_STEP)
        self.register_buffer("positions", sinusoids(max_frames, self.dim))

    @property
    def segment_samples(self) -> int:
        """Samples of a segment."""
        return self.max_frames * self.features.hop * _STEP

    @property
    def look_ahead_samples(self) -> int | None:
        """Samples after its own end that a latent frame depends on, at most; None is all."""
        ahead = self.layers.look_ahead
        if ahead is None or self.features.loudest is None:
            return None
        hops = ahead * _STEP + (0 if self.causal else _KERNEL // 2)
        # The window of a log-mel frame is centred where the frame begins.
        return (hops - 1) * self.features.hop + self.features.window_size // 2

    def forward(
        self,
        x: Float[Tensor, "batch channels samples"],
        num_samples: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch dim frames"]:
        """``ceil(samples / stride)`` latent frames.

        Args:
            x: In [-1, 1].
            num_samples: Length of each sound; what follows it is not looked at. The latent frames
                from ``ceil(num_samples / stride)`` on mean nothing. None means all of it.

        Raises:
            ShapeError: Several channels, or no sample.
        """
        require_waveform(x, self.in_channels)
        counts = num_samples
        if counts is None:
            counts = torch.full((len(x),), x.shape[-1], device=x.device)
        starts = range(0, x.shape[-1], self.segment_samples)
        segments = [
            self._segment(
                x[..., start : start + self.segment_samples],
                (counts - start).clamp(0, self.segment_samples),
            )
            for start in starts
        ]
        return torch.cat(segments, dim=1).mT

    def _segment(self, x: Tensor, num_samples: Tensor) -> Tensor:
        """Latent frames, last axis features, of a part that is not longer than a segment."""
        stride = self.stride[0]
        x = F.pad(x, (0, -x.shape[-1] % stride))
        x = x.masked_fill(
            torch.arange(x.shape[-1], device=x.device) >= num_samples[:, None, None], 0
        )
        whole = -(-num_samples // stride) * stride
        mels = self.features(x, whole)
        counts = whole // (self.features.hop * _STEP)
        # A batch without padding needs no masks, which take time.
        valid = None
        if bool((whole < x.shape[-1]).any()):
            valid = torch.arange(mels.shape[-1] // _STEP, device=x.device) < counts[:, None]
        frames = F.gelu(self.conv1(self._padded(mels)))
        if valid is not None:
            frames = frames * valid.repeat_interleave(_STEP, dim=1)[:, None]
        frames = F.gelu(self.conv2(self._padded(frames))).mT
        frames = frames + self.positions[: frames.shape[1]]
        return self.pooling(self.layers(frames, valid))

    def _padded(self, x: Tensor) -> Tensor:
        side = _KERNEL // 2
        return F.pad(x, (_KERNEL - 1, 0) if self.causal else (side, side))


def sinusoids(num_frames: int, dim: int) -> Float[Tensor, "frames dim"]:
    """Whisper's positions: sines, then cosines, of wavelengths from 2 pi to 20,000 pi frames.

    >>> sinusoids(2, 4)
    tensor([[0.0000e+00, 0.0000e+00, 1.0000e+00, 1.0000e+00],
            [8.4147e-01, 1.0000e-04, 5.4030e-01, 1.0000e+00]])
    """
    step = math.log(10_000.0) / max(1, dim // 2 - 1)
    frequencies = torch.exp(-step * torch.arange(dim // 2))
    angles = torch.arange(num_frames)[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)
