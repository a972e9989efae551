"""Layers over clips ``[batch, channels, frames, height, width]``, in pieces as well.

Features lie in memory with the channels last, whatever the order of the axes says: norms over
channels, convolutions over time alone and attention then work on rows, without moving anything.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from vqkit.errors import ConfigError
from vqkit.nets.stream import PointwiseStream, Stream
from vqkit.shapes import Float

__all__ = [
    "ChannelNorm",
    "FrameGroupNorm",
    "FrameLayer",
    "RootMeanSquare",
    "channels_last",
    "per_frame",
    "size_of_three",
]


def channels_last(x: Tensor) -> Tensor:
    """The same clip with its channels last in memory."""
    return x.contiguous(memory_format=torch.channels_last_3d)


def per_frame(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """A function of pictures ``[items, channels, height, width]``, of each frame."""
    frames = x.movedim(2, 1)
    out = function(frames.flatten(0, 1))
    return out.unflatten(0, frames.shape[:2]).movedim(1, 2)


def size_of_three(size: int | Sequence[int], what: str) -> tuple[int, int, int]:
    """Frames, rows and columns, of one number or of three.

    Raises:
        ConfigError: Not three, or below 1.
    """
    sizes = (size,) * 3 if isinstance(size, int) else tuple(size)
    if len(sizes) != 3 or min(sizes) < 1:
        raise ConfigError(
            f"{what}: expected one number or three (frames, rows, columns) of at least 1, got "
            f"{size}."
        )
    return sizes


class FrameLayer(nn.Module):
    """A layer that takes each frame alone."""

    def stream(self) -> Stream:
        """Begin a clip."""
        return PointwiseStream(self)


class ChannelNorm(nn.LayerNorm, FrameLayer):
    """Layer normalisation of the features of every position, eps 1e-6 (Ba et al. 2016).

    Args:
        width: Channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, eps=1e-6)

    def forward(
        self, x: Float[Tensor, "batch dim frames height width"]
    ) -> Float[Tensor, "batch dim frames height width"]:
        """Same shape."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class FrameGroupNorm(nn.GroupNorm, FrameLayer):
    """Group normalisation of every frame by itself, eps 1e-6 (Wu & He 2018).

    Over all frames at once, as most published video networks have it, a frame would depend on those
    that come after it, and a clip in pieces would be another than the whole.

    Args:
        width: Channels, which the groups divide.
        num_groups: Groups.

    Raises:
        ConfigError: The groups do not divide the width.
    """

    def __init__(self, width: int, num_groups: int = 32) -> None:
        if width % num_groups:
            raise ConfigError(
                f"Group normalisation: expected a width that {num_groups} divides, got {width}. "
                "Choose base_width so that each level's base_width * multiplier is such a multiple."
            )
        super().__init__(num_groups, width, eps=1e-6)

    def forward(
        self, x: Float[Tensor, "batch dim frames height width"]
    ) -> Float[Tensor, "batch dim frames height width"]:
        """Same shape."""
        return per_frame(self._normalised, x)

    def _normalised(self, x: Tensor) -> Tensor:
        # Takes groups of a single value too, where PyTorch's module raises.
        return torch.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)


class RootMeanSquare(FrameLayer):
    """``x / rms(x)`` over the channels of every position; nothing is learned."""

    def forward(
        self, x: Float[Tensor, "batch dim frames height width"]
    ) -> Float[Tensor, "batch dim frames height width"]:
        """Same shape."""
        return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-6)
