"""A causal encoder and decoder of sounds that one core of a CPU runs many times faster than life.

Nothing but the first and the last layer sees the rate of the samples: frames of a millisecond or
two are made at once, and depthwise convolutions and perceptrons work on these. No layer looks
ahead, and none remembers more than its kernel, so that a token waits for its frame alone.
"""

from collections.abc import Sequence
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.errors import ConfigError
from vqkit.nets.lengths import LayerSequence, Lengths, TimeLayer
from vqkit.nets.padded_conv import ConvStyle, PaddedConv, PaddedTransposedConv, trained_weight
from vqkit.nets.stream import ChainStream, PointwiseStream, ResidualStream, Stream
from vqkit.nets.streaming import open_stream
from vqkit.nets.waveform import require_frames, require_waveform
from vqkit.shapes import Float, Int

__all__ = ["LightDecoder", "LightEncoder"]

_KERNEL = 7
_EXPANSION = 3
_EPS = 1e-6
_INITIAL_GAIN = 0.1
_STYLE = ConvStyle(padding="zero", norm="none")


class _Block(TimeLayer):
    """``x + gain * perceptron(norm(depthwise causal convolution(x)))`` (ConvNeXt, Liu 2022)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dwconv = PaddedConv(width, width, _KERNEL, _STYLE, groups=width)
        self.norm = nn.LayerNorm(width, eps=_EPS)
        self.pwconv1 = nn.Linear(width, _EXPANSION * width)
        self.pwconv2 = nn.Linear(_EXPANSION * width, width)
        self.gamma = nn.Parameter(torch.full((width,), _INITIAL_GAIN))

    def forward(
        self, x: Float[Tensor, "batch width frames"], lengths: Lengths | None = None
    ) -> Float[Tensor, "batch width frames"]:
        """Same shape."""
        return x + self._perceived(self.dwconv(x, lengths))

    def stream(self) -> Stream:
        """Begin a signal."""
        branch = ChainStream([self.dwconv.stream(), PointwiseStream(self._perceived)])
        return ResidualStream(PointwiseStream(nn.Identity()), branch)

    def _perceived(self, x: Tensor) -> Tensor:
        frames = self.norm(x.transpose(1, 2))
        branch = self.gamma * self.pwconv2(F.gelu(self.pwconv1(frames)))
        return branch.transpose(1, 2)


class _Light(nn.Module):
    """What both ways have in common: their numbers."""

    takes_lengths = True

    def __init__(
        self, channels: int, dim: int, width: int, strides: Sequence[int], num_blocks: int
    ) -> None:
        super().__init__()
        if min((channels, dim, width, num_blocks, *strides)) < 1 or not strides:
            raise ConfigError(
                f"Light network: expected sizes >= 1, got {channels} channels, dim {dim}, width "
                f"{width}, strides {list(strides)}, num_blocks {num_blocks}."
            )
        self.dim = dim
        self.width = width
        self.strides = tuple(strides)
        self.num_blocks = num_blocks
        self.stride = (prod(strides),)
        self.layers = LayerSequence()

    def stream(self) -> Stream:
        """Begin a signal."""
        return open_stream(self.layers)


class LightEncoder(_Light):
    """Waveform to latent frames.

    A strided convolution makes frames of ``strides[0]`` samples; blocks follow, and for each
    further stride a convolution of twice its width and blocks again, of the same width throughout.

    Args:
        in_channels: Channels of the media.
        dim: Features of one latent vector.
        width: Features inside.
        strides: Samples per frame of each stage, that at the rate of the media first.
        num_blocks: Blocks after each stride.

    Raises:
        ConfigError: Sizes below 1.

    Example:
        >>> encoder = LightEncoder(dim=8, width=16)
        >>> encoder.stride, encoder(torch.zeros(2, 1, 1000)).shape
        ((320,), torch.Size([2, 8, 4]))
    """

    def __init__(
        self,
        in_channels: int = 1,
        dim: int = 64,
        width: int = 128,
        strides: Sequence[int] = (32, 5, 2),
        num_blocks: int = 2,
    ) -> None:
        super().__init__(in_channels, dim, width, strides, num_blocks)
        self.in_channels = in_channels
        layers: list[nn.Module] = []
        channels = in_channels
        for stride in strides:
            layers.append(PaddedConv(channels, width, 2 * stride, _STYLE, stride=stride))
            layers += [_Block(width) for _ in range(num_blocks)]
            channels = width
        layers.append(PaddedConv(width, dim, 1, _STYLE))
        self.layers = LayerSequence(*layers)

    def forward(
        self,
        x: Float[Tensor, "batch channels samples"],
        lengths: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch dim frames"]:
        """``ceil(samples / stride)`` frames of a waveform of any length from one sample.

        Args:
            x: Waveforms.
            lengths: Samples of each item, where some are shorter: their frames are those that they
                have alone, and what comes after them means nothing.

        Raises:
            ShapeError: Other channels, no sample, or lengths that do not fit.
        """
        require_waveform(x, self.in_channels)
        return self.layers(x, Lengths.of(lengths, x))


class LightDecoder(_Light):
    """Latent frames to waveform: the mirror of :class:`LightEncoder`.

    Args:
        out_channels: Channels of the media.
        dim: Features of one latent vector.
        width: As in the encoder.
        strides: As in the encoder and in its order: the one at the rate of the media first.
        num_blocks: Blocks before each stride.

    Raises:
        ConfigError: Sizes below 1.

    Example:
        >>> LightDecoder(dim=8, width=16)(torch.zeros(2, 8, 4)).shape
        torch.Size([2, 1, 1280])
    """

    def __init__(
        self,
        out_channels: int = 1,
        dim: int = 64,
        width: int = 128,
        strides: Sequence[int] = (32, 5, 2),
        num_blocks: int = 2,
    ) -> None:
        super().__init__(out_channels, dim, width, strides, num_blocks)
        self.out_channels = out_channels
        layers: list[nn.Module] = [PaddedConv(dim, width, 1, _STYLE)]
        for stage, stride in reversed(list(enumerate(strides))):
            channels = width if stage else out_channels
            layers += [_Block(width) for _ in range(num_blocks)]
            layers.append(PaddedTransposedConv(width, channels, 2 * stride, _STYLE, stride=stride))
        self.layers = LayerSequence(*layers)

    @property
    def last_layer(self) -> Tensor:
        """Weight of the last layer that learns, where the adaptive weight is measured."""
        last = self.layers[-1]
        assert isinstance(last, PaddedTransposedConv)
        return trained_weight(last.conv)

    def forward(
        self,
        latent: Float[Tensor, "batch dim frames"],
        lengths: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch channels samples"]:
        """``frames * stride`` samples.

        Args:
            latent: Latent frames.
            lengths: Frames of each item, where some are shorter: their samples are those that they
                have alone, and what comes after them means nothing.

        Raises:
            ShapeError: Another number of features, no frame, or lengths that do not fit.
        """
        require_frames(latent, self.dim)
        return self.layers(latent, Lengths.of(lengths, latent))
