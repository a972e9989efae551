"""The decoder of MaskGIT's VQGAN, which TiTok's first models end with."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.nets.grid import require_latent
from vqkit.nets.vqgan_blocks import check_multipliers, group_norm, level_widths
from vqkit.shapes import Float

__all__ = ["MaskGITDecoder"]


class _ResidualBlock(nn.Module):
    """Twice (normalise, SiLU, 3x3 convolution without bias), added to the input.

    Where the width changes, the published network adds to the result a 1x1 convolution of itself,
    in place of one of the input; its weights are for that.
    """

    def __init__(self, in_width: int, out_width: int) -> None:
        super().__init__()
        self.norm1 = group_norm(in_width)
        self.conv1 = nn.Conv2d(in_width, out_width, 3, padding=1, bias=False)
        self.norm2 = group_norm(out_width)
        self.conv2 = nn.Conv2d(out_width, out_width, 3, padding=1, bias=False)
        self.nin_shortcut = (
            None if in_width == out_width else nn.Conv2d(out_width, out_width, 1, bias=False)
        )

    def forward(
        self, x: Float[Tensor, "batch in_width height width"]
    ) -> Float[Tensor, "batch out_width height width"]:
        """Same grid, ``out_width`` channels."""
        hidden = self.conv1(F.silu(self.norm1(x)))
        hidden = self.conv2(F.silu(self.norm2(hidden)))
        return hidden + (x if self.nin_shortcut is None else self.nin_shortcut(hidden))


class _Level(nn.Module):
    """The residual blocks of one resolution, then twice the grid."""

    def __init__(self, in_width: int, out_width: int, num_blocks: int, upsamples: bool) -> None:
        super().__init__()
        self.block = nn.ModuleList(
            _ResidualBlock(out_width if index else in_width, out_width)
            for index in range(num_blocks)
        )
        self.upsample_conv = nn.Conv2d(out_width, out_width, 3, padding=1) if upsamples else None

    def forward(
        self, x: Float[Tensor, "batch in_width height width"]
    ) -> Float[Tensor, "batch out_width next_height next_width"]:
        """The blocks, then the step to the next resolution if this level has one."""
        for block in self.block:
            x = block(x)
        if self.upsample_conv is None:
            return x
        return self.upsample_conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class MaskGITDecoder(nn.Module):
    """Latent grid to image without attention: the decoder of MaskGIT's VQGAN (arXiv 2202.04200).

    Args:
        out_channels: Channels of the media.
        dim: Features of one latent vector.
        base_width: Channels at full resolution. 32 divides every level's width.
        multipliers: One level per entry, its width ``base_width * multiplier``.
        num_res_blocks: Residual blocks per level, and before the first.

    Pixels are in [0, 1], nominally.

    Raises:
        ConfigError: On a width that 32 does not divide, or no multiplier.

    Example:
        >>> import torch
        >>> decoder = MaskGITDecoder(dim=8, base_width=32, multipliers=(1, 2), num_res_blocks=1)
        >>> decoder(torch.zeros(1, 8, 4, 5)).shape
        torch.Size([1, 3, 8, 10])
    """

    def __init__(
        self,
        out_channels: int = 3,
        dim: int = 256,
        base_width: int = 128,
        multipliers: Sequence[float] = (1, 1, 2, 2, 4),
        num_res_blocks: int = 2,
    ) -> None:
        super().__init__()
        check_multipliers(multipliers, "MaskGIT")
        self.out_channels = out_channels
        self.dim = dim
        self.base_width = base_width
        self.multipliers = tuple(multipliers)
        self.num_res_blocks = num_res_blocks
        self.stride = (2 ** (len(self.multipliers) - 1),) * 2

        widths = level_widths(base_width, multipliers)
        self.conv_in = nn.Conv2d(dim, widths[-1], 3, padding=1)
        self.mid = nn.ModuleList(
            _ResidualBlock(widths[-1], widths[-1]) for _ in range(num_res_blocks)
        )
        self.up = nn.ModuleList(
            _Level(in_width, out_width, num_res_blocks, upsamples=index > 0)
            for index, (out_width, in_width) in enumerate(
                zip(widths, [*widths[1:], widths[-1]], strict=True)
            )
        )
        self.norm_out = group_norm(widths[0])
        self.conv_out = nn.Conv2d(widths[0], out_channels, 3, padding=1)

    @property
    def last_layer(self) -> Tensor:
        """Weight of the last convolution, where the adaptive adversarial weight is measured."""
        return self.conv_out.weight

    def forward(
        self, latent: Float[Tensor, "batch dim latent_height latent_width"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Images of ``stride`` times the latent's sides.

        Raises:
            ShapeError: On another number of features or an empty grid.
        """
        require_latent(latent, self.dim)
        hidden = self.conv_in(latent)
        for part in (*self.mid, *reversed(self.up)):
            hidden = part(hidden)
        return self.conv_out(F.silu(self.norm_out(hidden)))
