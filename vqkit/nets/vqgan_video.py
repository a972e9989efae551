"""The network of VQGAN over clips: what an image tokenizer becomes when it is inflated.

Every 3x3 convolution is a causal one of 3x3x3, norms and attention are those of each frame, and
steps in time stand beside the steps in space. With the weights of an image tokenizer at the last
of the three taps, and none at the others, each frame has what it has as a picture. This is the way
from images to video of MAGVIT-v2 (arXiv 2310.05737, section 3.2) and Open-MAGVIT2 (arXiv
2409.04410).

Submodules carry the names of :mod:`vqkit.nets.vqgan`, so that inflation is a change of shapes.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from vqkit.errors import ConfigError
from vqkit.nets.clip_blocks import (
    ClipResidualBlock,
    RepeatFrames,
    SpaceAttention,
    SpaceDownsample,
    SpaceUpsample,
)
from vqkit.nets.clip_conv import ClipConv, SumConv
from vqkit.nets.clip_layers import FrameGroupNorm
from vqkit.nets.clip_network import ClipDecoder, ClipEncoder
from vqkit.nets.vqgan import VQGANDecoder, VQGANEncoder

__all__ = [
    "VideoVQGANDecoder",
    "VideoVQGANEncoder",
    "inflated_decoder",
    "inflated_encoder",
]

# The last of three frames: what a step in time is besides its convolution.
_LAST = [[[0.0]], [[0.0]], [[1.0]]]


class _Level(nn.Module):
    """The residual blocks of one resolution, and the steps to the next."""

    def __init__(self, in_width: int, out_width: int, num_blocks: int, attention: bool) -> None:
        super().__init__()
        self.block = nn.ModuleList(
            _block(out_width if index else in_width, out_width) for index in range(num_blocks)
        )
        self.attn = nn.ModuleList(
            SpaceAttention(out_width, FrameGroupNorm) for _ in range(num_blocks if attention else 0)
        )
        self.downsample: nn.Module | None = None
        self.time_downsample: nn.Module | None = None
        self.upsample: nn.Module | None = None
        self.time_upsample: nn.Module | None = None

    def layers(self) -> Iterator[nn.Module]:
        """In the order in which they work."""
        for index, block in enumerate(self.block):
            yield block
            if self.attn:
                yield self.attn[index]
        steps = (self.downsample, self.time_downsample, self.time_upsample, self.upsample)
        yield from (step for step in steps if step is not None)


class _Middle(nn.Module):
    """Residual block, attention, residual block at the lowest resolution."""

    def __init__(self, width: int, attention: bool) -> None:
        super().__init__()
        self.block_1 = _block(width, width)
        self.attn_1 = SpaceAttention(width, FrameGroupNorm) if attention else nn.Identity()
        self.block_2 = _block(width, width)


class VideoVQGANEncoder(ClipEncoder):
    """Clip to latents: levels of causal residual blocks with strided convolutions between them.

    With four blocks per level and no attention it is Open-MAGVIT2's in outline.

    Args:
        in_channels: Channels of the media, in [-1, 1].
        dim: Features of one latent vector.
        base_width: Channels at full resolution; 32 divides every level's width.
        multipliers: One level per entry, its width ``base_width * multiplier``; space is halved
            behind each but the last.
        num_res_blocks: Residual blocks per level.
        attention_levels: Levels with attention within frames behind each block.
        time_levels: Levels behind which time is halved as well.
        latent_width: Channels between the two last layers.
        middle_attention: Whether attention stands between the two blocks after the last level.

    Raises:
        ConfigError: A width that 32 does not divide, or levels that are not there.

    Example:
        >>> encoder = VideoVQGANEncoder(
        ...     dim=6, base_width=32, multipliers=[1, 1, 1], num_res_blocks=1, time_levels=[1]
        ... )
        >>> encoder.stride, encoder(torch.zeros(1, 3, 5, 16, 8)).shape
        ((2, 4, 4), torch.Size([1, 6, 3, 4, 2]))
    """

    def __init__(
        self,
        in_channels: int = 3,
        dim: int = 18,
        base_width: int = 128,
        multipliers: Sequence[int] = (1, 2, 2, 4),
        num_res_blocks: int = 4,
        attention_levels: Sequence[int] = (),
        time_levels: Sequence[int] = (1, 2),
        latent_width: int = 256,
        middle_attention: bool = False,
    ) -> None:
        super().__init__()
        _check_levels(multipliers, attention_levels, time_levels)
        self.in_channels = in_channels
        self.dim = dim
        self.base_width = base_width
        self.multipliers = tuple(multipliers)
        self.num_res_blocks = num_res_blocks
        self.attention_levels = tuple(attention_levels)
        self.time_levels = tuple(time_levels)
        self.latent_width = latent_width
        self.middle_attention = middle_attention
        self.stride = _stride(multipliers, time_levels)

        widths = [base_width * multiplier for multiplier in multipliers]
        self.conv_in = ClipConv(in_channels, base_width)
        self.down = nn.ModuleList()
        for index, (in_width, out_width) in enumerate(
            zip([base_width, *widths], widths, strict=False)
        ):
            level = _Level(in_width, out_width, num_res_blocks, index in attention_levels)
            if index < len(widths) - 1:
                level.downsample = SpaceDownsample(out_width)
            if index in time_levels:
                level.time_downsample = SumConv(out_width, _LAST, stride=(2, 1, 1))
            self.down.append(level)
        self.mid = _Middle(widths[-1], middle_attention)
        self.norm_out = FrameGroupNorm(widths[-1])
        self.conv_out = ClipConv(widths[-1], latent_width)
        self.quant_conv = ClipConv(latent_width, dim, 1)

    def layers(self) -> Iterator[nn.Module]:
        """In the order in which they work."""
        yield self.conv_in
        for level in self.down:
            assert isinstance(level, _Level)
            yield from level.layers()
        yield from (*self.mid.children(), self.norm_out, nn.SiLU(), self.conv_out, self.quant_conv)


class VideoVQGANDecoder(ClipDecoder):
    """Latents to clip: the mirror of :class:`VideoVQGANEncoder`, one more block per level.

    Levels are numbered as in the encoder and run from the highest down; between them positions and
    frames are repeated and a convolution follows. The output is not bounded to [-1, 1].

    Args:
        out_channels: Channels of the media.
        dim: Features of one latent vector.
        base_width: As in the encoder.
        multipliers: As in the encoder.
        num_res_blocks: As in the encoder; each level has one more.
        attention_levels: As in the encoder.
        time_levels: As in the encoder: behind level ``n + 1`` time is doubled where the encoder
            halved it behind level ``n``.
        latent_width: Channels between the two first layers.
        middle_attention: As in the encoder.

    Raises:
        ConfigError: A width that 32 does not divide, or levels that are not there.

    Example:
        >>> decoder = VideoVQGANDecoder(
        ...     dim=6, base_width=32, multipliers=[1, 1, 1], num_res_blocks=1, time_levels=[1]
        ... )
        >>> decoder(torch.zeros(1, 6, 3, 4, 2)).shape
        torch.Size([1, 3, 5, 16, 8])
    """

    def __init__(
        self,
        out_channels: int = 3,
        dim: int = 18,
        base_width: int = 128,
        multipliers: Sequence[int] = (1, 2, 2, 4),
        num_res_blocks: int = 4,
        attention_levels: Sequence[int] = (),
        time_levels: Sequence[int] = (1, 2),
        latent_width: int = 256,
        middle_attention: bool = False,
    ) -> None:
        super().__init__()
        _check_levels(multipliers, attention_levels, time_levels)
        self.out_channels = out_channels
        self.dim = dim
        self.base_width = base_width
        self.multipliers = tuple(multipliers)
        self.num_res_blocks = num_res_blocks
        self.attention_levels = tuple(attention_levels)
        self.time_levels = tuple(time_levels)
        self.latent_width = latent_width
        self.middle_attention = middle_attention
        self.stride = _stride(multipliers, time_levels)

        widths = [base_width * multiplier for multiplier in multipliers]
        self.post_quant_conv = ClipConv(dim, latent_width, 1)
        self.conv_in = ClipConv(latent_width, widths[-1])
        self.mid = _Middle(widths[-1], middle_attention)
        self.up = nn.ModuleList()
        for index, (out_width, in_width) in enumerate(
            zip(widths, [*widths[1:], widths[-1]], strict=True)
        ):
            level = _Level(in_width, out_width, num_res_blocks + 1, index in attention_levels)
            if index > 0:
                level.upsample = SpaceUpsample(out_width)
            if index - 1 in time_levels:
                level.time_upsample = nn.Sequential(RepeatFrames(), SumConv(out_width, _LAST))
            self.up.append(level)
        self.norm_out = FrameGroupNorm(widths[0])
        self.conv_out = ClipConv(widths[0], out_channels)

    @property
    def last_layer(self) -> Tensor:
        """Weight of the last convolution, where the adaptive adversarial weight is measured."""
        return self.conv_out.weight

    def layers(self) -> Iterator[nn.Module]:
        """In the order in which they work."""
        yield from (self.post_quant_conv, self.conv_in, *self.mid.children())
        for level in reversed(self.up):
            assert isinstance(level, _Level)
            yield from level.layers()
        yield from (self.norm_out, nn.SiLU(), self.conv_out)


def inflated_encoder(encoder: VQGANEncoder, time_levels: Sequence[int] = ()) -> VideoVQGANEncoder:
    """The encoder of clips that gives each frame the latents it has as a picture.

    Args:
        encoder: Of pictures, trained.
        time_levels: Levels behind which time is halved, by taking the later one of two frames,
            until training makes it something better. One frame has the picture's latents whatever
            they are.

    Raises:
        ConfigError: Levels that are not there.

    Example:
        >>> from vqkit.nets import VQGANEncoder
        >>> image = VQGANEncoder(dim=4, base_width=32, multipliers=[1, 1], attention_levels=[])
        >>> picture = torch.randn(1, 3, 8, 8)
        >>> latent = inflated_encoder(image, time_levels=[0])(picture[:, :, None])
        >>> torch.allclose(latent[:, :, 0], image(picture), atol=1e-5)
        True
    """
    network = VideoVQGANEncoder(encoder.in_channels, **_sizes(encoder), time_levels=time_levels)
    _inflate(network, encoder)
    return network


def inflated_decoder(decoder: VQGANDecoder, time_levels: Sequence[int] = ()) -> VideoVQGANDecoder:
    """The decoder of clips that makes of each latent frame the picture that it was before.

    Args:
        decoder: To pictures, trained.
        time_levels: Those of the encoder; a latent frame becomes as many equal frames at first.

    Raises:
        ConfigError: Levels that are not there.
    """
    network = VideoVQGANDecoder(decoder.out_channels, **_sizes(decoder), time_levels=time_levels)
    _inflate(network, decoder)
    return network


@torch.no_grad()
def _inflate(network: nn.Module, image: nn.Module) -> None:
    """Give a network the weights of that of pictures, and steps in time that pass frames on."""
    pictures = image.state_dict()
    for name, value in network.state_dict().items():
        value.zero_()
        if name in pictures:
            # Of convolutions the last of the taps over time.
            (value[:, :, -1] if value.ndim == 5 else value).copy_(pictures[name])
    network.to(next(image.parameters()).device).train(image.training)


def _sizes(image: VQGANEncoder | VQGANDecoder) -> dict[str, Any]:
    names = (
        "dim",
        "base_width",
        "multipliers",
        "num_res_blocks",
        "attention_levels",
        "latent_width",
        "middle_attention",
    )
    return {name: getattr(image, name) for name in names}


_block = partial(ClipResidualBlock, conv=ClipConv, norm=FrameGroupNorm)


def _check_levels(
    multipliers: Sequence[int], attention: Sequence[int], time: Sequence[int]
) -> None:
    last = len(multipliers) - 1
    if not multipliers or not {*attention} <= {*range(last + 1)} or not {*time} <= {*range(last)}:
        raise ConfigError(
            "Video VQGAN network: expected multipliers, attention_levels among their numbers and "
            f"time_levels among these but the last, got {list(multipliers)}, {list(attention)}, "
            f"{list(time)}."
        )


def _stride(multipliers: Sequence[int], time_levels: Sequence[int]) -> tuple[int, int, int]:
    side = 2 ** (len(multipliers) - 1)
    return 2 ** len(set(time_levels)), side, side
