"""Convolutions over frames, rows and columns that pad themselves, causal in time or not."""

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.errors import ConfigError
from vqkit.nets.clip_layers import per_frame, size_of_three
from vqkit.nets.conv_stream import Window, WindowStream
from vqkit.nets.signal_padding import Padding, pad_signal
from vqkit.nets.stream import PointwiseStream, Stream
from vqkit.shapes import Float

__all__ = ["BlendConv", "ClipConv", "SumConv"]


class ClipConv(nn.Conv3d):
    """A convolution whose output has ``size / stride`` frames, rows and columns.

    A causal one has all padding of time in front: the first frame again and again, so that a clip
    that stands still is the same from its first frame on. One that is not causal has zeros on both
    sides, the larger half behind. Rows and columns have zeros on both sides, the larger half below
    and on the right.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel: Frames, rows and columns, each at least the stride.
        causal: Whether a frame depends on none after it.
        stride: Frames, rows and columns from one output to the next.
        bias: Whether something is added.

    Raises:
        ConfigError: A kernel smaller than the stride.

    Example:
        >>> conv = ClipConv(3, 8, kernel=3, stride=(1, 2, 2))
        >>> conv(torch.zeros(1, 3, 5, 8, 6)).shape
        torch.Size([1, 8, 5, 4, 3])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int | Sequence[int] = 3,
        *,
        causal: bool = True,
        stride: int | Sequence[int] = 1,
        bias: bool = True,
    ) -> None:
        kernels = size_of_three(kernel, "ClipConv kernel")
        strides = size_of_three(stride, "ClipConv stride")
        total = [k - s for k, s in zip(kernels, strides, strict=True)]
        if min(total) < 0:
            raise ConfigError(
                f"ClipConv: expected a kernel of at least the stride of {strides}, got {kernels}."
            )
        super().__init__(in_channels, out_channels, kernels, stride=strides, bias=bias)
        self.causal = causal
        left = total[0] if causal else total[0] // 2
        self.window = Window(kernels[0], strides[0], left, total[0] - left)
        self.time_padding: Padding = "replicate" if causal else "zero"
        # Left, right, above, below.
        self.border = tuple(
            n for size in reversed(total[1:]) for n in (size // 2, size - size // 2)
        )

    def forward(
        self, x: Float[Tensor, "batch channels frames height width"]
    ) -> Float[Tensor, "batch out_channels out_frames out_height out_width"]:
        """Sizes that the stride divides."""
        padded = pad_signal(x, self.window.left, self.window.right, self.time_padding)
        return self._convolved(padded, *self.taps())

    def stream(self) -> Stream:
        """Begin a clip; the weights are those of now."""
        weight, bias = self.taps()
        function = partial(self._convolved, weight=weight, bias=bias)
        if self.window == Window(1):
            return PointwiseStream(function)
        return WindowStream(function, self.window, self.time_padding)

    def taps(self) -> tuple[Tensor, Tensor | None]:
        """Weight ``[out_channels, in_channels, frames, rows, columns]`` and bias."""
        return self.weight, self.bias

    def _convolved(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """All windows of frames that lie in ``x``."""
        _, rows, columns = self.kernel_size
        if rows == columns == 1 and self.stride[1:] == (1, 1):
            return self._over_time(x, weight[..., 0, 0], bias)
        padding = (self.border[2], self.border[0])
        if self.border[::2] != self.border[1::2]:
            x, padding = F.pad(x, self.border), (0, 0)
        if self.window == Window(1):
            plane = partial(
                F.conv2d, weight=weight[:, :, 0], bias=bias, stride=self.stride[1:], padding=padding
            )
            return per_frame(plane, x)
        return F.conv3d(x, weight, bias, self.stride, padding=(0, *padding))

    def _over_time(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """A product of matrices per tap: ``weight [out_channels, in_channels, frames]``.

        On a CPU these take from half to nine tenths of the time of ``conv3d`` with the same taps.
        """
        stride = self.window.stride
        num_frames = (x.shape[2] - self.window.reach) // stride + 1
        positions = x.movedim(1, -1)
        out = weight.new_zeros(()) if bias is None else bias
        for tap in range(self.window.reach):
            rows = positions[:, tap : tap + (num_frames - 1) * stride + 1 : stride]
            out = torch.addmm(out, rows.flatten(0, -2), weight[..., tap].T)
        return out.unflatten(0, rows.shape[:-1]).movedim(-1, 1)


class BlendConv(ClipConv):
    """A learned blend of a fixed filter and a convolution: ``a fixed + (1 - a) conv`` (VidTok).

    ``a`` is the logistic function of ``mix_factor``. Both are one convolution, since both are
    linear.

    Args:
        width: Channels of the input and of the output.
        fixed: The filter over frames that every channel goes through by itself.
        causal: As in :class:`ClipConv`.
        stride: Frames from one output to the next.
        mix_factor: Its initial value.
    """

    fixed_taps: Tensor

    def __init__(
        self,
        width: int,
        fixed: Sequence[float],
        *,
        causal: bool,
        stride: int = 1,
        mix_factor: float = 2.0,
    ) -> None:
        super().__init__(width, width, (len(fixed), 3, 3), causal=causal, stride=(stride, 1, 1))
        self.mix_factor = nn.Parameter(torch.tensor([mix_factor]))
        frames = torch.tensor(list(fixed), device="cpu")
        self.register_buffer("fixed_taps", _at_the_centre(frames), persistent=False)

    def taps(self) -> tuple[Tensor, Tensor | None]:
        """Those of the blend."""
        share = torch.sigmoid(self.mix_factor)
        assert self.bias is not None
        weight = _plus(self.weight * (1 - share), share * self.fixed_taps)
        return weight, self.bias * (1 - share)


class SumConv(ClipConv):
    """The sum of a fixed filter and a convolution; with weights of 0 the filter alone.

    Args:
        width: Channels of the input and of the output.
        fixed: Weights ``[frames, rows, columns]`` that every channel goes through by itself.
        causal: As in :class:`ClipConv`.
        stride: As in :class:`ClipConv`.
    """

    fixed_taps: Tensor

    def __init__(
        self,
        width: int,
        fixed: Sequence[Sequence[Sequence[float]]],
        *,
        causal: bool = True,
        stride: int | Sequence[int] = 1,
    ) -> None:
        taps = torch.tensor(fixed, device="cpu")
        super().__init__(width, width, tuple(taps.shape), causal=causal, stride=stride)
        self.register_buffer("fixed_taps", taps, persistent=False)

    def taps(self) -> tuple[Tensor, Tensor | None]:
        """Those of the sum."""
        return _plus(self.weight, self.fixed_taps), self.bias


def _at_the_centre(frames: Tensor) -> Tensor:
    """``[frames, 3, 3]`` with a filter over frames at the middle row and column."""
    return F.pad(frames[:, None, None], (1, 1, 1, 1))


def _plus(weight: Tensor, fixed: Tensor) -> Tensor:
    """The weight of a convolution with a filter of every channel by itself added to it."""
    eye = torch.eye(len(weight), dtype=weight.dtype, device=weight.device)
    return weight + eye[:, :, None, None, None] * fixed
