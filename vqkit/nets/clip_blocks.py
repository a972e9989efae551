"""Blocks of networks over clips: residual block, attention within a frame, resampling of space."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.nets.clip_conv import ClipConv
from vqkit.nets.clip_layers import FrameLayer, per_frame
from vqkit.nets.rate_stream import ExpandStream
from vqkit.nets.residual_sum import residual_sum
from vqkit.nets.stream import ChainStream, ResidualStream, Stream
from vqkit.nets.streaming import open_stream
from vqkit.shapes import Float

__all__ = [
    "ClipResidualBlock",
    "RepeatFrames",
    "SpaceAttention",
    "SpaceDownsample",
    "SpaceUpsample",
]


class ClipResidualBlock(nn.Module):
    """Twice (normalise, SiLU, convolution), added to the input (Esser et al. 2021).

    A change of width puts a 1x1x1 convolution (``nin_shortcut``) on the shortcut.

    Args:
        in_width: Channels of the input.
        out_width: Channels of the output.
        conv: Makes a convolution of one width to another.
        norm: Makes a norm of a width.
        dropout: Before the second convolution.
    """

    def __init__(
        self,
        in_width: int,
        out_width: int,
        conv: Callable[[int, int], nn.Module],
        norm: Callable[[int], nn.Module],
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm1 = norm(in_width)
        self.conv1 = conv(in_width, out_width)
        self.norm2 = norm(out_width)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = conv(out_width, out_width)
        self.nin_shortcut = (
            nn.Identity() if in_width == out_width else ClipConv(in_width, out_width, 1)
        )

    def forward(
        self, x: Float[Tensor, "batch in_width frames height width"]
    ) -> Float[Tensor, "batch out_width frames height width"]:
        """Same grid, ``out_width`` channels."""
        hidden = self.conv1(_silu(self.norm1(x)))
        hidden = self.conv2(self.dropout(_silu(self.norm2(hidden))))
        return residual_sum(self.nin_shortcut(x), hidden)

    def stream(self) -> Stream:
        """Begin a clip."""
        layers = (self.norm1, nn.SiLU(), self.conv1, self.norm2, nn.SiLU(), self.conv2)
        branch = ChainStream([open_stream(layer) for layer in layers])
        return ResidualStream(open_stream(self.nin_shortcut), branch)


class SpaceAttention(FrameLayer):
    """Single-head self-attention over all positions of each frame, added to the input.

    Args:
        width: Channels.
        norm: Makes a norm of a width.
    """

    def __init__(self, width: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.norm = norm(width)
        self.q = ClipConv(width, width, 1)
        self.k = ClipConv(width, width, 1)
        self.v = ClipConv(width, width, 1)
        self.proj_out = ClipConv(width, width, 1)

    def forward(
        self, x: Float[Tensor, "batch dim frames height width"]
    ) -> Float[Tensor, "batch dim frames height width"]:
        """Same shape."""
        normalised = self.norm(x)
        # [batch, frames, positions, dim]: a frame is to the kernel what else is a head.
        query, key, value = (
            projection(normalised).movedim(1, -1).flatten(2, 3)
            for projection in (self.q, self.k, self.v)
        )
        mixed = F.scaled_dot_product_attention(query, key, value)
        mixed = mixed.unflatten(2, x.shape[3:]).movedim(-1, 1)
        return residual_sum(x, self.proj_out(mixed))


class SpaceDownsample(FrameLayer):
    """Halve height and width: zeros on the right and below, then a 3x3 convolution of stride 2."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = ClipConv(width, width, (1, 3, 3), stride=(1, 2, 2))

    def forward(
        self, x: Float[Tensor, "batch dim frames height width"]
    ) -> Float[Tensor, "batch dim frames half_height half_width"]:
        """Half the height and the width, which are even."""
        return self.conv(x)


class SpaceUpsample(FrameLayer):
    """Double height and width: repeat each position 2x2, then a 3x3 convolution.

    Where no gradient is asked for, nothing is repeated: the three taps fall on two positions of the
    smaller picture, which leaves four sets of 2x2 taps, one for each of the four new positions.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = ClipConv(width, width, (1, 3, 3))

    def forward(
        self, x: Float[Tensor, "batch dim frames height width"]
    ) -> Float[Tensor, "batch dim frames double_height double_width"]:
        """Twice the height and the width."""
        if torch.is_grad_enabled():
            return per_frame(self._plain, x)
        return per_frame(self._folded, x)

    def _plain(self, x: Tensor) -> Tensor:
        weight, bias = self.conv.taps()
        doubled = F.interpolate(x, scale_factor=2.0, mode="nearest")
        return F.conv2d(doubled, weight[:, :, 0], bias, padding=1)

    def _folded(self, x: Tensor) -> Tensor:
        weight, bias = self.conv.taps()
        height, width = x.shape[2:]
        rows = x.new_empty(len(x), 2 * height, 2 * width, len(weight))
        out = rows.movedim(-1, 1)
        for row, of_rows in enumerate(_halves(weight[:, :, 0], 2)):
            for column, taps in enumerate(_halves(of_rows, 3)):
                # One row and one column more than there are: the first or the last is another's.
                part = F.conv2d(x, taps, bias, padding=1)
                part = part[:, :, row : row + height, column : column + width]
                out[:, :, row::2, column::2] = part
        return out


class RepeatFrames(nn.Module):
    """Each frame so many times."""

    def __init__(self, factor: int = 2) -> None:
        super().__init__()
        self.factor = factor

    def forward(
        self, x: Float[Tensor, "batch dim frames height width"]
    ) -> Float[Tensor, "batch dim more_frames height width"]:
        """``factor`` times as many frames."""
        return x.movedim(1, -1).repeat_interleave(self.factor, dim=1).movedim(-1, 1)

    def stream(self) -> Stream:
        """Begin a clip."""
        return ExpandStream(self, self.factor)


def _halves(weight: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Three taps over doubled positions as two over the positions: for even and odd new ones."""
    first, second, third = weight.split(1, dim=dim)
    return torch.cat([first, second + third], dim), torch.cat([first + second, third], dim)


def _silu(x: Tensor) -> Tensor:
    """In the memory of a norm's output, where no gradient is asked for."""
    return F.silu(x, inplace=not torch.is_grad_enabled())
