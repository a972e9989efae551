"""Convolutions over time that pad themselves, so that frames are as many as strides begin.

Where the published codecs differ is the padding: on which side, of what, and what is cut off after
a transposed convolution. A reimplementation that differs by one sample has other tokens.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from vqkit.errors import ConfigError, StreamingError
from vqkit.nets.conv_stream import ConvStream, TransposedConvStream
from vqkit.nets.lengths import Lengths, TimeLayer, through
from vqkit.nets.ragged import QuickConvTranspose1d, RaggedGroupNorm
from vqkit.nets.signal_padding import Padding, pad_signal
from vqkit.nets.stream import Stream
from vqkit.shapes import Float

__all__ = ["ConvStyle", "PaddedConv", "PaddedTransposedConv", "trained_weight"]

Norm = Literal["none", "weight", "group"]


@dataclass(frozen=True)
class ConvStyle:
    """What all convolutions of a network have in common.

    Args:
        causal: A frame depends on no sample after it: all padding is on the left. Otherwise its
            larger half is.
        padding: What lies beyond the ends. Causal convolutions that reflect look ahead at the first
            samples, for the padding on the left.
        norm: ``"weight"`` normalises weights (Salimans & Kingma 2016), which helps training and
            takes time in use; ``"group"`` normalises each item over all channels and all time, so
            that a frame depends on the whole.

    Raises:
        ConfigError: An unknown padding or norm.
    """

    causal: bool = True
    padding: Padding = "reflect"
    norm: Norm = "weight"

    def __post_init__(self) -> None:
        """Refuse what is not known."""
        if self.padding not in get_args(Padding) or self.norm not in get_args(Norm):
            raise ConfigError(
                f"ConvStyle: expected padding of {get_args(Padding)} and norm of {get_args(Norm)}, "
                f"got {self.padding!r} and {self.norm!r}."
            )


class PaddedConv(TimeLayer):
    """A convolution whose output has ``ceil(length / stride)`` frames.

    Padding is ``kernel - stride`` samples in all, and on the right what makes the last frame whole
    (EnCodec, arXiv 2210.13438, and its code).

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel: Width in samples, at least the stride.
        style: Padding and norm.
        stride: Samples per frame.
        dilation: Step in samples between the taps.
        groups: Groups of channels that do not mix.
        bias: Whether something is added.

    Raises:
        ConfigError: The kernel is smaller than the stride.

    Example:
        >>> import torch
        >>> PaddedConv(1, 4, 10, ConvStyle(), stride=5)(torch.zeros(1, 1, 11)).shape
        torch.Size([1, 4, 3])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        style: ConvStyle,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        total = (kernel - 1) * dilation + 1 - stride
        if total < 0:
            raise ConfigError(
                f"PaddedConv: expected a kernel of at least the stride of {stride}, got {kernel}."
            )
        conv = nn.Conv1d(
            in_channels,
            out_channels,
            kernel,
            stride=stride,
            dilation=dilation,
            groups=groups,
            bias=bias,
        )
        self.conv, self.norm = _normed(conv, style.norm)
        self.stride = stride
        self.padding = style.padding
        self.right = 0 if style.causal else total // 2
        self.left = total - self.right

    def forward(
        self, x: Float[Tensor, "batch channels samples"], lengths: Lengths | None = None
    ) -> Float[Tensor, "batch out_channels frames"]:
        """Any length from one sample."""
        if lengths is None:
            whole = -x.shape[-1] % self.stride
            padded = pad_signal(x, self.left, self.right + whole, self.padding)
            out: Tensor = self.norm(self.conv(padded))
            return out
        if self.left or self.right or self.stride > 1:
            x = lengths.padded(x, self.left, self.right, self.stride, self.padding)
        return through(self.norm, self.conv(x), self.lengths_after(lengths))

    def lengths_after(self, lengths: Lengths) -> Lengths:
        """Lengths in frames."""
        return lengths.strided(self.stride)

    def stream(self) -> Stream:
        """Begin a signal.

        Raises:
            StreamingError: The norm is over all of it.
        """
        _require_no_norm_over_time(self.norm)
        assert isinstance(self.conv, nn.Conv1d)
        return ConvStream(self.conv, self.left, self.right, self.padding)


class PaddedTransposedConv(TimeLayer):
    """A transposed convolution whose output has ``frames * stride`` samples.

    Of the ``kernel - stride`` samples too many a causal one loses all on the right, so that no
    frame is heard before its time; another loses the larger half on the left.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel: Width in samples, at least the stride.
        style: Whether it is causal, and the norm.
        stride: Samples per frame.
        groups: Groups of channels that do not mix.
        bias: Whether something is added.

    Raises:
        ConfigError: The kernel is smaller than the stride.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        style: ConvStyle,
        *,
        stride: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        total = kernel - stride
        if total < 0:
            raise ConfigError(
                f"PaddedTransposedConv: expected a kernel of at least the stride of {stride}, got "
                f"{kernel}."
            )
        conv = QuickConvTranspose1d(
            in_channels, out_channels, kernel, stride=stride, groups=groups, bias=bias
        )
        self.conv, self.norm = _normed(conv, style.norm)
        self.stride = stride
        self.right = total if style.causal else total // 2
        self.left = total - self.right

    def forward(
        self, x: Float[Tensor, "batch channels frames"], lengths: Lengths | None = None
    ) -> Float[Tensor, "batch out_channels samples"]:
        """Any number of frames from one."""
        if lengths is not None:
            surplus = self.left + self.right
            # What frames after the end add to: samples that are kept, or that the norm sees.
            heard = self.left if isinstance(self.norm, nn.Identity) else surplus
            if reach := -(-heard // self.stride):
                x = lengths.silence(x.clone(), reach)
            lengths = lengths.scaled(self.stride, surplus)
        # The norm sees what is cut off as well: so it was in training.
        out = through(self.norm, self.conv(x), lengths)
        return out[..., self.left : out.shape[-1] - self.right]

    def stream(self) -> Stream:
        """Begin a signal.

        Raises:
            StreamingError: The norm is over all of it.
        """
        _require_no_norm_over_time(self.norm)
        conv = self.conv
        assert isinstance(conv, nn.ConvTranspose1d)
        return TransposedConvStream(
            conv.weight, conv.bias, conv.stride[0], self.left, self.right, conv.groups
        )

    def lengths_after(self, lengths: Lengths) -> Lengths:
        """Lengths in samples."""
        return lengths.scaled(self.stride)


def _normed(conv: nn.Conv1d | nn.ConvTranspose1d, norm: Norm) -> tuple[nn.Module, nn.Module]:
    """The convolution, and what comes after it."""
    if norm == "group":
        return conv, RaggedGroupNorm(1, conv.out_channels)
    return weight_norm(conv) if norm == "weight" else conv, nn.Identity()


def _require_no_norm_over_time(norm: nn.Module) -> None:
    if not isinstance(norm, nn.Identity):
        raise StreamingError(
            "Streaming: expected norms of the weights or none, got a GroupNorm over all of the "
            "signal. Encode and decode whole signals, or in the chunks that the model defines."
        )


def trained_weight(conv: nn.Module) -> Tensor:
    """The weight of a convolution, or its direction where it is normalised."""
    normed: Any = getattr(conv, "parametrizations", None)
    weight: Tensor = conv.weight if normed is None else normed.weight.original1  # type: ignore[assignment]
    return weight
