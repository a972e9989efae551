"""Layers that change how many positions there are, over a signal that comes in pieces."""

from collections.abc import Callable

import torch
from torch import Tensor

from vqkit.errors import StreamingError
from vqkit.nets.stream import PointwiseStream, Span, Stream

__all__ = ["CutStream", "ExpandStream", "RepeatFirstStream"]


class ExpandStream(PointwiseStream):
    """A function that makes several positions of every one, of it alone.

    Args:
        function: Of ``[batch, channels, positions, *size]``.
        factor: Positions that it makes of one.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], factor: int) -> None:
        super().__init__(function)
        self._factor = factor

    def span(self, first: float, last: float) -> Span:
        """See :meth:`Stream.span`."""
        return first // self._factor, last // self._factor


class RepeatFirstStream(Stream):
    """The first position so many times more, and then the signal.

    Args:
        count: Positions in front.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._begun = False
        self._empty: Tensor | None = None

    def push(self, x: Tensor) -> Tensor:
        """See :meth:`Stream.push`."""
        self._empty = x[:, :, :0].clone()
        if self._begun or not x.shape[2]:
            return x
        self._begun = True
        return torch.cat([x[:, :, :1]] * self._count + [x], dim=2)

    def finish(self) -> Tensor:
        """See :meth:`Stream.finish`."""
        assert self._empty is not None
        return self._empty

    def span(self, first: float, last: float) -> Span:
        """See :meth:`Stream.span`."""
        return max(0, first - self._count), max(0, last - self._count)

    def restart(self, rows: Tensor) -> None:
        """See :meth:`Stream.restart`."""
        if self._begun and self._count:
            raise _out_of_step()


class CutStream(Stream):
    """The signal without its first positions.

    Args:
        count: How many.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._left = count
        self._empty: Tensor | None = None

    def push(self, x: Tensor) -> Tensor:
        """See :meth:`Stream.push`."""
        self._empty = x[:, :, :0].clone()
        cut = min(self._left, x.shape[2])
        self._left -= cut
        return x[:, :, cut:]

    def finish(self) -> Tensor:
        """See :meth:`Stream.finish`."""
        assert self._empty is not None
        return self._empty

    def span(self, first: float, last: float) -> Span:
        """See :meth:`Stream.span`."""
        return first + self._count, last + self._count

    def restart(self, rows: Tensor) -> None:
        """See :meth:`Stream.restart`."""
        if self._left < self._count:
            raise _out_of_step()


def _out_of_step() -> StreamingError:
    return StreamingError(
        "Restart of some rows: expected a signal that can begin anywhere, got a network whose "
        "first frame stands alone: the rows would be out of step. Open a stream of its own for "
        "each clip."
    )
