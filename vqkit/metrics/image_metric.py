"""Image quality as torchmetrics: exact sums over all images and all ranks, in fp64."""

from abc import ABC, abstractmethod

from torch import Tensor

from vqkit.metrics.image import (
    MSSSIM_MINIMUM_SIDE,
    SSIM_MINIMUM_SIDE,
    mean_squared_error,
    ms_ssim,
    psnr_from_error,
    round_to_eight_bits,
    ssim,
)
from vqkit.metrics.picture_metric import PictureMetric
from vqkit.shapes import Float

__all__ = ["MSSSIM", "PSNR", "SSIM", "ImageMetric", "PooledPSNR"]


class ImageMetric(PictureMetric, ABC):
    """Base of the image metrics: a mean whose sum and count are kept over images and ranks.

    Images are summed one by one, so the result depends neither on how they are batched nor on
    how they are spread over processes. Images too small for the metric are left out and counted
    in ``num_skipped``. Without any image the result is NaN.

    Args:
        eight_bit: round both images to the 256 levels of an 8-bit file first, and so measure the
            picture that a user gets; off, the floats are compared as they are.
        **metric_options: for ``torchmetrics.Metric``, e.g. ``process_group``.
    """

    def update(
        self,
        reconstruction: Float[Tensor, "batch channels height width"],
        target: Float[Tensor, "..."],
    ) -> None:
        """Add a batch of images in [-1, 1].

        Raises:
            ShapeError: the shapes differ or a value is not finite.
        """
        if self.eight_bit:
            reconstruction = round_to_eight_bits(reconstruction)
            target = round_to_eight_bits(target)
        # Checks the images too, before they count as too small.
        error = mean_squared_error(reconstruction, target)
        if min(target.shape[-2:]) < self.minimum_side:
            self.num_skipped += len(target)
            return
        self._add(reconstruction, target, error)

    @abstractmethod
    def _add(self, reconstruction: Tensor, target: Tensor, error: Tensor) -> None:
        """Add the images to the sums; ``error`` is their mean squared error."""


class PSNR(ImageMetric):
    """Mean over images of each one's peak signal-to-noise ratio in dB, as papers report it.

    An image without error counts as 100 dB, the most that any image gets. See
    :func:`vqkit.metrics.psnr`.

    Example:
        >>> import torch
        >>> metric = PSNR()
        >>> black, white = torch.full((1, 3, 4, 4), -1.0), torch.ones(1, 3, 4, 4)
        >>> metric.update(black, black)
        >>> metric.update(black, white)
        >>> metric.compute().item()
        50.0
    """

    def _add(self, reconstruction: Tensor, target: Tensor, error: Tensor) -> None:
        self.total += psnr_from_error(error).sum()
        self.count += len(error)


class PooledPSNR(ImageMetric):
    """Peak signal-to-noise ratio in dB of the squared error over all values of all images.

    Never above the mean of the images' ratios when they have one size: a few bad images weigh
    more here.
    """

    def _add(self, reconstruction: Tensor, target: Tensor, error: Tensor) -> None:
        num_values = target[0].numel() if len(target) else 0
        self.total += error.sum() * num_values
        self.count += len(target) * num_values

    def compute(self) -> Tensor:
        """The ratio of the pooled error, NaN without any image."""
        return psnr_from_error(self.total / self.count)


class SSIM(ImageMetric):
    """Mean structural similarity (Wang et al. 2004); see :func:`vqkit.metrics.ssim`."""

    minimum_side = SSIM_MINIMUM_SIDE

    def _add(self, reconstruction: Tensor, target: Tensor, error: Tensor) -> None:
        self.total += ssim(reconstruction, target).sum()
        self.count += len(target)


class MSSSIM(ImageMetric):
    """Mean multi-scale similarity (Wang et al. 2003); see :func:`vqkit.metrics.ms_ssim`."""

    minimum_side = MSSSIM_MINIMUM_SIDE

    def _add(self, reconstruction: Tensor, target: Tensor, error: Tensor) -> None:
        self.total += ms_ssim(reconstruction, target).sum()
        self.count += len(target)
