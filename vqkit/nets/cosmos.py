"""A causal network after Cosmos: Haar's wavelets, then space and time apart (arXiv 2501.03575).

In outline the discrete video tokenizer of section 4: patches of 4 frames and 4 x 4 pixels become
wavelet features, 3-D convolutions are factorised into one over space and one over time, steps
between resolutions are sums of a mean and a convolution, attention is that within a frame and that
to earlier frames. Other than there norms see one frame, and attention to frames has a window, so
that a clip of any length goes through in pieces.
"""

import math
from collections.abc import Iterator, Sequence
from functools import partial

from torch import Tensor, nn

from vqkit.errors import ConfigError
from vqkit.nets.causal_transformer import CausalTransformer
from vqkit.nets.clip_blocks import ClipResidualBlock, RepeatFrames, SpaceAttention
from vqkit.nets.clip_conv import ClipConv, SumConv
from vqkit.nets.clip_layers import FrameGroupNorm, FrameLayer
from vqkit.nets.clip_network import ClipDecoder, ClipEncoder
from vqkit.nets.clip_patches import ClipPatches, ClipUnpatches, haar_basis
from vqkit.nets.time_transformer import TimeTransformer
from vqkit.shapes import Float

__all__ = ["CosmosDecoder", "CosmosEncoder"]

_HEADS = 4
_MEAN_OF_SPACE = [[[0.25, 0.25, 0.0], [0.25, 0.25, 0.0], [0.0, 0.0, 0.0]]]
_MEAN_OF_TIME = [[[0.0]], [[0.5]], [[0.5]]]
_SAME_PLACE = [[[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]]
_SAME_FRAME = [[[0.0]], [[0.0]], [[1.0]]]


class _RepeatPositions(FrameLayer):
    """Each position of a frame 2x2 times."""

    def forward(
        self, x: Float[Tensor, "batch dim frames height width"]
    ) -> Float[Tensor, "batch dim frames double_height double_width"]:
        rows = x.movedim(1, -1)
        return rows.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3).movedim(-1, 1)


class _Plan:
    """Which steps stand behind which level, checked."""

    def __init__(
        self, time_factor: int, space_factor: int, patch: int, multipliers: Sequence[int]
    ) -> None:
        factors = (time_factor, space_factor)
        powers = [math.log2(n / patch) if n >= patch >= 1 else -1.0 for n in factors]
        steps = len(multipliers) - 1
        whole = patch & (patch - 1) == 0 and all(p == int(p) and 0 <= p <= steps for p in powers)
        if not whole or steps < 0:
            raise ConfigError(
                "Cosmos network: expected factors that are the patch times powers of two, at most "
                f"one step per level but the last, got time {time_factor}, space {space_factor}, "
                f"patch {patch}, multipliers {list(multipliers)}."
            )
        self.num_time_steps, self.num_space_steps = (int(p) for p in powers)
        self.stride = (time_factor, space_factor, space_factor)


class CosmosEncoder(ClipEncoder):
    """Clip to latents: wavelet features, then levels of factorised residual blocks.

    Args:
        in_channels: Channels of the media, in [-1, 1].
        dim: Features of one latent vector.
        time_factor: Stride in time.
        space_factor: Stride in space.
        patch: Side of the wavelets' blocks, a power of two that makes the factors by doubling.
        base_width: Channels behind the first convolution.
        multipliers: One level per entry, its width ``base_width * multiplier``; steps in space and
            time stand behind the first levels, as many as the factors ask for.
        num_res_blocks: Residual blocks per level.
        latent_width: Channels between the two last layers.
        window: Latent frames that attention reaches back, the frame itself among them.

    Raises:
        ConfigError: Factors that the patch and the levels do not make.

    Example:
        >>> import torch
        >>> encoder = CosmosEncoder(base_width=8, multipliers=[1, 1], num_res_blocks=1)
        >>> encoder.stride, encoder(torch.zeros(1, 3, 9, 16, 8)).shape
        ((8, 8, 8), torch.Size([1, 6, 2, 2, 1]))
    """

    def __init__(
        self,
        in_channels: int = 3,
        dim: int = 6,
        time_factor: int = 8,
        space_factor: int = 8,
        patch: int = 4,
        base_width: int = 128,
        multipliers: Sequence[int] = (2, 4, 4),
        num_res_blocks: int = 2,
        latent_width: int = 16,
        window: int = 16,
    ) -> None:
        super().__init__()
        plan = _Plan(time_factor, space_factor, patch, multipliers)
        self.in_channels = in_channels
        self.dim = dim
        self.time_factor = time_factor
        self.space_factor = space_factor
        self.patch = patch
        self.base_width = base_width
        self.multipliers = tuple(multipliers)
        self.num_res_blocks = num_res_blocks
        self.latent_width = latent_width
        self.window = window
        self.stride = plan.stride

        patches = ClipPatches((patch,) * 3, haar_basis(in_channels, patch)[0])
        body: list[nn.Module] = [_factorized(in_channels * patch**3, base_width)]
        in_width = base_width
        for level, multiplier in enumerate(multipliers):
            width = base_width * multiplier
            for index in range(num_res_blocks):
                body.append(_block(width if index else in_width, width))
            if level < plan.num_space_steps:
                body.append(SumConv(width, _MEAN_OF_SPACE, stride=(1, 2, 2)))
            if level < plan.num_time_steps:
                body.append(SumConv(width, _MEAN_OF_TIME, stride=(2, 1, 1)))
            in_width = width
        body += [*_middle(in_width, window), _norm(in_width), nn.SiLU()]
        body += [_factorized(in_width, latent_width), ClipConv(latent_width, dim, 1)]
        self.patches = patches
        self.body = nn.Sequential(*body)

    def layers(self) -> Iterator[nn.Module]:
        """In the order in which they work."""
        yield from (self.patches, *self.body)


class CosmosDecoder(ClipDecoder):
    """Latents to clip: the mirror of :class:`CosmosEncoder`, one more block per level.

    The output is not bounded to [-1, 1].

    Args:
        out_channels: Channels of the media.
        dim: Features of one latent vector.
        time_factor: As in the encoder.
        space_factor: As in the encoder.
        patch: As in the encoder.
        base_width: As in the encoder.
        multipliers: As in the encoder, in its order.
        num_res_blocks: As in the encoder.
        latent_width: Channels between the two first layers.
        window: As in the encoder.

    Raises:
        ConfigError: Factors that the patch and the levels do not make.

    Example:
        >>> import torch
        >>> decoder = CosmosDecoder(base_width=8, multipliers=[1, 1], num_res_blocks=1)
        >>> decoder(torch.zeros(1, 6, 2, 2, 1)).shape
        torch.Size([1, 3, 9, 16, 8])
    """

    def __init__(
        self,
        out_channels: int = 3,
        dim: int = 6,
        time_factor: int = 8,
        space_factor: int = 8,
        patch: int = 4,
        base_width: int = 128,
        multipliers: Sequence[int] = (2, 4, 4),
        num_res_blocks: int = 2,
        latent_width: int = 16,
        window: int = 16,
    ) -> None:
        super().__init__()
        plan = _Plan(time_factor, space_factor, patch, multipliers)
        self.out_channels = out_channels
        self.dim = dim
        self.time_factor = time_factor
        self.space_factor = space_factor
        self.patch = patch
        self.base_width = base_width
        self.multipliers = tuple(multipliers)
        self.num_res_blocks = num_res_blocks
        self.latent_width = latent_width
        self.window = window
        self.stride = plan.stride

        in_width = base_width * multipliers[-1]
        body: list[nn.Module] = [
            ClipConv(dim, latent_width, 1),
            _factorized(latent_width, in_width),
            *_middle(in_width, window),
        ]
        for level in reversed(range(len(multipliers))):
            width = base_width * multipliers[level]
            for index in range(num_res_blocks + 1):
                body.append(_block(width if index else in_width, width))
            # Behind the level above the one that the encoder's step stands behind.
            if 0 <= level - 1 < plan.num_time_steps:
                body += [RepeatFrames(), SumConv(width, _SAME_FRAME)]
            if 0 <= level - 1 < plan.num_space_steps:
                body += [_RepeatPositions(), SumConv(width, _SAME_PLACE)]
            in_width = width
        body += [_norm(in_width), nn.SiLU()]
        self.body = nn.Sequential(*body)
        self.conv_out = _factorized(in_width, out_channels * patch**3)
        self.unpatches = ClipUnpatches((patch,) * 3, haar_basis(out_channels, patch)[1])

    @property
    def last_layer(self) -> Tensor:
        """Weight of the last layer that learns, where the adaptive weight is measured."""
        last = self.conv_out[-1]
        assert isinstance(last, ClipConv)
        return last.weight

    def layers(self) -> Iterator[nn.Module]:
        """In the order in which they work."""
        yield from (*self.body, self.conv_out, self.unpatches)


def _factorized(in_width: int, out_width: int) -> nn.Sequential:
    """3x3 over space, then 3 over time."""
    return nn.Sequential(
        ClipConv(in_width, out_width, (1, 3, 3)), ClipConv(out_width, out_width, (3, 1, 1))
    )


_norm = partial(FrameGroupNorm, num_groups=1)
_block = partial(ClipResidualBlock, conv=_factorized, norm=_norm)


def _middle(width: int, window: int) -> list[nn.Module]:
    heads = _HEADS if width % (2 * _HEADS) == 0 else 1
    return [
        _block(width, width),
        SpaceAttention(width, _norm),
        TimeTransformer(CausalTransformer(width, 1, heads, hidden_dim=width, window=window)),
        _block(width, width),
    ]
