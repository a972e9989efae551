"""A small causal encoder and decoder of clips that train in minutes on a CPU.

Nothing runs at the rate or the resolution of the media: blocks of frames and pixels become
frequencies, and the work is done at the latents' rate, by 3x3 convolutions within a frame and
short causal ones between frames. No statistic is taken over frames, pixels or the batch, so that a
latent depends on its neighbourhood alone: a clip in pieces and a picture in tiles are what the
whole is.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from vqkit.errors import ConfigError
from vqkit.nets.clip_conv import ClipConv
from vqkit.nets.clip_layers import FrameLayer, RootMeanSquare
from vqkit.nets.clip_network import ClipDecoder, ClipEncoder
from vqkit.nets.clip_patches import (
    ChannelsToSpace,
    ClipPatches,
    ClipUnpatches,
    SpaceToChannels,
    cosine_basis,
)
from vqkit.nets.stream import ChainStream, PointwiseStream, ResidualStream, Stream
from vqkit.nets.streaming import open_stream
from vqkit.shapes import Float

__all__ = ["LightVideoDecoder", "LightVideoEncoder"]

_TIME_KERNEL = 2
_INITIAL_BRANCH_GAIN = 0.1
_LATENT_GAIN = 2.0


class _Block(nn.Module):
    """``x + gain * conv_time(SiLU(conv_space(x / rms(x))))``, the root mean square over channels.

    Branches start small, so that the network is nearly linear at first (as in
    :mod:`vqkit.nets.fast`).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            RootMeanSquare(),
            ClipConv(width, width, (1, 3, 3)),
            nn.SiLU(),
            ClipConv(width, width, (_TIME_KERNEL, 1, 1)),
        )
        self.gain = nn.Parameter(torch.full((width, 1, 1, 1), _INITIAL_BRANCH_GAIN))

    def forward(
        self, x: Float[Tensor, "batch dim frames height width"]
    ) -> Float[Tensor, "batch dim frames height width"]:
        """Same shape."""
        return x + self._scaled(self.branch(x))

    def stream(self) -> Stream:
        """Begin a clip."""
        branch = ChainStream([open_stream(self.branch), PointwiseStream(self._scaled)])
        return ResidualStream(PointwiseStream(nn.Identity()), branch)

    def _scaled(self, branch: Tensor) -> Tensor:
        return self.gain * branch


class _Bound(FrameLayer):
    """``x / sqrt(1 + mean(x^2))`` over channels: linear near zero, length bounded far from it."""

    def forward(
        self, x: Float[Tensor, "batch dim frames height width"]
    ) -> Float[Tensor, "batch dim frames height width"]:
        """Same shape."""
        return x * torch.rsqrt(1.0 + x.square().mean(dim=1, keepdim=True))


class LightVideoEncoder(ClipEncoder):
    """Clip to latents: cosine transform of blocks, then residual blocks per resolution.

    vqkit's own. Latents of natural clips have a deviation of about a half at first: spread over the
    levels of FSQ, and far from the flat parts of its bound.

    Args:
        in_channels: Channels of the media, in [-1, 1].
        dim: Features of one latent vector, what the quantizer takes.
        frames: Frames of the blocks that the first layer transforms: the stride in time.
        patch: Rows and columns of these.
        widths: Channels per resolution, from ``1 / patch`` downwards by halves; the stride in space
            is ``patch * 2 ** (len(widths) - 1)``.
        num_blocks: Residual blocks per resolution.

    Raises:
        ConfigError: If ``widths`` and ``num_blocks`` do not match or hold impossible values.

    Example:
        >>> encoder = LightVideoEncoder(dim=5, widths=[8, 16], num_blocks=[1, 1])
        >>> encoder.stride
        (4, 8, 8)
        >>> encoder(torch.zeros(1, 3, 9, 32, 48)).shape
        torch.Size([1, 5, 3, 4, 6])
    """

    def __init__(
        self,
        in_channels: int = 3,
        dim: int = 6,
        frames: int = 4,
        patch: int = 4,
        widths: Sequence[int] = (64, 160),
        num_blocks: Sequence[int] = (1, 4),
    ) -> None:
        super().__init__()
        _check(frames, patch, widths, num_blocks)
        self.in_channels = in_channels
        self.dim = dim
        self.frames = frames
        self.patch = patch
        self.widths = tuple(widths)
        self.num_blocks = tuple(num_blocks)
        self.stride = _stride(frames, patch, widths)

        block = (frames, patch, patch)
        self.patches = ClipPatches(block, cosine_basis(in_channels, block)[0])
        stages: list[nn.Module] = []
        width = in_channels * frames * patch**2
        for level, (out_width, count) in enumerate(zip(widths, num_blocks, strict=True)):
            if level:
                stages.append(SpaceToChannels())
                width *= 4
            stages.append(_linear(width, out_width))
            stages += [_Block(out_width) for _ in range(count)]
            width = out_width
        self.stages = nn.Sequential(*stages)
        self.bound = _Bound()
        self.head = _linear(width, dim, gain=_LATENT_GAIN)

    def layers(self) -> Iterator[nn.Module]:
        """In the order in which they work."""
        yield from (self.patches, *self.stages, self.bound, self.head)


class LightVideoDecoder(ClipDecoder):
    """Latents to clip: the mirror of :class:`LightVideoEncoder`, with blocks of its own number.

    The output is not bounded to [-1, 1].

    Args:
        out_channels: Channels of the media.
        dim: Features of one latent vector, what the quantizer gives.
        frames: As in the encoder.
        patch: As in the encoder.
        widths: As in the encoder, in the same order: the latent grid's is the last.
        num_blocks: Residual blocks per resolution, in the same order.

    Raises:
        ConfigError: If ``widths`` and ``num_blocks`` do not match or hold impossible values.

    Example:
        >>> decoder = LightVideoDecoder(dim=5, widths=[8, 16], num_blocks=[1, 1])
        >>> decoder(torch.zeros(1, 5, 3, 4, 6)).shape
        torch.Size([1, 3, 9, 32, 48])
    """

    def __init__(
        self,
        out_channels: int = 3,
        dim: int = 6,
        frames: int = 4,
        patch: int = 4,
        widths: Sequence[int] = (64, 160),
        num_blocks: Sequence[int] = (1, 5),
    ) -> None:
        super().__init__()
        _check(frames, patch, widths, num_blocks)
        self.out_channels = out_channels
        self.dim = dim
        self.frames = frames
        self.patch = patch
        self.widths = tuple(widths)
        self.num_blocks = tuple(num_blocks)
        self.stride = _stride(frames, patch, widths)

        stages: list[nn.Module] = [_linear(dim, widths[-1])]
        for level in reversed(range(len(widths))):
            stages += [_Block(widths[level]) for _ in range(num_blocks[level])]
            if level:
                stages += [_linear(widths[level], 4 * widths[level - 1]), ChannelsToSpace()]
        self.stages = nn.Sequential(*stages)
        block = (frames, patch, patch)
        self.head = _linear(widths[0], out_channels * frames * patch**2)
        self.unpatches = ClipUnpatches(block, cosine_basis(out_channels, block)[1])

    @property
    def last_layer(self) -> Tensor:
        """Weight of the last layer that learns, where the adaptive weight is measured."""
        return self.head.weight

    def layers(self) -> Iterator[nn.Module]:
        """In the order in which they work."""
        yield from (*self.stages, self.head, self.unpatches)


def _linear(in_width: int, out_width: int, gain: float = 1.0) -> ClipConv:
    """A 1x1x1 convolution whose output has ``gain`` times the deviation of its input at first."""
    layer = ClipConv(in_width, out_width, 1)
    nn.init.normal_(layer.weight, std=gain * in_width**-0.5)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def _check(frames: int, patch: int, widths: Sequence[int], num_blocks: Sequence[int]) -> None:
    if not widths or len(widths) != len(num_blocks):
        raise ConfigError(
            f"Light video network: expected one entry of num_blocks per entry of widths, got "
            f"{list(num_blocks)} for {list(widths)}."
        )
    if min(frames, patch, *widths) < 1 or min(num_blocks) < 0:
        raise ConfigError(
            f"Light video network: expected frames, patch and widths >= 1 and num_blocks >= 0, got "
            f"{frames}, {patch}, {list(widths)}, {list(num_blocks)}."
        )


def _stride(frames: int, patch: int, widths: Sequence[int]) -> tuple[int, int, int]:
    side = patch * 2 ** (len(widths) - 1)
    return frames, side, side
