"""Quality of images: PSNR, SSIM, MS-SSIM and a perceptual distance, of the 8-bit pictures."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.errors import ShapeError
from vqkit.evaluation.item import Picture
from vqkit.evaluation.media_kind import IMAGES
from vqkit.evaluation.quality import Medium, Metric, Quality, Reconstruction, Scores
from vqkit.metrics.image import (
    MSSSIM_MINIMUM_SIDE,
    SSIM_MINIMUM_SIDE,
    mean_squared_error,
    ms_ssim,
    psnr_from_error,
    round_to_eight_bits,
    ssim,
)

__all__ = ["ImageQuality", "PerceptualMetric", "description_of"]

PerceptualMetric = Callable[[Tensor, Tensor], Tensor]
"""Distance of a reconstruction and its target, both ``[batch, channels, height, width]``."""

_LARGEST_PICTURE = 480
_ERROR_GAIN = 4
_TOO_SMALL = "too small"

_PSNR = Metric(
    "psnr",
    "PSNR in dB",
    "10 log10(4 / MSE) in dB, MSE over all channels and pixels of an image, at most 100",
    higher_is_better=True,
    digits=2,
)
_SSIM = Metric(
    "ssim",
    "SSIM",
    "Wang et al. 2004: Gaussian window 11 x 11, sigma 1.5, K1 0.01, K2 0.03, windows inside the "
    f"picture, mean over channels; from {SSIM_MINIMUM_SIDE} pixels a side",
    higher_is_better=True,
    digits=4,
)
_MS_SSIM = Metric(
    "ms_ssim",
    "MS-SSIM",
    f"Wang et al. 2003: five scales, mean over channels; from {MSSSIM_MINIMUM_SIDE} pixels a side",
    higher_is_better=True,
    digits=4,
)
_LPIPS = Metric("lpips", "LPIPS", "perceptual distance", higher_is_better=False, digits=4)


class ImageQuality(Quality):
    """PSNR, SSIM, MS-SSIM, and a perceptual distance where there is one.

    Both pictures are clipped to [-1, 1] and rounded to 8 bits first.

    Args:
        lpips: perceptual metric with its weights, e.g. :class:`vqkit.losses.LPIPS`; or a text that
            says why there is none, for the report.
        resize: how the images were resized before, for the report.
        crop: how the images were cropped before, for the report.
    """

    kind = IMAGES
    packages = ("torchvision", "torchmetrics", "pillow")

    def __init__(
        self,
        lpips: PerceptualMetric | str = "no perceptual metric was given",
        *,
        resize: str = "none",
        crop: str = "none",
    ) -> None:
        self.lpips = lpips
        self.resize = resize
        self.crop = crop

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """PSNR, SSIM, MS-SSIM, LPIPS."""
        if isinstance(self.lpips, str):
            lpips = replace(_LPIPS, reason=self.lpips)
        else:
            lpips = replace(_LPIPS, definition=description_of(self.lpips))
        return (_PSNR, _SSIM, _MS_SSIM, lpips)

    @property
    def settings(self) -> Mapping[str, Any]:
        """Range and how the pictures were prepared."""
        return {"value_range": [-1, 1], "bits": 8, "resize": self.resize, "crop": self.crop}

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """The perceptual metric."""
        return (self.lpips,) if isinstance(self.lpips, nn.Module) else ()

    def measure(self, name: str, reconstruction: Reconstruction, original: Medium) -> Scores:
        """Of the 8-bit pictures; ``mean_squared_error`` for the PSNR of the set as a whole."""
        assert isinstance(original, Tensor)
        assert isinstance(reconstruction, Tensor)
        target = round_to_eight_bits(original)[None]
        reconstruction = round_to_eight_bits(reconstruction)[None]
        error = mean_squared_error(reconstruction, target)
        shorter = min(original.shape[-2:])
        has_ssim, has_ms_ssim = shorter >= SSIM_MINIMUM_SIDE, shorter >= MSSSIM_MINIMUM_SIDE
        values = {
            "mean_squared_error": error.item(),
            "psnr": psnr_from_error(error).item(),
            "ssim": ssim(reconstruction, target).item() if has_ssim else None,
            "ms_ssim": ms_ssim(reconstruction, target).item() if has_ms_ssim else None,
            "lpips": self._perceptual_distance(reconstruction, target),
        }
        measured = {metric.name for metric in self.metrics if metric.reason is None}
        missing = {key for key, value in values.items() if value is None}
        return Scores(values, dict.fromkeys(sorted(missing & measured), _TOO_SMALL))

    def picture(self, name: str, reconstruction: Reconstruction, original: Medium) -> Picture:
        """Both 8-bit pictures and their difference, of at most 480 pixels a side."""
        assert isinstance(original, Tensor)
        assert isinstance(reconstruction, Tensor)
        target, decoded = map(round_to_eight_bits, (original, reconstruction))
        error = (target - decoded).abs() * _ERROR_GAIN - 1
        return Picture(name, *map(_small_levels, (target, decoded, error)))

    def _perceptual_distance(self, reconstruction: Tensor, target: Tensor) -> float | None:
        if isinstance(self.lpips, str):
            return None
        try:
            return float(self.lpips(reconstruction, target))
        except ShapeError:  # too small for the network: not defined, as SSIM is not
            return None


def _small_levels(media: Tensor) -> Tensor:
    """uint8 ``[height, width, 3]`` of at most 480 pixels a side."""
    media = (media[:3] if len(media) >= 3 else media[:1].expand(3, -1, -1))[None]
    scale = min(1.0, _LARGEST_PICTURE / max(media.shape[-2:]))
    if scale < 1:
        size = [max(1, round(side * scale)) for side in media.shape[-2:]]
        media = F.interpolate(media, size, mode="bilinear", antialias=True)
    levels = ((media[0].clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return levels.permute(1, 2, 0).cpu().contiguous()


def description_of(lpips: PerceptualMetric) -> str:
    """A perceptual metric and where its weights are from."""
    weights = (f"{name}={getattr(lpips, name, None)}" for name in ("backbone", "heads"))
    name = getattr(lpips, "__name__", type(lpips).__name__)
    return f"{name}({', '.join(weights)})" if hasattr(lpips, "backbone") else name
