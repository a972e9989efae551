"""LPIPS: the distance of two images in the features of VGG16."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.errors import ShapeError
from vqkit.losses.lpips_weights import STAGES, load_weights
from vqkit.shapes import Float

__all__ = ["LPIPS"]

# Means and deviations of ImageNet, as the authors express them for images in [-1, 1].
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
_MINIMUM_SIDE = 16


class LPIPS(nn.Module):
    """Learned perceptual distance of images in [-1, 1]: VGG16, linear heads, version 0.1.

    Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric",
    eq. 1: features of five layers are scaled to unit length at each position, their squared
    differences weighted per channel, averaged over positions and summed over layers.

    The weights are a fixed yardstick, not a part of the model: neither parameters nor in the state
    dict (checkpoints stay 59 MB smaller, strict loading works). They follow the module to its
    device and stay fp32. fp32 inside, whatever autocast says; training mode changes nothing.

    Args:
        backbone: "pretrained" (torchvision's VGG16, from torch's hub folder), a file with its
            state dict, or "random".
        heads: "pretrained" (the copy of the authors' file that torchmetrics installs), a file of
            that layout (``lin0.model.1.weight`` and so on), or "random".
        download: Whether torchvision may fetch VGG16 (528 MB) where it is absent.
        seed: Of random weights, which are for tests.

    Raises:
        MissingExtraError: If a file is absent; says which to fetch and where to put them.
        ConfigError: If a file does not hold these weights.

    Example:
        >>> lpips = LPIPS(backbone="random", heads="random")
        >>> image = torch.zeros(1, 3, 32, 32)
        >>> lpips(image, image)
        tensor(0.)
    """

    def __init__(
        self,
        backbone: str = "pretrained",
        heads: str = "pretrained",
        download: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.heads = heads
        self.download = download
        self.seed = seed
        # A plain dict hides the tensors from parameters(), state_dict(), optimizers and DDP.
        self._weights = load_weights(backbone, heads, download, seed)
        self._weights["shift"] = torch.tensor(_SHIFT).view(3, 1, 1)
        self._weights["scale"] = torch.tensor(_SCALE).view(3, 1, 1)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "LPIPS":
        # What .to(), .cuda() and .half() call: the device is followed, the dtype is not.
        for name, weight in self._weights.items():
            self._weights[name] = weight.to(fn(weight).device)
        return super()._apply(fn, recurse)

    def forward(
        self,
        reconstruction: Float[Tensor, "batch channels height width"],
        target: Float[Tensor, "batch2 channels2 height2 width2"],
    ) -> Float[Tensor, ""]:
        """Mean distance over the batch.

        Raises:
            ShapeError: If the shapes differ, on other than 1 or 3 channels, below 16 pixels a side.
        """
        return self.distance(reconstruction, target).mean()

    def distance(
        self,
        reconstruction: Float[Tensor, "batch channels height width"],
        target: Float[Tensor, "batch2 channels2 height2 width2"],
    ) -> Float[Tensor, " batch"]:
        """One distance per item, 0 for equal images; grey images count as RGB of equal channels.

        Raises:
            ShapeError: As :meth:`forward`.
        """
        shape = reconstruction.shape
        of_pictures = len(shape) == 4 and shape[1] in (1, 3) and min(shape[2:]) >= _MINIMUM_SIDE
        if shape != target.shape or not of_pictures:
            raise ShapeError(
                f"LPIPS: expected two equal shapes [batch, 1 or 3, height, width] with sides of "
                f"at least {_MINIMUM_SIDE}, got {list(shape)} and {list(target.shape)}. Of clips "
                "FrameLoss takes the frames."
            )
        with torch.autocast(reconstruction.device.type, enabled=False):
            total = reconstruction.new_zeros(len(reconstruction), dtype=torch.float32)
            pairs = zip(self._features(reconstruction), self._features(target), strict=True)
            for stage, (ours, theirs) in enumerate(pairs):
                difference = (_unit_length(ours) - _unit_length(theirs)).square()
                head = self._weights[f"lin{stage}.model.1.weight"]
                total = total + F.conv2d(difference, head).mean(dim=(1, 2, 3))
            return total

    def _features(self, image: Tensor) -> list[Tensor]:
        hidden = (image.float() - self._weights["shift"]) / self._weights["scale"]
        features = []
        for stage, layers in enumerate(STAGES):
            if stage:
                hidden = F.max_pool2d(hidden, 2)
            for layer in layers:
                weight = self._weights[f"features.{layer}.weight"]
                bias = self._weights[f"features.{layer}.bias"]
                hidden = F.relu(F.conv2d(hidden, weight, bias, padding=1))
            features.append(hidden)
        return features


def _unit_length(features: Tensor) -> Tensor:
    # vector_norm has a gradient of 0 where all channels are 0; a square root of a sum has NaN.
    return features / (torch.linalg.vector_norm(features, dim=1, keepdim=True) + 1e-10)
