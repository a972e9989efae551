"""Blocks of the VQGAN family: normalisation, residual block, attention, resampling."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.errors import ConfigError
from vqkit.shapes import Float

__all__ = [
    "Attention",
    "Downsample",
    "Middle",
    "ResidualBlock",
    "Upsample",
    "check_multipliers",
    "group_norm",
    "level_widths",
]

_NUM_GROUPS = 32


def check_multipliers(multipliers: Sequence[float], family: str) -> None:
    """Refuse networks without levels.

    Raises:
        ConfigError: There is no multiplier, or one that is not positive.
    """
    if not multipliers or min(multipliers) <= 0:
        raise ConfigError(
            f"{family} network: expected at least one multiplier, all positive, got "
            f"{list(multipliers)}."
        )


def level_widths(base_width: int, multipliers: Sequence[float]) -> list[int]:
    """Channels of each level. A multiplier may be a fraction, which is rounded to whole channels.

    >>> level_widths(96, [1, 5 / 3])
    [96, 160]
    """
    return [round(base_width * multiplier) for multiplier in multipliers]


def group_norm(width: int, affine: bool = True) -> nn.GroupNorm:
    """Group normalisation as the family uses it: 32 groups, eps 1e-6.

    Raises:
        ConfigError: If 32 does not divide the width.
    """
    if width % _NUM_GROUPS:
        raise ConfigError(
            f"Group normalisation: expected a width that {_NUM_GROUPS} divides, got {width}. "
            f"Choose base_width so that each level's base_width * multiplier is such a multiple."
        )
    return _GroupNorm(_NUM_GROUPS, width, eps=1e-6, affine=affine)


class _GroupNorm(nn.GroupNorm):
    """Takes groups of a single value too, as a 1x1 image makes them, where PyTorch's raises."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)


class ResidualBlock(nn.Module):
    """Twice (normalise, SiLU, 3x3 convolution), added to the input.

    Esser et al. 2021, "Taming Transformers". A change of width puts a 1x1 convolution
    (``nin_shortcut``, the published name) on the shortcut.
    """

    def __init__(self, in_width: int, out_width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm1 = group_norm(in_width)
        self.conv1 = nn.Conv2d(in_width, out_width, 3, padding=1)
        self.norm2 = group_norm(out_width)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(out_width, out_width, 3, padding=1)
        self.nin_shortcut = (
            nn.Identity() if in_width == out_width else nn.Conv2d(in_width, out_width, 1)
        )

    def forward(
        self, x: Float[Tensor, "batch in_width height width"]
    ) -> Float[Tensor, "batch out_width height width"]:
        """Same grid, ``out_width`` channels."""
        hidden = self.conv1(F.silu(self.norm1(x)))
        hidden = self.conv2(self.dropout(F.silu(self.norm2(hidden))))
        return self.nin_shortcut(x) + hidden


class Attention(nn.Module):
    """Single-head self-attention over all positions of the grid, added to the input.

    Time grows with the square of the number of positions, memory with the number.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = group_norm(width)
        self.q = nn.Conv2d(width, width, 1)
        self.k = nn.Conv2d(width, width, 1)
        self.v = nn.Conv2d(width, width, 1)
        self.proj_out = nn.Conv2d(width, width, 1)

    def forward(
        self, x: Float[Tensor, "batch dim height width"]
    ) -> Float[Tensor, "batch dim height width"]:
        """Same shape."""
        normalised = self.norm(x)
        # [batch, heads = 1, positions, dim]: the layout of the fused kernels.
        query, key, value = (
            projection(normalised).flatten(2).transpose(1, 2).unsqueeze(1)
            for projection in (self.q, self.k, self.v)
        )
        mixed = F.scaled_dot_product_attention(query, key, value)
        return x + self.proj_out(mixed.squeeze(1).transpose(1, 2).reshape(x.shape))


class Middle(nn.Module):
    """Residual block, attention, residual block at the lowest resolution."""

    def __init__(self, width: int, dropout: float = 0.0, attention: bool = True) -> None:
        super().__init__()
        self.block_1 = ResidualBlock(width, width, dropout)
        self.attn_1 = Attention(width) if attention else nn.Identity()
        self.block_2 = ResidualBlock(width, width, dropout)

    def forward(
        self, x: Float[Tensor, "batch dim height width"]
    ) -> Float[Tensor, "batch dim height width"]:
        """Same shape."""
        return self.block_2(self.attn_1(self.block_1(x)))


class Downsample(nn.Module):
    """Halve the grid: a pixel of zeros on the right and below, then a 3x3 stride-2 convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2)

    def forward(
        self, x: Float[Tensor, "batch dim height width"]
    ) -> Float[Tensor, "batch dim half_height half_width"]:
        """Half the height and the width, which are even."""
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Double the grid: repeat each position 2x2, then a 3x3 convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(
        self, x: Float[Tensor, "batch dim height width"]
    ) -> Float[Tensor, "batch dim double_height double_width"]:
        """Twice the height and the width."""
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
