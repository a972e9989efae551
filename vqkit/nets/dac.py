"""The encoder and decoder of the Descript Audio Codec: convolutions and Snake activations."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from vqkit.errors import ConfigError
from vqkit.nets.lengths import LayerSequence, Lengths, TimeLayer
from vqkit.nets.padded_conv import trained_weight
from vqkit.nets.ragged import RaggedConv1d, RaggedConvTranspose1d
from vqkit.nets.residual_sum import residual_sum
from vqkit.nets.stream import PointwiseStream, ResidualStream, Span, Stream
from vqkit.nets.streaming import open_stream
from vqkit.nets.waveform import require_frames, require_waveform
from vqkit.shapes import Float, Int

__all__ = ["DACDecoder", "DACEncoder", "Snake"]

_DILATIONS = (1, 3, 9)
_EPS = 1e-9  # the identity at alpha = 0 too
_INITIAL_DEVIATION = 0.02


class Snake(nn.Module):
    """``x + sin^2(alpha x) / alpha``, alpha learned per channel (Ziyin et al. 2020).

    Periodic around the identity, as sounds are. The sum with 1e-9 below the fraction keeps value
    and gradient finite where a channel's alpha gets to 0.

    Args:
        channels: Channels of the input.

    Example:
        >>> Snake(1)(torch.tensor([[[0.0, torch.pi / 2]]]))
        tensor([[[0.0000, 2.5708]]], grad_fn=...)
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(channels, 1))

    def forward(
        self, x: Float[Tensor, "batch channels samples"]
    ) -> Float[Tensor, "batch channels samples"]:
        """Same shape."""
        scaled = self.alpha * x
        if scaled.requires_grad:
            return x + (self.alpha + _EPS).reciprocal() * torch.sin(scaled).square()
        # In one place: passing over memory takes longer than the sine.
        squared = scaled.sin_().square_()
        return torch.addcmul(x, squared, (self.alpha + _EPS).reciprocal(), out=squared)

    def stream(self) -> Stream:
        """Begin a signal."""
        return PointwiseStream(self)


class _ResidualUnit(TimeLayer):
    """``x + conv1(Snake(dilated conv(Snake(x))))``."""

    def __init__(self, width: int, dilation: int, normed: bool) -> None:
        super().__init__()
        self.block = LayerSequence(
            Snake(width),
            _conv(width, width, 7, normed, dilation=dilation, padding=3 * dilation),
            Snake(width),
            _conv(width, width, 1, normed),
        )

    def forward(
        self, x: Float[Tensor, "batch width samples"], lengths: Lengths | None = None
    ) -> Float[Tensor, "batch width samples"]:
        """Same shape."""
        return residual_sum(x, self.block(x, lengths))

    def stream(self) -> Stream:
        """Begin a signal."""
        return ResidualStream(PointwiseStream(nn.Identity()), open_stream(self.block))


class DACEncoder(nn.Module):
    """Waveform to latent frames (Kumar et al. 2023, arXiv 2306.06546, section 3).

    The defaults are those at 44.1 kHz; at 16 and 24 kHz the strides are 2, 4, 5, 8.

    Args:
        in_channels: Channels of the media.
        dim: Features of one latent vector.
        num_filters: Channels at the rate of the media; they double per stride.
        strides: Samples per frame of each stage.
        weight_norm: Normalise weights, for training.

    Raises:
        ConfigError: Sizes below 1.

    Example:
        >>> encoder = DACEncoder(dim=16, num_filters=2)
        >>> encoder.stride, encoder(torch.zeros(1, 1, 600)).shape
        ((512,), torch.Size([1, 16, 2]))
    """

    takes_lengths = True

    def __init__(
        self,
        in_channels: int = 1,
        dim: int = 1024,
        num_filters: int = 64,
        strides: Sequence[int] = (2, 4, 8, 8),
        weight_norm: bool = True,
    ) -> None:
        super().__init__()
        _check(in_channels, dim, num_filters, strides)
        self.in_channels = in_channels
        self.dim = dim
        self.num_filters = num_filters
        self.strides = tuple(strides)
        self.weight_norm = weight_norm
        self.stride = (prod(strides),)

        width = num_filters
        layers: list[nn.Module] = [_conv(in_channels, width, 7, weight_norm, padding=3)]
        for stride in strides:
            layers += [
                *(_ResidualUnit(width, dilation, weight_norm) for dilation in _DILATIONS),
                Snake(width),
                _conv(
                    width,
                    2 * width,
                    2 * stride,
                    weight_norm,
                    stride=stride,
                    padding=_rounded_half(stride),
                ),
            ]
            width *= 2
        layers += [Snake(width), _conv(width, dim, 3, weight_norm, padding=1)]
        self.layers = LayerSequence(*layers)

    def forward(
        self,
        x: Float[Tensor, "batch channels samples"],
        lengths: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch dim frames"]:
        """``ceil(samples / stride)`` frames; the end is filled up with zeros.

        Args:
            x: Waveforms.
            lengths: Samples of each item, where some are shorter: their frames are those that they
                have alone, and what comes after them means nothing.

        Raises:
            ShapeError: Other channels, no sample, or lengths that do not fit.
        """
        require_waveform(x, self.in_channels)
        (stride,) = self.stride
        of_items = Lengths.of(lengths, x)
        if of_items is not None:
            x = of_items.alone(x)
            of_items = of_items.strided(stride).scaled(stride)
        return self.layers(F.pad(x, (0, -x.shape[-1] % stride)), of_items)

    def stream(self) -> Stream:
        """Begin a signal."""
        return _WholeFrames(self.stride[0], open_stream(self.layers))


class DACDecoder(nn.Module):
    """Latent frames to waveform: wider than the encoder, and mirrored.

    Args:
        out_channels: Channels of the media.
        dim: Features of one latent vector.
        num_filters: Channels of the first layer; they halve per stride.
        strides: As in the encoder and in its order: the one at the rate of the media first.
        weight_norm: Normalise weights, for training.
        bounded: Whether the output goes through tanh.
        whole_strides: Whether transposed convolutions give all samples of odd strides too, which
            are zeros at the end otherwise. X-Codec has these and no bound.

    Raises:
        ConfigError: Sizes below 1, or a width that cannot be halved so often.

    Example:
        >>> DACDecoder(dim=16, num_filters=32)(torch.zeros(1, 16, 2)).shape
        torch.Size([1, 1, 1024])
    """

    takes_lengths = True
    ADDED_ARGUMENTS: ClassVar[Mapping[str, Any]] = {"bounded": True, "whole_strides": False}

    def __init__(
        self,
        out_channels: int = 1,
        dim: int = 1024,
        num_filters: int = 1536,
        strides: Sequence[int] = (2, 4, 8, 8),
        weight_norm: bool = True,
        bounded: bool = True,
        whole_strides: bool = False,
    ) -> None:
        super().__init__()
        _check(out_channels, dim, num_filters, strides)
        if num_filters >> len(strides) < 1:
            raise ConfigError(
                f"DACDecoder: expected num_filters >= {1 << len(strides)} for {len(strides)} "
                f"strides, got {num_filters}."
            )
        self.out_channels = out_channels
        self.dim = dim
        self.num_filters = num_filters
        self.strides = tuple(strides)
        self.weight_norm = weight_norm
        self.bounded = bounded
        self.whole_strides = whole_strides
        self.stride = (prod(strides),)

        layers: list[nn.Module] = [_conv(dim, num_filters, 7, weight_norm, padding=3)]
        for stage, stride in enumerate(reversed(self.strides)):
            width = num_filters >> (stage + 1)
            layers += [
                Snake(num_filters >> stage),
                _transposed(num_filters >> stage, width, stride, weight_norm, whole_strides),
                *(_ResidualUnit(width, dilation, weight_norm) for dilation in _DILATIONS),
            ]
        width = num_filters >> len(self.strides)
        layers += [Snake(width), _conv(width, out_channels, 7, weight_norm, padding=3)]
        layers.append(nn.Tanh() if bounded else nn.Identity())
        self.layers = LayerSequence(*layers)

    @property
    def last_layer(self) -> Tensor:
        """Weight of the last layer that learns, where the adaptive weight is measured."""
        return trained_weight(self.layers[-2])

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
        of_items = Lengths.of(lengths, latent)
        if of_items is not None:
            latent = of_items.alone(latent)
        out = self.layers(latent, of_items)
        # Every odd stride costs a sample of its stage, as the padding cannot be half of it.
        missing = latent.shape[-1] * self.stride[0] - out.shape[-1]
        if of_items is not None:
            out = self.layers.lengths_after(of_items).silence(out, missing)
        return F.pad(out, (0, missing))

    def stream(self) -> Stream:
        """Begin a signal."""
        return _WholeSamples(self.stride[0], open_stream(self.layers))


class _WholeFrames(Stream):
    """Zeros after the end until the last frame is whole, then the network."""

    def __init__(self, stride: int, network: Stream) -> None:
        self._stride = stride
        self._network = network
        self._num_inputs = 0
        self._silence: Tensor | None = None

    def push(self, x: Tensor) -> Tensor:
        self._num_inputs += x.shape[-1]
        self._silence = x[..., :0].clone()
        return self._network.push(x)

    def finish(self) -> Tensor:
        assert self._silence is not None
        silence = F.pad(self._silence, (0, -self._num_inputs % self._stride))
        return torch.cat([self._network.push(silence), self._network.finish()], dim=-1)

    def span(self, first: float, last: float) -> Span:
        return self._network.span(first, last)

    def inputs_for(self, num_outputs: int) -> int:
        return self._network.inputs_for(num_outputs)

    def restart(self, rows: Tensor) -> None:
        self._network.restart(rows)


class _WholeSamples(Stream):
    """The network, then zeros after the end until all frames have their samples."""

    def __init__(self, stride: int, network: Stream) -> None:
        self._stride = stride
        self._network = network
        self._missing = 0

    def push(self, x: Tensor) -> Tensor:
        out = self._network.push(x)
        self._missing += x.shape[-1] * self._stride - out.shape[-1]
        return out

    def finish(self) -> Tensor:
        rest = self._network.finish()
        return F.pad(rest, (0, self._missing - rest.shape[-1]))

    def span(self, first: float, last: float) -> Span:
        return self._network.span(first, last)

    def inputs_for(self, num_outputs: int) -> int:
        return self._network.inputs_for(num_outputs)

    def restart(self, rows: Tensor) -> None:
        self._network.restart(rows)


def _check(channels: int, dim: int, num_filters: int, strides: Sequence[int]) -> None:
    if min((channels, dim, num_filters, *strides)) < 1:
        raise ConfigError(
            f"DAC network: expected sizes >= 1, got {channels} channels, dim {dim}, num_filters "
            f"{num_filters}, strides {list(strides)}."
        )


def _conv(
    in_width: int,
    out_width: int,
    kernel: int,
    normed: bool,
    *,
    stride: int = 1,
    dilation: int = 1,
    padding: int = 0,
) -> nn.Module:
    conv = RaggedConv1d(
        in_width, out_width, kernel, stride=stride, dilation=dilation, padding=padding
    )
    nn.init.trunc_normal_(conv.weight, std=_INITIAL_DEVIATION)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return weight_norm(conv) if normed else conv


def _transposed(
    in_width: int, out_width: int, stride: int, normed: bool, is_whole: bool
) -> nn.Module:
    conv = RaggedConvTranspose1d(
        in_width,
        out_width,
        2 * stride,
        stride=stride,
        padding=_rounded_half(stride),
        output_padding=stride % 2 if is_whole else 0,
    )
    return weight_norm(conv) if normed else conv


def _rounded_half(stride: int) -> int:
    return (stride + 1) // 2
