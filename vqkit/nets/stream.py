"""Networks at work on a signal that comes in pieces: each layer keeps what it will need again."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ["ChainStream", "PointwiseStream", "ResidualStream", "Span", "Stream"]

Span = tuple[float, float]
"""First and last position; a layer that remembers all begins at minus infinity."""


class Stream(ABC):
    """A layer and what it keeps of one signal, or of a batch of signals in step.

    What ``push`` and ``finish`` return, joined, is what the layer makes of the joined pieces in one
    call, however they were cut, up to the rounding of kernels that are chosen by the shape.
    """

    @abstractmethod
    def push(self, x: Tensor) -> Tensor:
        """Take the next ``[batch, channels, positions]``, give what is determined with them."""

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
        out = self._function(x)
        self._empty = out[..., :0].clone()
        return out

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
            rest = torch.cat([stream.push(rest), stream.finish()], dim=-1)
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
        found = [
            new if kept is None else torch.cat([kept, new], dim=-1)
            for kept, new in zip(self._waiting, news, strict=True)
        ]
        ready = min(x.shape[-1] for x in found)
        self._waiting = [x[..., ready:].clone() for x in found]
        return found[0][..., :ready] + found[1][..., :ready]

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
