"""Attention over time at every place of a clip, causal, to a window of frames."""

from torch import Tensor, nn

from vqkit.nets.causal_transformer import CausalTransformer
from vqkit.nets.stream import Span, Stream
from vqkit.shapes import Float

__all__ = ["TimeTransformer"]


class TimeTransformer(nn.Module):
    """A :class:`CausalTransformer` over the frames of each place by itself.

    Over a clip in pieces it keeps the keys and values of a window of frames.

    Args:
        transformer: Of frames.
    """

    def __init__(self, transformer: CausalTransformer) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(
        self, x: Float[Tensor, "batch dim frames height width"]
    ) -> Float[Tensor, "batch dim frames height width"]:
        """Same shape."""
        return _of_clips(self.transformer(_of_places(x)), x)

    def stream(self) -> Stream:
        """Begin a clip."""
        return _PlaceStream(self.transformer.stream())


class _PlaceStream(Stream):
    """The places of a clip as so many signals."""

    def __init__(self, transformer: Stream) -> None:
        self._transformer = transformer
        self._empty: Tensor | None = None

    def push(self, x: Tensor) -> Tensor:
        self._empty = x[:, :, :0].clone()
        if not x.shape[2]:
            return self._empty
        return _of_clips(self._transformer.push(_of_places(x)), x)

    def finish(self) -> Tensor:
        assert self._empty is not None
        return self._empty

    def span(self, first: float, last: float) -> Span:
        return self._transformer.span(first, last)

    def restart(self, rows: Tensor) -> None:
        assert self._empty is not None
        height, width = self._empty.shape[3:]
        self._transformer.restart(rows.repeat_interleave(height * width))


def _of_places(x: Tensor) -> Tensor:
    """``[batch * height * width, dim, frames]``."""
    return x.movedim((3, 4), (1, 2)).flatten(0, 2)


def _of_clips(places: Tensor, like: Tensor) -> Tensor:
    batch, _, _, height, width = like.shape
    # Moved in memory as well: what follows wants the channels last.
    parted = places.unflatten(0, (batch, height, width)).permute(0, 4, 1, 2, 3).contiguous()
    return parted.movedim(-1, 1)
