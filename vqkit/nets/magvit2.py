"""The deeper convolutional networks of Open-MAGVIT2, whose decoder the latents modulate.

Submodules carry the names of the published checkpoints, so that reading one is a change of prefix.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.nets.grid import require_image, require_latent
from vqkit.nets.vqgan_blocks import check_multipliers, group_norm, level_widths
from vqkit.shapes import Float

__all__ = ["MAGVIT2Decoder", "MAGVIT2Encoder"]


class _ResidualBlock(nn.Module):
    """Twice (normalise, SiLU, 3x3 convolution without bias), added to the input."""

    def __init__(self, in_width: int, out_width: int) -> None:
        super().__init__()
        self.norm1 = group_norm(in_width)
        self.norm2 = group_norm(out_width)
        self.conv1 = nn.Conv2d(in_width, out_width, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(out_width, out_width, 3, padding=1, bias=False)
        self.nin_shortcut = (
            nn.Identity()
            if in_width == out_width
            else nn.Conv2d(in_width, out_width, 1, bias=False)
        )

    def forward(
        self, x: Float[Tensor, "batch in_width height width"]
    ) -> Float[Tensor, "batch out_width height width"]:
        """Same grid, ``out_width`` channels."""
        hidden = self.conv1(F.silu(self.norm1(x)))
        hidden = self.conv2(F.silu(self.norm2(hidden)))
        return hidden + self.nin_shortcut(x)


class _Upsample(nn.Module):
    """Double the grid: a convolution to four times the channels, which then become 2x2 positions.

    Channels are grouped by position here, where ``nn.PixelShuffle`` has positions within channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, 4 * width, 3, padding=1)

    def forward(
        self, x: Float[Tensor, "batch dim height width"]
    ) -> Float[Tensor, "batch dim double_height double_width"]:
        """Twice the height and the width."""
        by_position = self.conv1(x).unflatten(1, (4, -1))
        return F.pixel_shuffle(by_position.transpose(1, 2).flatten(1, 2), 2)


class _AdaptiveGroupNorm(nn.Module):
    """Group normalisation whose scale and shift are linear in deviation and mean of the latents.

    These are taken over the whole grid: a crop's picture is not the whole picture's crop.
    """

    _EPS = 1e-6

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.gn = group_norm(width, affine=False)
        self.gamma = nn.Linear(dim, width)
        self.beta = nn.Linear(dim, width)

    def forward(
        self,
        x: Float[Tensor, "batch width height grid_width"],
        latent: Float[Tensor, "batch dim latent_height latent_width"],
    ) -> Float[Tensor, "batch width height grid_width"]:
        """Same shape."""
        positions = latent.flatten(2)
        # A single position has no deviation; the unbiased estimate, which is published, divides
        # by zero there.
        correction = 1 if positions.shape[2] > 1 else 0
        deviation = (positions.var(dim=2, correction=correction) + self._EPS).sqrt()
        scale = self.gamma(deviation)[..., None, None]
        shift = self.beta(positions.mean(dim=2))[..., None, None]
        return scale * self.gn(x) + shift


class _Level(nn.Module):
    """The residual blocks of one resolution."""

    def __init__(self, in_width: int, out_width: int, num_blocks: int) -> None:
        super().__init__()
        self.block = nn.ModuleList(
            _ResidualBlock(out_width if index else in_width, out_width)
            for index in range(num_blocks)
        )
        self.downsample: nn.Conv2d | None = None
        self.upsample: _Upsample | None = None

    def forward(
        self, x: Float[Tensor, "batch in_width height width"]
    ) -> Float[Tensor, "batch out_width next_height next_width"]:
        """The blocks, then the step to the next resolution if this level has one."""
        for block in self.block:
            x = block(x)
        for resample in (self.downsample, self.upsample):
            if resample is not None:
                x = resample(x)
        return x


class MAGVIT2Encoder(nn.Module):
    """Image to latent grid: more residual blocks than VQGAN, no attention, strided convolutions.

    Luo et al. 2024, "Open-MAGVIT2" (arXiv 2409.04410), after MAGVIT-v2 (arXiv 2310.05737); the
    defaults are its factor 16. The last layer leads to ``dim``, which LFQ takes as it is: one bit
    per feature.

    Args:
        in_channels: Channels of the media, in [-1, 1].
        dim: Features of one latent vector, what the quantizer takes.
        base_width: Channels at full resolution. 32 divides every level's width.
        multipliers: One level per entry, its width ``base_width * multiplier``.
        num_res_blocks: Residual blocks per level, and after the last.

    Raises:
        ConfigError: On a width that 32 does not divide, or no multiplier.

    Example:
        >>> import torch
        >>> encoder = MAGVIT2Encoder(dim=18, base_width=32, multipliers=(1, 2), num_res_blocks=1)
        >>> encoder(torch.zeros(1, 3, 16, 24)).shape
        torch.Size([1, 18, 8, 12])
    """

    def __init__(
        self,
        in_channels: int = 3,
        dim: int = 18,
        base_width: int = 128,
        multipliers: Sequence[float] = (1, 1, 2, 2, 4),
        num_res_blocks: int = 4,
    ) -> None:
        super().__init__()
        check_multipliers(multipliers, "MAGVIT2")
        self.in_channels = in_channels
        self.dim = dim
        self.base_width = base_width
        self.multipliers = tuple(multipliers)
        self.num_res_blocks = num_res_blocks
        self.stride = (2 ** (len(self.multipliers) - 1),) * 2

        widths = level_widths(base_width, multipliers)
        self.conv_in = nn.Conv2d(in_channels, base_width, 3, padding=1, bias=False)
        self.down = nn.ModuleList()
        for index, (in_width, out_width) in enumerate(
            zip([base_width, *widths], widths, strict=False)
        ):
            level = _Level(in_width, out_width, num_res_blocks)
            if index < len(widths) - 1:
                level.downsample = nn.Conv2d(out_width, out_width, 3, stride=2, padding=1)
            self.down.append(level)
        self.mid_block = nn.ModuleList(
            _ResidualBlock(widths[-1], widths[-1]) for _ in range(num_res_blocks)
        )
        self.norm_out = group_norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], dim, 1)

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch dim latent_height latent_width"]:
        """Latents of images in [-1, 1] whose sides the stride divides.

        Raises:
            ShapeError: On other channels or sides.
        """
        require_image(x, self.in_channels, self.stride)
        hidden = self.conv_in(x)
        for part in (*self.down, *self.mid_block):
            hidden = part(hidden)
        return self.conv_out(F.silu(self.norm_out(hidden)))


class MAGVIT2Decoder(nn.Module):
    """Latent grid to image: the mirror of :class:`MAGVIT2Encoder`, modulated by the latents.

    arXiv 2409.04410. Each level begins with a group normalisation whose scale is linear in the
    deviation of the latents over the whole grid and whose shift is linear in their mean; depth
    becomes space between levels. The output is not bounded to [-1, 1].

    Args:
        out_channels: Channels of the media.
        dim: Features of one latent vector, what the quantizer gives.
        base_width: As in the encoder.
        multipliers: As in the encoder.
        num_res_blocks: As in the encoder.

    Raises:
        ConfigError: On a width that 32 does not divide, or no multiplier.

    Example:
        >>> import torch
        >>> decoder = MAGVIT2Decoder(dim=18, base_width=32, multipliers=(1, 2), num_res_blocks=1)
        >>> decoder(torch.zeros(1, 18, 8, 12)).shape
        torch.Size([1, 3, 16, 24])
    """

    def __init__(
        self,
        out_channels: int = 3,
        dim: int = 18,
        base_width: int = 128,
        multipliers: Sequence[float] = (1, 1, 2, 2, 4),
        num_res_blocks: int = 4,
    ) -> None:
        super().__init__()
        check_multipliers(multipliers, "MAGVIT2")
        self.out_channels = out_channels
        self.dim = dim
        self.base_width = base_width
        self.multipliers = tuple(multipliers)
        self.num_res_blocks = num_res_blocks
        self.stride = (2 ** (len(self.multipliers) - 1),) * 2

        widths = level_widths(base_width, multipliers)
        self.conv_in = nn.Conv2d(dim, widths[-1], 3, padding=1)
        self.mid_block = nn.ModuleList(
            _ResidualBlock(widths[-1], widths[-1]) for _ in range(num_res_blocks)
        )
        self.up, self.adaptive = nn.ModuleList(), nn.ModuleList()
        for index, (out_width, in_width) in enumerate(
            zip(widths, [*widths[1:], widths[-1]], strict=True)
        ):
            level = _Level(in_width, out_width, num_res_blocks)
            if index > 0:
                level.upsample = _Upsample(out_width)
            self.up.append(level)
            self.adaptive.append(_AdaptiveGroupNorm(dim, in_width))
        self.norm_out = group_norm(widths[0])
        self.conv_out = nn.Conv2d(widths[0], out_channels, 3, padding=1)

    @property
    def last_layer(self) -> Tensor:
        """Weight of the last convolution, where the adaptive adversarial weight is measured."""
        return self.conv_out.weight

    def forward(
        self, latent: Float[Tensor, "batch dim latent_height latent_width"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Images, nominally in [-1, 1], of ``stride`` times the latent's sides.

        Raises:
            ShapeError: On another number of features or an empty grid.
        """
        require_latent(latent, self.dim)
        hidden = self.conv_in(latent)
        for block in self.mid_block:
            hidden = block(hidden)
        for level, adaptive in zip(reversed(self.up), reversed(self.adaptive), strict=True):
            hidden = level(adaptive(hidden, latent))
        return self.conv_out(F.silu(self.norm_out(hidden)))
