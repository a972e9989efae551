"""Quality of clips as torchmetrics: exact sums over all clips and all ranks, in fp64."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from vqkit.errors import ConfigError, ShapeError
from vqkit.metrics.frechet import frechet_distance
from vqkit.metrics.image import (
    MSSSIM_MINIMUM_SIDE,
    SSIM_MINIMUM_SIDE,
    round_to_eight_bits,
)
from vqkit.metrics.motion import warping_error
from vqkit.metrics.optical_flow import OpticalFlow
from vqkit.metrics.picture_metric import PictureMetric
from vqkit.metrics.video import (
    check_clips,
    clip_psnr,
    flicker,
    frame_ms_ssim,
    frame_psnr,
    frame_ssim,
)
from vqkit.shapes import Float

__all__ = [
    "ClipMetric",
    "ClipPSNR",
    "Flicker",
    "FrameDistance",
    "FrameMSSSIM",
    "FramePSNR",
    "FrameSSIM",
    "FrechetVideoDistance",
    "WarpingError",
]


class ClipMetric(PictureMetric, ABC):
    """Base of the metrics of clips: a mean over clips whose sum and count are kept over ranks.

    Each clip counts once, however many frames it has: the mean over its frames first, then that
    over clips. (Means over all frames of all clips are another number where lengths differ.) Clips
    are summed one by one, so the result depends neither on how they are batched nor on how they are
    spread over processes. Clips that the metric is not defined for - too small, of one frame where
    it wants two - are left out and counted in ``num_skipped``. Without any clip the result is NaN.

    Args:
        eight_bit: round both clips to the 256 levels of an 8-bit file first, and so measure the
            picture that a user gets; off, the floats are compared as they are.
        **metric_options: for ``torchmetrics.Metric``, e.g. ``process_group``.
    """

    minimum_frames: int = 1

    def update(
        self,
        reconstruction: Float[Tensor, "batch channels frames height width"],
        target: Float[Tensor, "..."],
        lengths: Sequence[int] | None = None,
    ) -> None:
        """Add a batch of clips in [-1, 1].

        Args:
            reconstruction: what was decoded.
            target: the originals, of the same shape.
            lengths: frames of each clip, where the rest of its row is padding, which does not
                count. Without them all rows count whole.

        Raises:
            ShapeError: the shapes differ, a length does not fit or a value is not finite.
        """
        check_clips(reconstruction, target)
        for i, length in enumerate(_lengths(lengths, target)):
            if length < self.minimum_frames or min(target.shape[-2:]) < self.minimum_side:
                self.num_skipped += 1
                continue
            pair = (clips[i : i + 1, :, :length] for clips in (reconstruction, target))
            if self.eight_bit:
                pair = (round_to_eight_bits(clip) for clip in pair)
            value = self._measure(*pair)
            if value.isnan():
                self.num_skipped += 1
                continue
            self.total += value
            self.count += 1

    @abstractmethod
    def _measure(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """The value of one clip ``[1, channels, frames, height, width]``; NaN where there is none.

        A scalar.
        """


class FramePSNR(ClipMetric):
    """Mean over clips of the mean over frames of PSNR in dB; see :func:`frame_psnr`.

    Example:
        >>> metric = FramePSNR()
        >>> black = torch.full((2, 3, 4, 8, 8), -1.0)
        >>> half = black.clone()
        >>> half[:, :, 2:] = 1
        >>> metric.update(half, black, lengths=[4, 2])  # 50 dB, and 100 dB of two frames
        >>> metric.compute().item()
        75.0
    """

    def _measure(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        return frame_psnr(reconstruction, target).mean()


class ClipPSNR(ClipMetric):
    """Mean over clips of the PSNR in dB of all frames together; see :func:`clip_psnr`."""

    def _measure(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        return clip_psnr(reconstruction, target)[0]


class FrameSSIM(ClipMetric):
    """Mean over clips of the mean over frames of SSIM; see :func:`frame_ssim`."""

    minimum_side = SSIM_MINIMUM_SIDE

    def _measure(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        return frame_ssim(reconstruction, target).mean()


class FrameMSSSIM(ClipMetric):
    """Mean over clips of the mean over frames of MS-SSIM; see :func:`frame_ms_ssim`."""

    minimum_side = MSSSIM_MINIMUM_SIDE

    def _measure(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        return frame_ms_ssim(reconstruction, target).mean()


class FrameDistance(ClipMetric):
    """Mean over clips of the mean over frames of a distance of images, such as LPIPS.

    Args:
        distance: with weights of yours, e.g. ``vqkit.losses.LPIPS()``; called with a frame
            ``[1, channels, height, width]`` of the reconstruction and of the original. One that is
            too small for it raises a :class:`ShapeError`; the clip is left out then.
        eight_bit: as for :class:`ClipMetric`.
        **metric_options: as for :class:`ClipMetric`.
    """

    higher_is_better = False

    def __init__(
        self,
        distance: Callable[[Tensor, Tensor], Tensor],
        *,
        eight_bit: bool = True,
        **metric_options: Any,
    ) -> None:
        super().__init__(eight_bit=eight_bit, **metric_options)
        self.distance = distance

    @torch.no_grad()
    def _measure(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        try:
            values = [
                self.distance(reconstruction[:, :, t], target[:, :, t]).double().mean()
                for t in range(target.shape[2])
            ]
        except ShapeError:
            return self.total.new_full((), torch.nan)
        return torch.stack(values).mean()


class Flicker(ClipMetric):
    """Mean over clips of the mean over pairs of frames of :func:`flicker`, in the media's units."""

    higher_is_better = False
    minimum_frames = 2

    def _measure(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        return flicker(reconstruction, target).mean()


class WarpingError(ClipMetric):
    """Mean over clips of the mean over pairs of frames of :func:`warping_error`.

    Args:
        flow: estimator of motion; :class:`LucasKanade` unless told.
        eight_bit: as for :class:`ClipMetric`.
        **metric_options: as for :class:`ClipMetric`.
    """

    higher_is_better = False
    minimum_frames = 2

    def __init__(
        self, flow: OpticalFlow | None = None, *, eight_bit: bool = True, **metric_options: Any
    ) -> None:
        super().__init__(eight_bit=eight_bit, **metric_options)
        self.flow = flow

    def _measure(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        # Pairs of which nothing is visible in both frames, as at a cut, say nothing.
        return warping_error(reconstruction, target, self.flow).nanmean()


class FrechetVideoDistance(Metric):
    """Distance of the features of clips and those of their reconstructions, over the whole set.

    Unterthiner et al. 2018, "Towards Accurate Generative Models of Video" (FVD); of reconstructions
    it is called rFVD. Sums of features and of their products are kept, in fp64, so that memory does
    not grow with the set and ranks add up.

    There is no FVD, there are many. Numbers compare only where all of these agree, so say them:

    - *which network*: the I3D of TensorFlow Hub (logits of Kinetics-400, the paper's), its ports to
      PyTorch, or another model; and whether it wants values in [0, 255], [0, 1] or [-1, 1] - a
      wrapper of yours sees to it, it gets [-1, 1];
    - *size*: most I3Ds resize to 224 x 224 inside, by interpolations that differ;
    - *frames*: usually 16, and FVD of 16 frames is not that of 128; the last frames of a clip that
      do not fill a window are left out here, and windows do not overlap;
    - *frame rate*, *compression* of the originals, *how many clips*: with few, the distance is too
      large (there is no correction here, as there is none elsewhere).

    Args:
        features: network with weights of yours: ``[batch, channels, frames, height, width]`` in
            [-1, 1] to ``[batch, dim]``, e.g. an I3D as TorchScript. Called without gradients.
        dim: of its output.
        num_frames: length of a window.
        eight_bit: round both clips to the 256 levels of an 8-bit file first.
        **metric_options: for ``torchmetrics.Metric``.

    Raises:
        ConfigError: a number below 1.

    Example:
        >>> metric = FrechetVideoDistance(lambda clips: clips.mean(dim=(2, 3, 4)), 3, num_frames=4)
        >>> clips = torch.rand(5, 3, 9, 8, 8)
        >>> metric.update(clips, clips)
        >>> metric.num_windows, metric.compute().item() < 1e-9
        (10, True)
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False

    sums: Tensor
    products: Tensor
    count: Tensor
    num_skipped: Tensor
    """Clips that are shorter than a window."""

    def __init__(
        self,
        features: Callable[[Tensor], Tensor],
        dim: int,
        *,
        num_frames: int = 16,
        eight_bit: bool = True,
        **metric_options: Any,
    ) -> None:
        super().__init__(**metric_options)
        if dim < 1 or num_frames < 1:
            raise ConfigError(
                f"FrechetVideoDistance: expected dim and num_frames >= 1, got {dim}, {num_frames}."
            )
        self.features = features
        self.dim = dim
        self.num_frames = num_frames
        self.eight_bit = eight_bit
        zeros = {"sums": (2, dim), "products": (2, dim, dim)}
        for name, shape in zeros.items():
            self.add_state(name, torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")
        for name in ("count", "num_skipped"):
            self.add_state(name, torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    @property
    def num_windows(self) -> int:
        """Windows measured, of originals and as many of reconstructions."""
        return int(self.count)

    def update(
        self,
        reconstruction: Float[Tensor, "batch channels frames height width"],
        target: Float[Tensor, "..."],
        lengths: Sequence[int] | None = None,
    ) -> None:
        """Add a batch of clips in [-1, 1]; of those with ``lengths`` the rest is padding.

        Raises:
            ShapeError: the shapes differ, a length does not fit, a value is not finite, or the
                features are no ``[batch, dim]``.
        """
        check_clips(reconstruction, target)
        for i, length in enumerate(_lengths(lengths, target)):
            windows = range(0, length - self.num_frames + 1, self.num_frames)
            self.num_skipped += not windows
            for start in windows:
                end = start + self.num_frames
                for row, clips in enumerate((reconstruction, target)):
                    self._add(row, clips[i : i + 1, :, start:end])
                self.count += 1

    def compute(self) -> Tensor:
        """The distance, 0 and up; NaN below two windows."""
        if self.count < 2:
            return self.sums.new_full((), torch.nan)
        means = self.sums / self.count
        outer = means[:, :, None] * means[:, None, :]
        covariances = (self.products - self.count * outer) / (self.count - 1)
        return frechet_distance(means[0], covariances[0], means[1], covariances[1])

    @torch.no_grad()
    def _add(self, row: int, window: Tensor) -> None:
        window = round_to_eight_bits(window) if self.eight_bit else window
        features = self.features(window)
        if tuple(features.shape) != (1, self.dim):
            raise ShapeError(
                f"Features of clips: expected [1, {self.dim}] of one clip, got "
                f"{list(features.shape)}. Set dim to what the network gives."
            )
        features = features.to(self.sums.device, torch.float64)
        self.sums[row] += features[0]
        self.products[row] += features.T @ features


def _lengths(lengths: Sequence[int] | None, target: Tensor) -> list[int]:
    """Frames of each clip of a batch."""
    num_frames = target.shape[2]
    if lengths is None:
        return [num_frames] * len(target)
    checked = [int(length) for length in lengths]
    if len(checked) != len(target) or not all(0 <= length <= num_frames for length in checked):
        raise ShapeError(
            f"Lengths of clips: expected {len(target)} from 0 to {num_frames} frames, got "
            f"{checked}."
        )
    return checked
