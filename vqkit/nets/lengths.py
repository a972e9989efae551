"""Items of different lengths in one batch of a network over time, each as it would be alone.

A batch is padded to its longest item. What a layer sees beyond the end of a shorter one must be
what its own padding puts there for that item by itself: zeros, or a reflection of that item's end.
Layers write it where they look, a few samples at each end, and nothing else in the padding matters.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.errors import ShapeError
from vqkit.nets.signal_padding import Padding
from vqkit.shapes import Bool, Int

__all__ = ["LayerSequence", "Lengths", "TimeLayer", "through"]


@dataclass(frozen=True, eq=False)
class Lengths:
    """How much of each item of a batch is there.

    Args:
        values: Samples or frames of each item, at least 1; on the CPU, where nobody waits to know
            which places they concern.
        longest: The largest of them or more: what the batch is padded to.
    """

    values: Int[Tensor, " batch"]
    longest: int

    @staticmethod
    def of(lengths: Int[Tensor, " batch"] | None, x: Tensor) -> "Lengths | None":
        """Lengths of the items of ``x [batch, channels, samples]``; None where all are whole.

        Raises:
            ShapeError: Not one for each item, or outside 1 to the samples there are.
        """
        if lengths is None:
            return None
        values = lengths.cpu()
        batch, samples = x.shape[0], x.shape[-1]
        if len(values) != batch or not bool(((values >= 1) & (values <= samples)).all()):
            raise ShapeError(
                f"Lengths of a batch: expected {batch} of 1 to {samples}, got {values.tolist()}."
            )
        return None if bool((values == samples).all()) else Lengths(values, samples)

    def strided(self, stride: int) -> "Lengths":
        """In frames of ``stride``, the last one perhaps in part."""
        return Lengths((self.values + stride - 1) // stride, -(-self.longest // stride))

    def scaled(self, factor: int, offset: int = 0) -> "Lengths":
        """``factor`` times as long, and ``offset`` more."""
        return Lengths(self.values * factor + offset, self.longest * factor + offset)

    def mask(self) -> Bool[Tensor, "batch longest"]:
        """Where items are."""
        return torch.arange(self.longest) < self.values[:, None]

    def alone(self, x: Tensor) -> Tensor:
        """A copy of ``x`` with zeros after each end."""
        return x.masked_fill(~self.mask().to(x.device)[:, None], 0.0)

    def silence(self, x: Tensor, reach: int) -> Tensor:
        """Zeros in the first ``reach`` places after each end.

        They are written into ``x`` itself, which must be the caller's own: what lies there is of no
        use to anybody. Where a gradient is to pass, they are written into a copy.
        """
        item, place = self._beyond(reach, x.shape[-1])
        out = x.clone() if torch.is_grad_enabled() and x.requires_grad else x
        out[item.to(x.device), :, place.to(x.device)] = 0.0
        return out

    def padded(self, x: Tensor, left: int, right: int, stride: int, padding: Padding) -> Tensor:
        """Each item with its padding, and on the right what makes its last frame whole.

        Args:
            x: ``[batch, channels, longest]``.
            left: Samples before every item.
            right: Samples after every item.
            stride: Of the frames that items are filled up to on the right, besides.
            padding: What lies beyond the ends.
        """
        most = right + -self.longest % stride
        out = F.pad(x, (left, most))
        item, place = self._beyond(right + stride - 1, self.longest + most)
        if padding == "zero":
            out[item.to(x.device), :, (place + left).to(x.device)] = 0.0
            return out
        before = torch.arange(-left, 0)
        item = torch.cat([torch.arange(len(x)).repeat_interleave(left), item])
        place = torch.cat([before.repeat(len(x)), place])
        length = self.values[item]
        if padding == "replicate":
            source = place.clamp(min=0).minimum(length - 1)
        else:
            # Alone, an item too short to be reflected is made longer with zeros first.
            longer = length.maximum((right + -length % stride).clamp(min=left) + 1)
            source = torch.where(place < longer, place.abs(), 2 * (longer - 1) - place)
        is_there = ((source >= 0) & (source < length)).to(x.device)
        item = item.to(x.device)
        values = x[item, :, source.clamp(min=0).minimum(length - 1).to(x.device)]
        out[item, :, (place + left).to(x.device)] = values.masked_fill(~is_there[:, None], 0.0)
        return out

    def _beyond(self, reach: int, size: int) -> tuple[Tensor, Tensor]:
        """The first ``reach`` places after each end, below ``size``: numbers of items, places."""
        place = self.values[:, None] + torch.arange(reach)
        item, number = (place < size).nonzero(as_tuple=True)
        return item, place[item, number]


class TimeLayer(nn.Module):
    """A layer that must know where items end, or that changes where they do.

    ``forward(x, lengths)`` takes ``lengths=None`` for items that are all as long as the batch.
    """

    def lengths_after(self, lengths: Lengths) -> Lengths:
        """Lengths of its output."""
        return lengths


class LayerSequence(nn.Sequential, TimeLayer):
    """Layers one after the other, of which some may be a :class:`TimeLayer`."""

    def forward(self, x: Tensor, lengths: Lengths | None = None) -> Tensor:
        """Of any shape that its first layer takes."""
        for layer in self:
            x = through(layer, x, lengths)
            lengths = None if lengths is None else _after(layer, lengths)
        return x

    def lengths_after(self, lengths: Lengths) -> Lengths:
        """Lengths after the last of them."""
        for layer in self:
            lengths = _after(layer, lengths)
        return lengths


def through(layer: nn.Module, x: Tensor, lengths: Lengths | None) -> Tensor:
    """The output of a layer, which is told of the lengths if it wants to know."""
    out: Tensor = (
        layer(x) if lengths is None or not isinstance(layer, TimeLayer) else layer(x, lengths)
    )
    return out


def _after(layer: nn.Module, lengths: Lengths) -> Lengths:
    return layer.lengths_after(lengths) if isinstance(layer, TimeLayer) else lengths
