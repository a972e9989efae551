"""How VidTok halves and doubles time."""

import torch
from torch import Tensor

from vqkit.errors import StreamingError
from vqkit.nets.clip_conv import BlendConv
from vqkit.nets.rate_stream import ExpandStream
from vqkit.nets.stream import ChainStream, Span, Stream
from vqkit.shapes import Float

__all__ = ["TimeDownsample", "TimeUpsample"]


class TimeDownsample(BlendConv):
    """Halve time: a learned blend of the mean of three frames and a convolution over them.

    Args:
        width: Channels.
        causal: Whether the three are a pair and the frame before it, or the frame behind it.
    """

    def __init__(self, width: int, causal: bool) -> None:
        super().__init__(width, [1 / 3] * 3, causal=causal, stride=2)


class TimeUpsample(BlendConv):
    """Double time, then a learned blend of the frames and a convolution over three of them.

    The causal networks of the release interpolate, which looks half a frame ahead: the later one of
    two new frames has a quarter of the next old one in it. The frames that the first latent frame
    has become are interpolated apart from the rest, so that it stands alone nevertheless. The other
    networks repeat each frame.

    Args:
        width: Channels.
        causal: Which kind.
        num_first: Frames that the first latent frame has become.
    """

    def __init__(self, width: int, causal: bool, num_first: int = 1) -> None:
        fixed = [0.0, 0.0, 1.0] if causal else [0.0, 1.0, 0.0]
        super().__init__(width, fixed, causal=causal)
        self.num_first = num_first

    def forward(
        self, x: Float[Tensor, "batch dim frames height width"]
    ) -> Float[Tensor, "batch dim double_frames height width"]:
        """Twice the frames."""
        if not self.causal:
            return super().forward(_repeated(x))
        parts = [x[:, :, : self.num_first], x[:, :, self.num_first :]]
        doubled = [_interpolated(part, None, part[:, :, -1:]) for part in parts if part.shape[2]]
        return super().forward(torch.cat(doubled, dim=2))

    def stream(self) -> Stream:
        """Begin a clip."""
        doubling = _Interpolation(self.num_first) if self.causal else ExpandStream(_repeated, 2)
        return ChainStream([doubling, super().stream()])


class _Interpolation(Stream):
    """Keeps the last frame: what follows it decides on the later one of its two."""

    def __init__(self, num_first: int) -> None:
        self._num_first = num_first
        self._num_inputs = 0
        self._last: Tensor | None = None

    def push(self, x: Tensor) -> Tensor:
        missing = max(0, self._num_first - self._num_inputs)
        parts = []
        for part, begins in ((x[:, :, :missing], 0), (x[:, :, missing:], self._num_first)):
            if part.shape[2]:
                if self._num_inputs == begins:
                    self._last = None
                self._num_inputs += part.shape[2]
                ends = self._num_inputs == self._num_first
                parts.append(_interpolated(part, self._last, part[:, :, -1:] if ends else None))
                self._last = part[:, :, -1:].clone()
        return torch.cat(parts, dim=2) if parts else x

    def finish(self) -> Tensor:
        assert self._last is not None
        if self._num_inputs == self._num_first:
            return self._last[:, :, :0]
        return _between(self._last, self._last)

    def span(self, first: float, last: float) -> Span:
        begin, end = first // 2, last // 2
        if first % 2 == 0 and begin not in (0, self._num_first):
            begin -= 1
        if last % 2 and end != self._num_first - 1:
            end += 1
        return begin, end

    def restart(self, rows: Tensor) -> None:
        if self._num_inputs:
            raise StreamingError(
                "Restart of some rows: expected layers that do not look ahead, got one that "
                "interpolates between frames. Open a stream of its own for each clip."
            )


def _interpolated(x: Tensor, before: Tensor | None, after: Tensor | None) -> Tensor:
    """Two of each frame, a quarter of a frame before it and behind it.

    Args:
        x: At least one frame.
        before: The frame before them, of which the later one of its two comes first; None at the
            beginning, where the first frame stands for it.
        after: The frame behind them; None leaves the last one of the two of the last frame out.
    """
    earlier = torch.cat([x[:, :, :1] if before is None else before, x[:, :, :-1]], dim=2)
    pairs = [_between(x, earlier)]
    later = x[:, :, 1:] if after is None else torch.cat([x[:, :, 1:], after], dim=2)
    num_whole = later.shape[2]
    pairs.append(_between(x[:, :, :num_whole], later))
    # In the order that clips have in memory, which stacking along an axis of theirs would change.
    rows = [pairs[0][:, :, :num_whole].movedim(1, -1), pairs[1].movedim(1, -1)]
    woven = torch.stack(rows, dim=2).flatten(1, 2).movedim(-1, 1)
    leading = [] if before is None else [_between(before, x[:, :, :1])]
    return torch.cat([*leading, woven, pairs[0][:, :, num_whole:]], dim=2)


def _between(near: Tensor, far: Tensor) -> Tensor:
    return 0.75 * near + 0.25 * far


def _repeated(x: Tensor) -> Tensor:
    return x.movedim(1, -1).repeat_interleave(2, dim=1).movedim(-1, 1)
