"""The convolutional encoder and decoder of VQGAN, the baseline that the field's recipes share.

Submodules carry the names of the published checkpoints (``down.0.block.1.conv2`` and so on), so
that reading one is a change of prefix. ``quant_conv`` and ``post_quant_conv``, which those keep
beside the two networks, are the encoder's last and the decoder's first layer here.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.errors import ConfigError
from vqkit.nets.grid import require_image, require_latent
from vqkit.nets.vqgan_blocks import (
    Attention,
    Downsample,
    Middle,
    ResidualBlock,
    Upsample,
    check_multipliers,
    group_norm,
    level_widths,
)
from vqkit.shapes import Float

__all__ = ["VQGANDecoder", "VQGANEncoder"]


def _check_levels(multipliers: Sequence[float], attention_levels: Sequence[int]) -> None:
    check_multipliers(multipliers, "VQGAN")
    unknown = [level for level in attention_levels if not 0 <= level < len(multipliers)]
    if unknown:
        raise ConfigError(
            f"VQGAN network: expected attention_levels within 0..{len(multipliers) - 1} (one level "
            f"per multiplier, 0 is the full resolution), got {unknown}."
        )


def _strides(multipliers: Sequence[float]) -> tuple[int, int]:
    factor = 2 ** (len(multipliers) - 1)
    return factor, factor


class _Level(nn.Module):
    """The residual blocks of one resolution, each followed by attention where asked for."""

    def __init__(
        self, in_width: int, out_width: int, num_blocks: int, attention: bool, dropout: float
    ) -> None:
        super().__init__()
        self.block = nn.ModuleList(
            ResidualBlock(out_width if index else in_width, out_width, dropout)
            for index in range(num_blocks)
        )
        self.attn = nn.ModuleList(
            Attention(out_width) for _ in range(num_blocks if attention else 0)
        )
        self.downsample: Downsample | None = None
        self.upsample: Upsample | None = None

    def forward(
        self, x: Float[Tensor, "batch in_width height width"]
    ) -> Float[Tensor, "batch out_width next_height next_width"]:
        """The blocks, then the step to the next resolution if this level has one."""
        for index, block in enumerate(self.block):
            x = block(x)
            if self.attn:
                x = self.attn[index](x)
        for resample in (self.downsample, self.upsample):
            if resample is not None:
                x = resample(x)
        return x


class VQGANEncoder(nn.Module):
    """Image to latent grid: levels of residual blocks with stride-2 convolutions between them.

    Esser et al. 2021, "Taming Transformers for High-Resolution Image Synthesis"; the defaults are
    the paper's factor 16 at 256 x 256, where level 4 is the 16 x 16 grid. The last layers are a
    3x3 convolution to ``latent_width`` and a 1x1 convolution to ``dim``.

    Group normalisation and attention see the whole picture: a crop's latents are not the whole
    picture's crop.

    Args:
        in_channels: Channels of the media, in [-1, 1].
        dim: Features of one latent vector, what the quantizer takes.
        base_width: Channels at full resolution. 32 divides every level's width.
        multipliers: One level per entry, its width ``base_width * multiplier``; 3 to 6 entries give
            factors 4 to 32.
        num_res_blocks: Residual blocks per level.
        attention_levels: Levels with attention after each block, 0 being full resolution.
        dropout: Within the residual blocks.
        latent_width: Channels between the two last layers.
        middle_attention: Whether attention stands between the two blocks after the last level.

    Raises:
        ConfigError: On a width that 32 does not divide, or an unknown attention level.

    Example:
        >>> import torch
        >>> encoder = VQGANEncoder(dim=8, base_width=32, multipliers=(1, 2, 2), attention_levels=())
        >>> encoder.stride
        (4, 4)
        >>> encoder(torch.zeros(1, 3, 32, 48)).shape
        torch.Size([1, 8, 8, 12])
    """

    def __init__(
        self,
        in_channels: int = 3,
        dim: int = 256,
        base_width: int = 128,
        multipliers: Sequence[float] = (1, 1, 2, 2, 4),
        num_res_blocks: int = 2,
        attention_levels: Sequence[int] = (4,),
        dropout: float = 0.0,
        latent_width: int = 256,
        middle_attention: bool = True,
    ) -> None:
        super().__init__()
        _check_levels(multipliers, attention_levels)
        self.in_channels = in_channels
        self.dim = dim
        self.base_width = base_width
        self.multipliers = tuple(multipliers)
        self.num_res_blocks = num_res_blocks
        self.attention_levels = tuple(attention_levels)
        self.dropout = dropout
        self.latent_width = latent_width
        self.middle_attention = middle_attention
        self.stride = _strides(multipliers)

        widths = level_widths(base_width, multipliers)
        self.conv_in = nn.Conv2d(in_channels, base_width, 3, padding=1)
        self.down = nn.ModuleList()
        for index, (in_width, out_width) in enumerate(
            zip([base_width, *widths], widths, strict=False)
        ):
            level = _Level(in_width, out_width, num_res_blocks, index in attention_levels, dropout)
            if index < len(widths) - 1:
                level.downsample = Downsample(out_width)
            self.down.append(level)
        self.mid = Middle(widths[-1], dropout, middle_attention)
        self.norm_out = group_norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], latent_width, 3, padding=1)
        self.quant_conv = nn.Conv2d(latent_width, dim, 1)

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch dim latent_height latent_width"]:
        """Latents of images in [-1, 1] whose sides the stride divides.

        Raises:
            ShapeError: On other channels or sides.
        """
        require_image(x, self.in_channels, self.stride)
        hidden = self.conv_in(x)
        for level in self.down:
            hidden = level(hidden)
        hidden = self.mid(hidden)
        return self.quant_conv(self.conv_out(F.silu(self.norm_out(hidden))))


class VQGANDecoder(nn.Module):
    """Latent grid to image: the mirror of :class:`VQGANEncoder`, one more residual block per level.

    Esser et al. 2021. Levels are numbered as in the encoder (0 is full resolution) and run from the
    highest down; between them the grid doubles by repetition and a 3x3 convolution. The output
    is not bounded to [-1, 1].

    Args:
        out_channels: Channels of the media.
        dim: Features of one latent vector, what the quantizer gives.
        base_width: As in the encoder.
        multipliers: As in the encoder.
        num_res_blocks: As in the encoder; each level has one more.
        attention_levels: As in the encoder.
        dropout: As in the encoder.
        latent_width: Channels between the two first layers.
        middle_attention: As in the encoder.

    Raises:
        ConfigError: On a width that 32 does not divide, or an unknown attention level.

    Example:
        >>> import torch
        >>> decoder = VQGANDecoder(dim=8, base_width=32, multipliers=(1, 2, 2), attention_levels=())
        >>> decoder(torch.zeros(1, 8, 8, 12)).shape
        torch.Size([1, 3, 32, 48])
    """

    def __init__(
        self,
        out_channels: int = 3,
        dim: int = 256,
        base_width: int = 128,
        multipliers: Sequence[float] = (1, 1, 2, 2, 4),
        num_res_blocks: int = 2,
        attention_levels: Sequence[int] = (4,),
        dropout: float = 0.0,
        latent_width: int = 256,
        middle_attention: bool = True,
    ) -> None:
        super().__init__()
        _check_levels(multipliers, attention_levels)
        self.out_channels = out_channels
        self.dim = dim
        self.base_width = base_width
        self.multipliers = tuple(multipliers)
        self.num_res_blocks = num_res_blocks
        self.attention_levels = tuple(attention_levels)
        self.dropout = dropout
        self.latent_width = latent_width
        self.middle_attention = middle_attention
        self.stride = _strides(multipliers)

        widths = level_widths(base_width, multipliers)
        self.post_quant_conv = nn.Conv2d(dim, latent_width, 1)
        self.conv_in = nn.Conv2d(latent_width, widths[-1], 3, padding=1)
        self.mid = Middle(widths[-1], dropout, middle_attention)
        self.up = nn.ModuleList()
        for index, (out_width, in_width) in enumerate(
            zip(widths, [*widths[1:], widths[-1]], strict=True)
        ):
            level = _Level(
                in_width, out_width, num_res_blocks + 1, index in attention_levels, dropout
            )
            if index > 0:
                level.upsample = Upsample(out_width)
            self.up.append(level)
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
        hidden = self.mid(self.conv_in(self.post_quant_conv(latent)))
        for level in reversed(self.up):
            hidden = level(hidden)
        return self.conv_out(F.silu(self.norm_out(hidden)))
