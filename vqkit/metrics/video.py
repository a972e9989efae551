"""Quality of clips against a reference: frame by frame, as a whole, and from frame to frame.

Every value is that of one frame, or of one frame and the one before it, in fp64. What a number of
a clip is depends on how these are put together, and papers differ:

- **mean over frames**: of each frame's PSNR, then over clips. VidTok's and HNeRV's code do so. A
  frame without error counts as 100 dB here.
- **per clip**: PSNR of the mean squared error over all frames (:func:`clip_psnr`). TokenBench
  (Cosmos) does so, and FFmpeg's filter ``psnr`` as its "average". Never above the mean over frames:
  a few bad frames weigh more.

SSIM and MS-SSIM have no second way: they are means over frames, of single pictures. Windows over
time, as some 3-D variants have them, are not meant.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from vqkit.errors import ShapeError
from vqkit.metrics.image import (
    mean_squared_error,
    ms_ssim,
    psnr_from_error,
    ssim,
)
from vqkit.shapes import Float

__all__ = [
    "check_clips",
    "clip_psnr",
    "flicker",
    "frame_errors",
    "frame_ms_ssim",
    "frame_psnr",
    "frame_ssim",
]


def frame_errors(
    reconstruction: Float[Tensor, "batch channels frames height width"],
    target: Float[Tensor, "..."],
) -> Float[Tensor, "batch frames"]:
    """Squared error of each frame, mean over its channels and pixels.

    Raises:
        ShapeError: the shapes differ, a frame is empty or a value is not finite.
    """
    return _of_frames(mean_squared_error, reconstruction, target)


def frame_psnr(
    reconstruction: Float[Tensor, "batch channels frames height width"],
    target: Float[Tensor, "..."],
) -> Float[Tensor, "batch frames"]:
    """Peak signal-to-noise ratio of each frame in dB, at most 100; :func:`vqkit.metrics.psnr`.

    Raises:
        ShapeError: as for :func:`frame_errors`.

    Example:
        >>> target = torch.full((1, 3, 2, 4, 4), -1.0)
        >>> reconstruction = target.clone()
        >>> reconstruction[:, :, 1] = 1
        >>> frame_psnr(reconstruction, target).tolist()
        [[100.0, 0.0]]
    """
    return psnr_from_error(frame_errors(reconstruction, target))


def clip_psnr(
    reconstruction: Float[Tensor, "batch channels frames height width"],
    target: Float[Tensor, "..."],
) -> Float[Tensor, " batch"]:
    """Peak signal-to-noise ratio in dB of the squared error over all frames of a clip, at most 100.

    Raises:
        ShapeError: as for :func:`frame_errors`, or there is no frame.

    Example:
        >>> target = torch.full((1, 3, 2, 4, 4), -1.0)
        >>> reconstruction = target.clone()
        >>> reconstruction[:, :, 1] = 1
        >>> round(clip_psnr(reconstruction, target).item(), 2)  # half of the pixels are all wrong
        3.01
    """
    errors = frame_errors(reconstruction, target)
    if errors.shape[1] == 0:
        raise ShapeError("PSNR of a clip: expected at least one frame, got none.")
    return psnr_from_error(errors.mean(dim=1))


def frame_ssim(
    reconstruction: Float[Tensor, "batch channels frames height width"],
    target: Float[Tensor, "..."],
) -> Float[Tensor, "batch frames"]:
    """Structural similarity of each frame; :func:`vqkit.metrics.ssim`.

    Raises:
        ShapeError: as for :func:`frame_errors`, or a side is below 11 pixels.
    """
    return _of_frames(ssim, reconstruction, target)


def frame_ms_ssim(
    reconstruction: Float[Tensor, "batch channels frames height width"],
    target: Float[Tensor, "..."],
) -> Float[Tensor, "batch frames"]:
    """Multi-scale structural similarity of each frame; :func:`vqkit.metrics.ms_ssim`.

    Raises:
        ShapeError: as for :func:`frame_errors`, or a side is below 161 pixels.
    """
    return _of_frames(ms_ssim, reconstruction, target)


def flicker(
    reconstruction: Float[Tensor, "batch channels frames height width"],
    target: Float[Tensor, "..."],
) -> Float[Tensor, "batch pairs"]:
    """How differently the reconstruction changes from frame to frame, one value for each pair.

    ``mean |(r_t - r_{t-1}) - (x_t - x_{t-1})|`` over channels and pixels: the change of the error.
    An error that stands still is none, motion of the original is none; a texture that is drawn
    anew in each frame is. In the units of the media, whose range is 2: times 127.5 in levels of 8
    bits. There is one pair fewer than frames.

    Raises:
        ShapeError: the shapes differ, a frame is empty or a value is not finite.

    Example:
        >>> target = torch.rand(1, 3, 4, 8, 8) - 0.5
        >>> flicker(target + 0.25, target).max() < 1e-6
        tensor(True)
    """
    check_clips(reconstruction, target)
    batch, _, frames = target.shape[:3]
    values = target.new_zeros(batch, max(0, frames - 1), dtype=torch.float64)
    before: Tensor | None = None
    for t in range(frames):
        # A frame at a time: fp64 copies of clips are large.
        error = (reconstruction[:, :, t].double() - target[:, :, t].double()).detach()
        if before is not None:
            values[:, t - 1] = (error - before).abs().mean(dim=(1, 2, 3))
        before = error
    return values


def check_clips(reconstruction: Tensor, target: Tensor) -> None:
    """Refuse what cannot be compared.

    Raises:
        ShapeError: the two are no batches of clips of one shape, a frame is empty, or a value is
            not finite.
    """
    if reconstruction.shape != target.shape or target.ndim != 5:
        raise ShapeError(
            "Comparing clips failed: expected two of one shape [batch, channels, frames, height, "
            f"width], got a reconstruction of {tuple(reconstruction.shape)} and a target of "
            f"{tuple(target.shape)}. Cut the reconstruction to the frames and the size of the "
            "original."
        )
    if 0 in (target.shape[1], *target.shape[3:]):
        raise ShapeError(
            f"Comparing clips failed: expected a channel and sides of at least one pixel, got "
            f"{tuple(target.shape)}."
        )
    for name, clips in (("reconstruction", reconstruction), ("target", target)):
        if not torch.isfinite(clips).all():
            raise ShapeError(
                "Measuring clips failed: expected finite values, got NaN or infinity (in the "
                f"{name}). Look for the step that diverged."
            )


def _of_frames(
    measure: Callable[[Tensor, Tensor], Tensor], reconstruction: Tensor, target: Tensor
) -> Tensor:
    """A measure of images on each frame, one after the other: its maps are large."""
    check_clips(reconstruction, target)
    values = [measure(reconstruction[:, :, t], target[:, :, t]) for t in range(target.shape[2])]
    if not values:
        return target.new_zeros(len(target), 0, dtype=torch.float64)
    return torch.stack(values, dim=1)
