"""The patch discriminator of pix2pix, which VQGAN trains against."""

from typing import Literal

from torch import Tensor, nn

from vqkit.errors import ConfigError, ShapeError
from vqkit.nets.vqgan_blocks import group_norm
from vqkit.shapes import Float

__all__ = ["PatchDiscriminator"]

_MAXIMUM_MULTIPLIER = 8


class PatchDiscriminator(nn.Module):
    """Judges overlapping patches: one logit each, high for real.

    Isola et al. 2017 (PatchGAN), as in Esser et al. 2021: 4x4 convolutions, ``num_layers`` of
    stride 2 and two of stride 1, leaky ReLU 0.2, weights from N(0, 0.02). Three layers see
    70 x 70 pixels per logit.

    ``norm="batch"`` is the papers'. Batch statistics tie each logit to the rest of the batch, so
    accumulation, batch size and the number of processes change the result: under distributed
    training they stay local to a process unless the module is converted with
    ``nn.SyncBatchNorm.convert_sync_batchnorm``. ``norm="group"`` (32 groups) normalises each image
    alone and keeps no state: half the batch twice gives the gradients of the whole. Spectral
    normalisation would be independent of the batch too, but its power iteration changes
    buffers in each training pass, those of the generator's step included.

    Args:
        in_channels: Channels of the media.
        base_width: Channels after the first layer; doubles per layer, up to 8 times this.
        num_layers: Convolutions of stride 2.
        norm: ``"batch"`` or ``"group"``.

    Raises:
        ConfigError: On an unknown norm, no layer, or a width that the 32 groups do not divide.

    Example:
        >>> import torch
        >>> PatchDiscriminator(base_width=8)(torch.zeros(2, 3, 64, 64)).shape
        torch.Size([2, 1, 6, 6])
    """

    def __init__(
        self,
        in_channels: int = 3,
        base_width: int = 64,
        num_layers: int = 3,
        norm: Literal["batch", "group"] = "batch",
    ) -> None:
        super().__init__()
        if num_layers < 1:
            raise ConfigError(f"PatchDiscriminator: expected num_layers >= 1, got {num_layers}.")
        if norm not in ("batch", "group"):
            raise ConfigError(
                f"PatchDiscriminator: expected norm 'batch' or 'group', got {norm!r}."
            )
        self.in_channels = in_channels
        self.base_width = base_width
        self.num_layers = num_layers
        self.norm = norm

        # A first layer without normalisation, then widths that double, the last of stride 1.
        layers: list[nn.Module] = [
            nn.Conv2d(in_channels, base_width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
        ]
        width = base_width
        for depth in range(1, num_layers + 1):
            out_width = base_width * min(2**depth, _MAXIMUM_MULTIPLIER)
            stride = 2 if depth < num_layers else 1
            layers += [
                nn.Conv2d(width, out_width, 4, stride=stride, padding=1, bias=False),
                nn.BatchNorm2d(out_width) if norm == "batch" else group_norm(out_width),
                nn.LeakyReLU(0.2),
            ]
            width = out_width
        layers.append(nn.Conv2d(width, 1, 4, padding=1))
        self.main = nn.Sequential(*layers)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.main:
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0.0, 0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1.0, 0.02)

    @property
    def minimum_side(self) -> int:
        """Least height and width in pixels that still gives one logit."""
        # Backwards: two stride-1 layers lose one pixel each, a stride-2 layer halves.
        return 3 * 2**self.num_layers

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch 1 patch_rows patch_columns"]:
        """Logits of images in [-1, 1].

        Raises:
            ShapeError: On other channels, or images smaller than ``minimum_side``.
        """
        if x.ndim != 4 or x.shape[1] != self.in_channels or min(x.shape[2:]) < self.minimum_side:
            raise ShapeError(
                f"PatchDiscriminator: expected [batch, {self.in_channels}, height, width] with "
                f"sides of at least {self.minimum_side}, got {list(x.shape)}. "
                f"Train on larger crops or with fewer num_layers."
            )
        return self.main(x)
