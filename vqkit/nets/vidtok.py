"""VidTok: blocks of space and blocks of time by turns, causal or not (arXiv 2412.13061).

Submodules carry the names of the published checkpoints (``down_temporal.1.block.0.conv2``), except
that the weights of all convolutions are those of one module, ``[out, in, frames, rows, columns]``.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Literal, get_args

from torch import Tensor, nn

from vqkit.errors import ConfigError
from vqkit.nets.clip_blocks import (
    ClipResidualBlock,
    SpaceAttention,
    SpaceDownsample,
    SpaceUpsample,
)
from vqkit.nets.clip_conv import ClipConv
from vqkit.nets.clip_layers import ChannelNorm, FrameGroupNorm
from vqkit.nets.clip_network import ClipDecoder, ClipEncoder
from vqkit.nets.vidtok_blocks import TimeDownsample, TimeUpsample

__all__ = ["VidTokDecoder", "VidTokEncoder"]

Norm = Literal["layer", "group"]

_NORMS: dict[str, Callable[[int], nn.Module]] = {"layer": ChannelNorm, "group": FrameGroupNorm}


class _Level(nn.Module):
    """The blocks of one resolution, of space or of time."""

    def __init__(
        self, widths: Sequence[tuple[int, int]], block: Callable[[int, int], nn.Module]
    ) -> None:
        super().__init__()
        self.block = nn.ModuleList(block(*pair) for pair in widths)
        self.downsample: nn.Module | None = None
        self.upsample: nn.Module | None = None


class _Middle(nn.Module):
    """Residual block, attention within frames, residual block at the lowest resolution."""

    def __init__(self, width: int, blocks: "_Blocks") -> None:
        super().__init__()
        self.block_1 = blocks.volume(width, width)
        self.attn_1 = SpaceAttention(width, blocks.norm)
        self.block_2 = blocks.volume(width, width)


class _Blocks:
    """The three kinds of residual blocks of a network."""

    def __init__(self, causal: bool, norm: Norm, dropout: float) -> None:
        if norm not in get_args(Norm):
            raise ConfigError(f"VidTok: expected norm of {get_args(Norm)}, got {norm!r}.")
        self.norm = _NORMS[norm]
        self.conv = partial(ClipConv, causal=causal)
        self.space = self._of((1, 3, 3), dropout)
        self.time = self._of((3, 1, 1), dropout)
        self.volume = self._of((3, 3, 3), dropout)

    def _of(
        self, kernel: tuple[int, int, int], dropout: float
    ) -> Callable[[int, int], ClipResidualBlock]:
        conv = partial(self.conv, kernel=kernel)
        return partial(ClipResidualBlock, conv=conv, norm=self.norm, dropout=dropout)


def _stride(num_halvings_of_time: int, num_halvings_of_space: int) -> tuple[int, int, int]:
    side = 2**num_halvings_of_space
    return 2**num_halvings_of_time, side, side


def _check_levels(
    multipliers: Sequence[int], space: Sequence[int], time: Sequence[int], levels: range
) -> None:
    wrong = [level for level in space if level not in levels] or [
        level for level in time if level not in space
    ]
    if not multipliers or wrong:
        raise ConfigError(
            f"VidTok: expected multipliers, space_levels within {list(levels)} and time_levels "
            f"among these, got {list(multipliers)}, {list(space)}, {list(time)}."
        )


class VidTokEncoder(ClipEncoder):
    """Clip to latents: per level residual blocks of each frame and of each pixel's course in turn.

    VidTok (arXiv 2412.13061) and its code. A causal network looks at no later frame, takes ``1 + t
    k`` frames and streams; the other takes ``t k``, and streams too, looking ahead.

    Args:
        in_channels: Channels of the media, in [-1, 1].
        dim: Features of one latent vector.
        base_width: Channels at full resolution.
        multipliers: One level per entry, its width ``base_width * multiplier``.
        num_res_blocks: Residual blocks of space, and as many of time, per level.
        space_levels: Levels behind which height and width are halved; None: all but the last.
        time_levels: Those of them behind which time is halved as well; None: the two before the
            last level.
        causal: Whether a latent depends on no later frame.
        norm: ``"layer"``, over the channels of a position, is the released models'. ``"group"``,
            in 32 groups of channels over each frame, sees the whole frame.
        dropout: Within the residual blocks.

    Raises:
        ConfigError: Levels that are not there, or a norm that is not known.

    Example:
        >>> import torch
        >>> encoder = VidTokEncoder(dim=6, base_width=8, multipliers=[1, 2, 2, 2])
        >>> encoder.stride
        (4, 8, 8)
        >>> encoder(torch.zeros(1, 3, 17, 16, 24)).shape
        torch.Size([1, 6, 5, 2, 3])
    """

    def __init__(
        self,
        in_channels: int = 3,
        dim: int = 6,
        base_width: int = 128,
        multipliers: Sequence[int] = (1, 2, 4, 4),
        num_res_blocks: int = 2,
        space_levels: Sequence[int] | None = None,
        time_levels: Sequence[int] | None = None,
        causal: bool = True,
        norm: Norm = "layer",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        last = len(multipliers) - 1
        self.in_channels = in_channels
        self.dim = dim
        self.base_width = base_width
        self.multipliers = tuple(multipliers)
        self.num_res_blocks = num_res_blocks
        self.space_levels = tuple(range(last) if space_levels is None else space_levels)
        self.time_levels = tuple((last - 2, last - 1) if time_levels is None else time_levels)
        self.causal = causal
        self.norm = norm
        self.dropout = dropout
        _check_levels(multipliers, self.space_levels, self.time_levels, range(last + 1))
        self.stride = _stride(len(self.time_levels), len(self.space_levels))
        self.first_frame_alone = causal

        blocks = _Blocks(causal, norm, dropout)
        self.conv_in = blocks.conv(in_channels, base_width)
        self.down = nn.ModuleList()
        self.down_temporal = nn.ModuleList()
        in_width = base_width
        for number, multiplier in enumerate(multipliers):
            width = base_width * multiplier
            pairs = [(width if index else in_width, width) for index in range(num_res_blocks)]
            space = _Level(pairs, blocks.space)
            time = _Level([(width, width)] * num_res_blocks, blocks.time)
            if number in self.space_levels:
                space.downsample = SpaceDownsample(width)
            if number in self.time_levels:
                time.downsample = TimeDownsample(width, causal)
            self.down.append(space)
            self.down_temporal.append(time)
            in_width = width
        self.mid = _Middle(in_width, blocks)
        self.norm_out = blocks.norm(in_width)
        self.conv_out = blocks.conv(in_width, dim)

    def layers(self) -> Iterator[nn.Module]:
        """In the order in which they work."""
        yield self.conv_in
        for space, time in zip(self.down, self.down_temporal, strict=True):
            yield from _of_level(space, time)
        yield from (*self.mid.children(), self.norm_out, nn.SiLU(), self.conv_out)


class VidTokDecoder(ClipDecoder):
    """Latents to clip: the mirror of :class:`VidTokEncoder`, one more block of each kind per level.

    The output is not bounded to [-1, 1]. A causal one interpolates between frames and so waits for
    one more latent frame, except behind the first.

    Args:
        out_channels: Channels of the media.
        dim: Features of one latent vector.
        base_width: As in the encoder.
        multipliers: As in the encoder, in its order.
        num_res_blocks: As in the encoder.
        space_levels: Levels behind which, on the way down from the last, height and width are
            doubled; None: all but level 0.
        time_levels: Those of them behind which time is doubled as well; None: 1 and 2.
        causal: As in the encoder.
        norm: As in the encoder.
        dropout: As in the encoder.

    Raises:
        ConfigError: Levels that are not there, or a norm that is not known.

    Example:
        >>> import torch
        >>> decoder = VidTokDecoder(dim=6, base_width=8, multipliers=[1, 2, 2, 2])
        >>> decoder(torch.zeros(1, 6, 5, 2, 3)).shape
        torch.Size([1, 3, 17, 16, 24])
    """

    def __init__(
        self,
        out_channels: int = 3,
        dim: int = 6,
        base_width: int = 128,
        multipliers: Sequence[int] = (1, 2, 4, 4),
        num_res_blocks: int = 2,
        space_levels: Sequence[int] | None = None,
        time_levels: Sequence[int] | None = None,
        causal: bool = True,
        norm: Norm = "layer",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        num_levels = len(multipliers)
        self.out_channels = out_channels
        self.dim = dim
        self.base_width = base_width
        self.multipliers = tuple(multipliers)
        self.num_res_blocks = num_res_blocks
        self.space_levels = tuple(range(1, num_levels) if space_levels is None else space_levels)
        self.time_levels = tuple((1, 2) if time_levels is None else time_levels)
        self.causal = causal
        self.norm = norm
        self.dropout = dropout
        _check_levels(multipliers, self.space_levels, self.time_levels, range(num_levels))
        self.stride = _stride(len(self.time_levels), len(self.space_levels))
        self.first_frame_alone = causal

        blocks = _Blocks(causal, norm, dropout)
        in_width = base_width * multipliers[-1]
        self.conv_in = blocks.conv(dim, in_width)
        self.mid = _Middle(in_width, blocks)
        # Numbered as in the encoder, so that the last one works first.
        self.up = nn.ModuleList()
        self.up_temporal = nn.ModuleList()
        num_first = 1
        for number in reversed(range(num_levels)):
            width = base_width * multipliers[number]
            pairs = [(width if index else in_width, width) for index in range(num_res_blocks + 1)]
            space = _Level(pairs, blocks.space)
            time = _Level([(width, width)] * (num_res_blocks + 1), blocks.time)
            if number in self.space_levels:
                space.upsample = SpaceUpsample(width)
            if number in self.time_levels:
                time.upsample = TimeUpsample(width, causal, num_first)
                num_first *= 2
            self.up.insert(0, space)
            self.up_temporal.insert(0, time)
            in_width = width
        self.norm_out = blocks.norm(in_width)
        self.conv_out = blocks.conv(in_width, out_channels)

    @property
    def last_layer(self) -> Tensor:
        """Weight of the last convolution, where the adaptive adversarial weight is measured."""
        return self.conv_out.weight

    def layers(self) -> Iterator[nn.Module]:
        """In the order in which they work."""
        yield from (self.conv_in, *self.mid.children())
        for space, time in zip(reversed(self.up), reversed(self.up_temporal), strict=True):
            yield from _of_level(space, time)
        yield from (self.norm_out, nn.SiLU(), self.conv_out)


def _of_level(space: nn.Module, time: nn.Module) -> Iterator[nn.Module]:
    """Blocks by turns, then the steps to the next resolution."""
    assert isinstance(space, _Level)
    assert isinstance(time, _Level)
    for pair in zip(space.block, time.block, strict=True):
        yield from pair
    for level in (space, time):
        yield from (step for step in (level.downsample, level.upsample) if step is not None)
