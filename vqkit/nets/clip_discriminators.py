"""Discriminators of clips: patches of space and time, and one of pictures for each frame."""

from typing import Literal

from torch import Tensor, nn

from vqkit.errors import ConfigError, ShapeError
from vqkit.nets.discriminator import DiscriminatorOutput
from vqkit.nets.vqgan_blocks import group_norm
from vqkit.shapes import Float

__all__ = ["ClipPatchDiscriminator", "FrameDiscriminator"]

_MAXIMUM_MULTIPLIER = 8
_SLOPE = 0.2


class ClipPatchDiscriminator(nn.Module):
    """Judges overlapping blocks of frames and pixels: one logit each, high for real.

    The patch discriminator of pix2pix with a third axis (as in TATS, arXiv 2204.03638): kernels of
    3 frames and 4x4 pixels, ``num_layers`` that halve space, of which the first
    ``num_time_layers`` halve time, and two that halve nothing; leaky ReLU 0.2, weights from
    N(0, 0.02). Takes single frames too.

    Args:
        in_channels: Channels of the media.
        base_width: Channels after the first layer; doubles per layer, up to 8 times this.
        num_layers: Convolutions that halve height and width.
        num_time_layers: How many of them halve the frames as well.
        norm: ``"group"`` (32 groups) normalises each clip alone and keeps no state; ``"batch"`` is
            the papers' (see :class:`PatchDiscriminator` for what it costs).

    Raises:
        ConfigError: An unknown norm, no layer, more layers of time than layers, or a width that the
            32 groups do not divide.

    Example:
        >>> import torch
        >>> judge = ClipPatchDiscriminator(base_width=32)
        >>> [tuple(logits.shape) for logits in judge(torch.zeros(1, 3, 9, 64, 64)).logits]
        [(1, 1, 3, 6, 6)]
    """

    def __init__(
        self,
        in_channels: int = 3,
        base_width: int = 64,
        num_layers: int = 3,
        num_time_layers: int = 2,
        norm: Literal["group", "batch"] = "group",
    ) -> None:
        super().__init__()
        if not 0 <= num_time_layers <= num_layers or num_layers < 1:
            raise ConfigError(
                "ClipPatchDiscriminator: expected num_layers >= 1 and num_time_layers of 0 to "
                f"these, got {num_layers} and {num_time_layers}."
            )
        if norm not in ("batch", "group"):
            raise ConfigError(
                f"ClipPatchDiscriminator: expected norm 'batch' or 'group', got {norm!r}."
            )
        self.in_channels = in_channels
        self.base_width = base_width
        self.num_layers = num_layers
        self.num_time_layers = num_time_layers
        self.norm = norm

        layers = []
        width = in_channels
        for depth in range(num_layers + 1):
            out_width = base_width * min(2**depth, _MAXIMUM_MULTIPLIER)
            side = 2 if depth < num_layers else 1
            stride = (2 if depth < num_time_layers else 1, side, side)
            # As in PatchDiscriminator, the first layer has a bias and no norm.
            layer: list[nn.Module] = [_conv(width, out_width, stride, bias=depth == 0)]
            if depth:
                layer.append(
                    nn.BatchNorm3d(out_width) if norm == "batch" else group_norm(out_width)
                )
            layers.append(nn.Sequential(*layer, nn.LeakyReLU(_SLOPE)))
            width = out_width
        self.layers = nn.ModuleList(layers)
        self.head = _conv(width, 1, (1, 1, 1), bias=True)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.normal_(module.weight, 0.0, 0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.BatchNorm3d):
                nn.init.normal_(module.weight, 1.0, 0.02)

    def _require_clip(self, x: Tensor) -> None:
        small = x.ndim != 5 or min(x.shape[3:]) < self.minimum_side or not x.shape[2]
        if small or x.shape[1] != self.in_channels:
            raise ShapeError(
                f"ClipPatchDiscriminator: expected [batch, {self.in_channels}, frames, height, "
                f"width] with at least one frame and sides of at least {self.minimum_side}, got "
                f"{list(x.shape)}. Train on larger crops or with fewer num_layers."
            )

    @property
    def minimum_side(self) -> int:
        """Least height and width in pixels that still gives one logit."""
        return 3 * 2**self.num_layers

    def forward(
        self, x: Float[Tensor, "batch channels frames height width"]
    ) -> DiscriminatorOutput:
        """Logits and features of clips in [-1, 1].

        Raises:
            ShapeError: On other channels, no frame, or sides smaller than ``minimum_side``.
        """
        self._require_clip(x)
        features = []
        for layer in self.layers:
            x = layer(x)
            features.append(x)
        return DiscriminatorOutput((self.head(x),), (tuple(features),))


class FrameDiscriminator(nn.Module):
    """A discriminator of pictures for every frame of a clip (VidTok, Cosmos).

    Args:
        discriminator: Of pictures; gives logits or a :class:`DiscriminatorOutput`.

    The logits and features have the frames of all clips in their batch, those of a clip one after
    the other.

    Example:
        >>> import torch
        >>> from vqkit.nets import PatchDiscriminator
        >>> judge = FrameDiscriminator(PatchDiscriminator(base_width=8))
        >>> [tuple(logits.shape) for logits in judge(torch.zeros(2, 3, 5, 64, 64)).logits]
        [(10, 1, 6, 6)]
    """

    def __init__(self, discriminator: nn.Module) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(
        self, x: Float[Tensor, "batch channels frames height width"]
    ) -> DiscriminatorOutput:
        """What the discriminator says of the frames.

        Raises:
            ShapeError: No clip.
        """
        if x.ndim != 5:
            raise ShapeError(
                "FrameDiscriminator: expected [batch, channels, frames, height, width], got "
                f"{list(x.shape)}."
            )
        output = self.discriminator(x.movedim(2, 1).flatten(0, 1))
        if isinstance(output, DiscriminatorOutput):
            return output
        return DiscriminatorOutput((output,), ((),))


def _conv(in_width: int, out_width: int, stride: tuple[int, int, int], bias: bool) -> nn.Conv3d:
    return nn.Conv3d(in_width, out_width, (3, 4, 4), stride=stride, padding=1, bias=bias)
