"""A small encoder and decoder that train in minutes on a CPU.

Nothing runs at full resolution: patches become frequencies, and nearly all work is 3x3
convolutions at a fraction of the resolution. No statistic is taken over the batch or the picture,
so that a latent depends on its neighbourhood alone, whatever the size of the picture.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.errors import ConfigError
from vqkit.nets.grid import require_image, require_latent
from vqkit.nets.patches import Patchify, Unpatchify
from vqkit.shapes import Float

__all__ = ["FastDecoder", "FastEncoder"]

_INITIAL_BRANCH_GAIN = 0.1
_LATENT_GAIN = 2.0


def _check(patch: int, widths: Sequence[int], num_blocks: Sequence[int]) -> None:
    if not widths or len(widths) != len(num_blocks):
        raise ConfigError(
            f"Fast network: expected one entry of num_blocks per entry of widths, got "
            f"{list(num_blocks)} for {list(widths)}."
        )
    if patch < 1 or min(widths) < 1 or min(num_blocks) < 0:
        raise ConfigError(
            f"Fast network: expected patch and widths >= 1 and num_blocks >= 0, got {patch}, "
            f"{list(widths)}, {list(num_blocks)}."
        )


def _strides(patch: int, widths: Sequence[int]) -> tuple[int, int]:
    factor = patch * 2 ** (len(widths) - 1)
    return factor, factor


def _linear(in_width: int, out_width: int, gain: float = 1.0) -> nn.Conv2d:
    """A 1x1 convolution whose output has ``gain`` times the deviation of its input at first."""
    layer = nn.Conv2d(in_width, out_width, 1)
    nn.init.normal_(layer.weight, std=gain * in_width**-0.5)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


class _Block(nn.Module):
    """``x + gain * conv(SiLU(conv(x / rms(x))))``, the root mean square over channels.

    Branches start small: the network is nearly linear at first, which fits the bulk of an image
    in tens of steps and stands a learning rate that would drive a plain network into the flat
    parts of a bounded quantizer.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.gain = nn.Parameter(torch.full((width, 1, 1), _INITIAL_BRANCH_GAIN))

    def forward(
        self, x: Float[Tensor, "batch dim height width"]
    ) -> Float[Tensor, "batch dim height width"]:
        """Same shape."""
        normalised = x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-6)
        return x + self.gain * self.conv2(F.silu(self.conv1(normalised)))


class _Bound(nn.Module):
    """``x / sqrt(1 + mean(x^2))`` over channels: linear near zero, length bounded far from it."""

    def forward(
        self, x: Float[Tensor, "batch dim height width"]
    ) -> Float[Tensor, "batch dim height width"]:
        """Same shape."""
        return x * torch.rsqrt(1.0 + x.square().mean(dim=1, keepdim=True))


class FastEncoder(nn.Module):
    """Image to latent grid: cosine transform of patches, then residual blocks per resolution.

    vqkit's own. Latents of photos have a deviation of about a half at first: spread over the levels
    of FSQ, and far from the flat parts of its bound.

    Args:
        in_channels: Channels of the media, in [-1, 1].
        dim: Features of one latent vector, what the quantizer takes.
        patch: Side in pixels of the patches that the first layer transforms.
        widths: Channels per resolution, from ``1 / patch`` downwards by halves; the stride is
            ``patch * 2 ** (len(widths) - 1)``.
        num_blocks: Residual blocks per resolution.

    Raises:
        ConfigError: If ``widths`` and ``num_blocks`` do not match or hold impossible values.

    Example:
        >>> encoder = FastEncoder(dim=4)
        >>> encoder.stride
        (8, 8)
        >>> encoder(torch.zeros(1, 3, 64, 96)).shape
        torch.Size([1, 4, 8, 12])
    """

    def __init__(
        self,
        in_channels: int = 3,
        dim: int = 16,
        patch: int = 4,
        widths: Sequence[int] = (32, 96),
        num_blocks: Sequence[int] = (1, 4),
    ) -> None:
        super().__init__()
        _check(patch, widths, num_blocks)
        self.in_channels = in_channels
        self.dim = dim
        self.patch = patch
        self.widths = tuple(widths)
        self.num_blocks = tuple(num_blocks)
        self.stride = _strides(patch, widths)

        self.patchify = Patchify(in_channels, patch)
        stages: list[nn.Module] = []
        width = in_channels * patch**2
        for level, (out_width, count) in enumerate(zip(widths, num_blocks, strict=True)):
            if level:
                stages.append(nn.PixelUnshuffle(2))
                width *= 4
            stages.append(_linear(width, out_width))
            stages += [_Block(out_width) for _ in range(count)]
            width = out_width
        self.stages = nn.Sequential(*stages)
        self.bound = _Bound()
        self.head = _linear(width, dim, gain=_LATENT_GAIN)

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch dim latent_height latent_width"]:
        """Latents of images in [-1, 1] whose sides the stride divides.

        Raises:
            ShapeError: On other channels or sides.
        """
        require_image(x, self.in_channels, self.stride)
        return self.head(self.bound(self.stages(self.patchify(x))))


class FastDecoder(nn.Module):
    """Latent grid to image: the mirror of :class:`FastEncoder`, with blocks of its own number.

    The output is not bounded to [-1, 1].

    Args:
        out_channels: Channels of the media.
        dim: Features of one latent vector, what the quantizer gives.
        patch: As in the encoder.
        widths: As in the encoder, in the same order: the latent grid's is the last.
        num_blocks: Residual blocks per resolution, in the same order.

    Raises:
        ConfigError: If ``widths`` and ``num_blocks`` do not match or hold impossible values.

    Example:
        >>> FastDecoder(dim=4)(torch.zeros(1, 4, 8, 12)).shape
        torch.Size([1, 3, 64, 96])
    """

    def __init__(
        self,
        out_channels: int = 3,
        dim: int = 16,
        patch: int = 4,
        widths: Sequence[int] = (32, 96),
        num_blocks: Sequence[int] = (1, 5),
    ) -> None:
        super().__init__()
        _check(patch, widths, num_blocks)
        self.out_channels = out_channels
        self.dim = dim
        self.patch = patch
        self.widths = tuple(widths)
        self.num_blocks = tuple(num_blocks)
        self.stride = _strides(patch, widths)

        stages: list[nn.Module] = [_linear(dim, widths[-1])]
        for level in reversed(range(len(widths))):
            stages += [_Block(widths[level]) for _ in range(num_blocks[level])]
            if level:
                stages += [_linear(widths[level], 4 * widths[level - 1]), nn.PixelShuffle(2)]
        self.stages = nn.Sequential(*stages)
        self.head = _linear(widths[0], out_channels * patch**2)
        self.unpatchify = Unpatchify(out_channels, patch)

    @property
    def last_layer(self) -> Tensor:
        """Weight of the last layer that learns, where the adaptive weight is measured."""
        return self.head.weight

    def forward(
        self, latent: Float[Tensor, "batch dim latent_height latent_width"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Images, nominally in [-1, 1], of ``stride`` times the latent's sides.

        Raises:
            ShapeError: On another number of features or an empty grid.
        """
        require_latent(latent, self.dim)
        return self.unpatchify(self.head(self.stages(latent)))
