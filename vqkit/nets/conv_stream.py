"""Convolutions over a signal that comes in pieces."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.errors import StreamingError
from vqkit.nets.signal_padding import Padding, pad_signal
from vqkit.nets.stream import Span, Stream, joined, no_positions
from vqkit.ops.transposed_conv import conv_transpose1d

__all__ = ["ConvStream", "TransposedConvStream", "Window", "WindowStream"]


@dataclass(frozen=True)
class Window:
    """Which positions of a signal an output is made of.

    Args:
        reach: Positions from the first to the last of them.
        stride: Positions from one window to the next, at most the reach.
        left: Positions of padding before the signal.
        right: Positions of padding behind it, besides those that make the last stride whole.
    """

    reach: int
    stride: int = 1
    left: int = 0
    right: int = 0


class WindowStream(Stream):
    """A function of windows of the signal, with padding at both ends.

    Keeps the last ``reach - stride`` positions of the padded signal.

    Args:
        function: Of ``[batch, channels, positions, *size]``, of all windows that lie in it; it pads
            nothing.
        window: Which windows these are, and how much padding there is.
        padding: Of what. On the right there is as much more as makes the last stride whole.
    """

    def __init__(
        self, function: Callable[[Tensor], Tensor], window: Window, padding: Padding
    ) -> None:
        self._function = function
        self._window = window
        self._padding = padding
        self._begun = False
        self._num_inputs = 0
        # Before the beginning all that came; afterwards what the next window begins with.
        self._held: Tensor | None = None
        # The last positions, where the padding of the end is made of them.
        self._keeps_tail = padding != "zero" and window.right + window.stride > 1
        self._tail: Tensor | None = None
        # Rows whose held positions are to be the padding of a new beginning.
        self._fresh: Tensor | None = None
        self._nothing: Tensor | None = None

    def push(self, x: Tensor) -> Tensor:
        """See :meth:`Stream.push`."""
        self._num_inputs += x.shape[2]
        if self._keeps_tail:
            kept = self._window.right + self._window.stride
            self._tail = joined(self._tail, x)[:, :, -kept:].clone()
        if self._fresh is not None and x.shape[2]:
            first = x[:, :, :1] if self._padding == "replicate" else torch.zeros_like(x[:, :, :1])
            assert self._held is not None
            self._held = torch.where(_of_rows(self._fresh, x), first, self._held)
            self._fresh = None
        self._held = joined(self._held, x)
        if not self._begun:
            if self._num_inputs < self._least_to_begin:
                return self._windows(self._held[:, :, :0])
            self._held = pad_signal(self._held, self._window.left, 0, self._padding)
            self._begun = True
        return self._advance()

    def finish(self) -> Tensor:
        """See :meth:`Stream.finish`."""
        assert self._held is not None
        window = self._window
        whole = window.right + -self._num_inputs % window.stride
        if not self._begun:  # shorter than its padding, which has a rule for that
            self._held = pad_signal(self._held, window.left, whole, self._padding)
        elif whole:
            end = self._held if self._tail is None else self._tail
            padded = pad_signal(end, 0, whole, self._padding)
            self._held = torch.cat([self._held, padded[:, :, end.shape[2] :]], dim=2)
        return self._advance()

    def _advance(self) -> Tensor:
        assert self._held is not None
        reach, stride = self._window.reach, self._window.stride
        frames = max(0, (self._held.shape[2] - reach) // stride + 1)
        used = (frames - 1) * stride + reach if frames else 0
        out = self._windows(self._held[:, :, :used])
        # A copy, here and below, so that the positions before it can be freed.
        self._held = self._held[:, :, frames * stride :].clone()
        return out

    def _windows(self, x: Tensor) -> Tensor:
        if x.shape[2]:
            return self._function(x)
        if self._nothing is None:
            self._nothing = no_positions(self._function, x, self._window.reach)
        return self._nothing

    @property
    def _least_to_begin(self) -> int:
        return self._window.left + 1 if self._padding == "reflect" and self._window.left else 1

    def span(self, first: float, last: float) -> Span:
        """See :meth:`Stream.span`."""
        window = self._window
        begin, end = (number * window.stride - window.left for number in (first, last))
        return begin, end + window.reach - 1

    def inputs_for(self, num_outputs: int) -> int:
        """See :meth:`Stream.inputs_for`."""
        return max(self._least_to_begin, super().inputs_for(num_outputs))

    def restart(self, rows: Tensor) -> None:
        """See :meth:`Stream.restart`."""
        window = self._window
        if window.right or (self._padding == "reflect" and window.left):
            raise StreamingError(
                "Restart of some rows: expected convolutions that do not look ahead, got one with "
                f"{self._padding} padding of {window.left} and {window.right}. Open a stream of "
                "its own for each signal."
            )
        if not self._begun:
            return
        assert self._held is not None
        if self._held.shape[2] != window.left:
            raise StreamingError(
                "Restart of some rows: expected whole frames pushed before, got "
                f"{self._num_inputs} samples at a layer of stride {window.stride}."
            )
        self._fresh = rows if self._fresh is None else self._fresh | rows


class ConvStream(WindowStream):
    """A convolution over a sound, with so much padding on the right that strides are whole.

    Its weights are taken when it is made: normalised ones are computed once.

    Args:
        conv: Its own padding is not used.
        left: Samples of padding before the signal.
        right: Samples of padding behind it, besides those that make the last stride whole.
        padding: Of what.
    """

    def __init__(self, conv: nn.Conv1d, left: int, right: int, padding: Padding) -> None:
        function = partial(
            F.conv1d,
            weight=conv.weight,
            bias=conv.bias,
            stride=conv.stride,
            dilation=conv.dilation,
            groups=conv.groups,
        )
        reach = (conv.kernel_size[0] - 1) * conv.dilation[0] + 1
        super().__init__(function, Window(reach, conv.stride[0], left, right), padding)


class TransposedConvStream(Stream):
    """A transposed convolution; keeps the samples that the next frames add to.

    Args:
        weight: ``[in_channels, out_channels / groups, kernel]``.
        bias: Of the output channels, or None.
        stride: Samples per frame.
        left: Samples cut off at the beginning.
        right: Samples cut off at the end, at most the kernel less the stride.
        groups: Groups of channels that do not mix.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        stride: int,
        left: int,
        right: int,
        groups: int = 1,
    ) -> None:
        self._weight, self._bias = weight, bias
        self._stride, self._groups = stride, groups
        self._kernel = weight.shape[-1]
        self._left, self._right = left, right
        self._left_to_cut = left
        # Without the bias, which is added once, when a sample is complete.
        self._carried: Tensor | None = None

    def push(self, x: Tensor) -> Tensor:
        """See :meth:`Stream.push`."""
        if not x.shape[-1]:
            return x.new_zeros(x.shape[0], self._weight.shape[1] * self._groups, 0)
        added = conv_transpose1d(x, self._weight, stride=self._stride, groups=self._groups)
        if self._carried is not None:
            overlap = self._carried.shape[-1]
            added = torch.cat([added[..., :overlap] + self._carried, added[..., overlap:]], dim=-1)
        complete = x.shape[-1] * self._stride
        self._carried = added[..., complete:].clone()
        return self._given(added[..., :complete])

    def finish(self) -> Tensor:
        """See :meth:`Stream.finish`."""
        assert self._carried is not None
        return self._given(self._carried[..., : self._carried.shape[-1] - self._right])

    def _given(self, out: Tensor) -> Tensor:
        cut = min(self._left_to_cut, out.shape[-1])
        self._left_to_cut -= cut
        out = out[..., cut:]
        return out if self._bias is None else out + self._bias[:, None]

    def span(self, first: float, last: float) -> Span:
        """See :meth:`Stream.span`."""
        begin = (first + self._left - self._kernel) // self._stride + 1
        return begin, (last + self._left) // self._stride

    def restart(self, rows: Tensor) -> None:
        """See :meth:`Stream.restart`."""
        if self._left:
            raise StreamingError(
                "Restart of some rows: expected transposed convolutions that are cut on the right "
                f"alone, got one that is cut by {self._left} on the left. Open a stream of its own "
                "for each signal."
            )
        if self._carried is not None:
            self._carried = self._carried.masked_fill(rows[:, None, None], 0.0)


def _of_rows(rows: Tensor, x: Tensor) -> Tensor:
    """A mask of the batch, as one over ``x``."""
    return rows.reshape(-1, *[1] * (x.ndim - 1))
