"""Networks at work on a signal that comes in pieces: each layer keeps what it will need again.

A signal is a sound ``[batch, channels, samples]`` or a clip ``[batch, channels, frames, height,
width]``: pieces are cut along dimension 2, and what lies behind it is there as a whole.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from vqkit.errors import StreamingError

__all__ = [
    "ChainStream",
    "PointwiseStream",
    "ResidualStream",
    "Span",
    "SteppedStream",
    "Stream",
    "joined",
    "no_positions",
]

Span = tuple[float, float]
"""First and last position; a layer that remembers all begins at minus infinity."""


class Stream(ABC):
    """A layer and what it keeps of one signal, or of a batch of signals in step.

    What ``push`` and ``finish`` return, joined, is what the layer makes of the joined pieces in one
    call, however they were cut, up to the rounding of kernels that are chosen by the shape.
    """

    @abstractmethod
    def push(self, x: Tensor) -> Tensor:
        """Take the next ``[batch, channels, positions, *size]``, give what is determined by now."""

    @abstractmethod
    def finish(self) -> Tensor:
        """Give the rest, the padding of the end in it. At least one position was pushed before."""

    @abstractmethod
    def span(self, first: float, last: float) -> Span:
        """The first and the last input that outputs ``first`` to ``last`` depend on."""

    def inputs_for(self, num_outputs: int) -> int:
        """How many inputs must be there until so many outputs are."""
        return int(self.span(0, num_outputs - 1)[1]) + 1

    @abstractmethod
    def restart(self, rows: Tensor) -> None:
        """Forget the signals of these rows of the batch, a mask, and begin others there.

        Raises:
            StreamingError: The layer looks ahead, so that the rows' last signals are not out yet.
        """


class PointwiseStream(Stream):
    """A function that takes every position alone."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self._function = function
        self._empty: Tensor | None = None

    def push(self, x: Tensor) -> Tensor:
        """See :meth:`Stream.push`."""
        if x.shape[2]:
            out = self._function(x)
            self._empty = out[:, :, :0].clone()
            return out
        if self._empty is None:
            self._empty = no_positions(self._function, x, 1)
        return self._empty

    def finish(self) -> Tensor:
        """See :meth:`Stream.finish`."""
        assert self._empty is not None
        return self._empty

    def span(self, first: float, last: float) -> Span:
        """See :meth:`Stream.span`."""
        return first, last

    def restart(self, rows: Tensor) -> None:
        """Nothing is kept."""


class ChainStream(Stream):
    """Layers one after another.

    Args:
        streams: At least one, in order.
    """

    def __init__(self, streams: Sequence[Stream]) -> None:
        self._streams = tuple(streams)

    def push(self, x: Tensor) -> Tensor:
        """See :meth:`Stream.push`."""
        for stream in self._streams:
            x = stream.push(x)
        return x

    def finish(self) -> Tensor:
        """See :meth:`Stream.finish`."""
        rest = self._streams[0].finish()
        for stream in self._streams[1:]:
            rest = torch.cat([stream.push(rest), stream.finish()], dim=2)
        return rest

    def span(self, first: float, last: float) -> Span:
        """See :meth:`Stream.span`."""
        for stream in reversed(self._streams):
            first, last = stream.span(first, last)
        return first, last

    def inputs_for(self, num_outputs: int) -> int:
        """See :meth:`Stream.inputs_for`."""
        for stream in reversed(self._streams):
            num_outputs = stream.inputs_for(num_outputs)
        return num_outputs

    def restart(self, rows: Tensor) -> None:
        """See :meth:`Stream.restart`."""
        for stream in self._streams:
            stream.restart(rows)


class ResidualStream(Stream):
    """The sum of two ways from the same input; the faster one waits for the other."""

    def __init__(self, first: Stream, second: Stream) -> None:
        self._ways = (first, second)
        self._waiting: list[Tensor | None] = [None, None]

    def push(self, x: Tensor) -> Tensor:
        """See :meth:`Stream.push`."""
        return self._sum([way.push(x) for way in self._ways])

    def finish(self) -> Tensor:
        """See :meth:`Stream.finish`."""
        return self._sum([way.finish() for way in self._ways])

    def _sum(self, news: list[Tensor]) -> Tensor:
        found = [joined(kept, new) for kept, new in zip(self._waiting, news, strict=True)]
        ready = min(x.shape[2] for x in found)
        self._waiting = [x[:, :, ready:].clone() for x in found]
        return found[0][:, :, :ready] + found[1][:, :, :ready]

    def span(self, first: float, last: float) -> Span:
        """See :meth:`Stream.span`."""
        spans = [way.span(first, last) for way in self._ways]
        return min(span[0] for span in spans), max(span[1] for span in spans)

    def inputs_for(self, num_outputs: int) -> int:
        """See :meth:`Stream.inputs_for`."""
        return max(way.inputs_for(num_outputs) for way in self._ways)

    def restart(self, rows: Tensor) -> None:
        """See :meth:`Stream.restart`."""
        for way in self._ways:
            way.restart(rows)


class SteppedStream(Stream):
    """A stream that is given steps of one length, however its own pieces are cut.

    Kernels are chosen by the shape of what they work on and differ in the last bit. Here they meet
    the same shapes for every cut, so that the outputs are equal bit for bit: those of a clip in one
    piece and those of the same clip in any pieces.

    Args:
        stream: Of the network.
        step: Positions in a step.
        first: Positions of the first step: 1 where the first frame stands alone.

    Example:
        >>> stream = SteppedStream(PointwiseStream(torch.tanh), step=4, first=1)
        >>> [stream.push(torch.zeros(1, 1, n)).shape[2] for n in (3, 3)], stream.finish().shape[2]
        ([1, 4], 1)
    """

    def __init__(self, stream: Stream, step: int, first: int | None = None) -> None:
        self._stream = stream
        self._step = step
        self._first = step if first is None else first
        self._num_due = self._first
        self._held: Tensor | None = None

    def push(self, x: Tensor) -> Tensor:
        """See :meth:`Stream.push`."""
        held = joined(self._held, x)
        parts = []
        while held.shape[2] >= self._num_due:
            step = held[:, :, : self._num_due].clone(memory_format=torch.contiguous_format)
            parts.append(self._stream.push(step))
            held = held[:, :, self._num_due :]
            self._num_due = self._step
        self._held = held.clone()
        return torch.cat(parts, dim=2) if parts else self._stream.push(x[:, :, :0])

    def finish(self) -> Tensor:
        """See :meth:`Stream.finish`."""
        assert self._held is not None
        rest = [self._stream.push(self._held.contiguous())] if self._held.shape[2] else []
        return torch.cat([*rest, self._stream.finish()], dim=2)

    def span(self, first: float, last: float) -> Span:
        """See :meth:`Stream.span`."""
        return self._stream.span(first, last)

    def inputs_for(self, num_outputs: int) -> int:
        """See :meth:`Stream.inputs_for`."""
        needed = self._stream.inputs_for(num_outputs)
        return self._first + -(-max(0, needed - self._first) // self._step) * self._step

    def restart(self, rows: Tensor) -> None:
        """See :meth:`Stream.restart`.

        Raises:
            StreamingError: A step is not whole, or the first one is another than the rest.
        """
        if self._first != self._step or (self._held is not None and self._held.shape[2]):
            raise StreamingError(
                f"Restart of some rows: expected whole steps of {self._step} positions pushed "
                "before, and a first one like the others. Open a stream of its own for each signal."
            )
        self._stream.restart(rows)


def joined(held: Tensor | None, x: Tensor) -> Tensor:
    """What was held and what came, without a copy where one of them is empty.

    A copy could lie in another order in memory, and kernels that are chosen by it round otherwise.
    """
    if held is None or not held.shape[2]:
        return x
    return torch.cat([held, x], dim=2) if x.shape[2] else held


def no_positions(function: Callable[[Tensor], Tensor], x: Tensor, num_positions: int) -> Tensor:
    """What a function gives of such input, of no positions: found out with some of zeros.

    Args:
        function: Of ``[batch, channels, positions, *size]``.
        x: Such input, of any positions.
        num_positions: That the function takes.
    """
    return function(x.new_zeros(*x.shape[:2], num_positions, *x.shape[3:]))[:, :, :0].clone()
