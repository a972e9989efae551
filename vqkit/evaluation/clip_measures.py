"""The metrics of clips that an evaluation measures block by block."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import zip_longest

import torch
from torch import Tensor

from vqkit.errors import ShapeError
from vqkit.evaluation.footage import BLOCK_FRAMES, Footage
from vqkit.evaluation.quality import Metric, Reconstruction
from vqkit.metrics.image import (
    MSSSIM_MINIMUM_SIDE,
    SSIM_MINIMUM_SIDE,
    round_to_eight_bits,
    ssim,
    ssim_and_ms_ssim,
)
from vqkit.metrics.motion import Motion
from vqkit.metrics.optical_flow import OpticalFlow
from vqkit.metrics.video import flicker, frame_errors

__all__ = ["ERROR", "FRAMES", "PAIRS", "ClipMeasure", "eight_bit_blocks", "motion_measure"]

_LEVELS = 127.5  # of 8 bits, in media that span 2


@dataclass(frozen=True)
class ClipMeasure:
    """Numbers of frames, or of frames and the ones before them.

    Attributes:
        metrics: What they are; the number of a clip is the mean over its frames.
        values: Of blocks ``[1, channels, frames, height, width]``, reconstruction first, for each
            metric the numbers of each frame (``[frames]``, one fewer of pairs); NaN where there is
            none.
        of_pairs: Whether blocks begin with the last frame of the block before.
        minimum_side: In pixels, for which it is defined.
    """

    metrics: tuple[Metric, ...]
    values: Callable[[Tensor, Tensor], tuple[Tensor, ...]]
    of_pairs: bool = False
    minimum_side: int = 1


def eight_bit_blocks(
    reconstruction: Reconstruction, original: Footage
) -> Iterator[tuple[Tensor, Tensor]]:
    """Both clips in step, a few frames at a time, in the levels of 8 bits that a file can hold.

    Raises:
        ShapeError: One of them has more frames or another size, or a value is not finite.
    """
    pieces = (reconstruction,) if isinstance(reconstruction, Tensor) else reconstruction
    decoded_frames, frames = _frames(pieces), _frames(original.blocks())
    num_frames, block = 0, list[tuple[Tensor, Tensor]]()
    for decoded, frame in zip_longest(decoded_frames, frames):
        if decoded is None or frame is None or decoded.shape != frame.shape:
            raise ShapeError(
                "Comparing clips failed: expected a reconstruction of as many frames and of the "
                f"size of the original, got {_shown(decoded)} and {_shown(frame)} (frame "
                f"{num_frames})."
            )
        num_frames += 1
        block.append((decoded, frame))
        if len(block) == BLOCK_FRAMES:
            yield _rounded(block)
            block = []
    if block:
        yield _rounded(block)
    if not num_frames:
        raise ShapeError("Comparing clips failed: expected at least one frame, got none.")


def _frames(pieces: Iterable[Tensor]) -> Iterator[Tensor]:
    for piece in pieces:
        yield from piece.unbind(1)


def _shown(frame: Tensor | None) -> str:
    return "no frame" if frame is None else f"a frame {list(frame.shape)}"


def _rounded(block: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    decoded = torch.stack([pair[0] for pair in block], dim=1)
    frames = torch.stack([pair[1] for pair in block], dim=1).to(decoded.device)
    return round_to_eight_bits(decoded)[None], round_to_eight_bits(frames)[None]


_SSIM = Metric(
    "ssim",
    "SSIM",
    "mean over frames; Wang et al. 2004: Gaussian window 11 x 11, sigma 1.5, K1 0.01, K2 0.03, "
    f"windows inside the frame, mean over channels; from {SSIM_MINIMUM_SIDE} pixels a side",
    higher_is_better=True,
    digits=4,
)
_MS_SSIM = Metric(
    "ms_ssim",
    "MS-SSIM",
    "mean over frames; Wang et al. 2003: five scales, mean over channels; from "
    f"{MSSSIM_MINIMUM_SIDE} pixels a side",
    higher_is_better=True,
    digits=4,
)
_FLICKER = Metric(
    "flicker",
    "flicker in levels",
    "mean absolute change of the error from frame to frame, in levels of 8 bits",
    higher_is_better=False,
    digits=3,
)
_WARPING = Metric(
    "warping_error",
    "warping error x 1000",
    "Lai et al. 2018: squared difference (values from 0 to 1, mean over channels) of a frame and "
    "the next one brought back along the motion of the original, over pixels visible in both "
    "(Ruder et al. 2016), mean over frames, times 1000",
    higher_is_better=False,
    digits=3,
)
ERROR = Metric("mean_squared_error", "MSE", "values from -1 to 1", higher_is_better=False)
"""Behind both kinds of PSNR."""


def _similarities(decoded: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
    """SSIM and MS-SSIM, the latter NaN of small frames."""
    has_both = min(frames.shape[-2:]) >= MSSSIM_MINIMUM_SIDE
    found = []
    for t in range(frames.shape[2]):
        pair = decoded[:, :, t], frames[:, :, t]
        found.append(
            ssim_and_ms_ssim(*pair) if has_both else (ssim(*pair), pair[0].new_tensor([torch.nan]))
        )
    first, second = (torch.cat(values) for values in zip(*found, strict=True))
    return first, second


FRAMES = (
    ClipMeasure((ERROR,), lambda decoded, frames: (frame_errors(decoded, frames)[0],)),
    ClipMeasure((_SSIM, _MS_SSIM), _similarities, minimum_side=SSIM_MINIMUM_SIDE),
)
"""Squared error, SSIM and MS-SSIM of each frame."""

PAIRS = ClipMeasure(
    (_FLICKER,),
    lambda decoded, frames: (_LEVELS * flicker(decoded, frames)[0],),
    of_pairs=True,
)
"""Flicker of each frame behind the first."""


def motion_measure(flow: OpticalFlow | str) -> ClipMeasure:
    """The warping error of reconstructions and, by the same flow, of the originals.

    Args:
        flow: Estimator of motion; or a text that says why there is none.
    """
    of_original = replace(
        _WARPING,
        name="warping_error_original",
        title="the same of originals",
        definition=f"of the original itself, for comparison: {_WARPING.definition}",
    )
    metrics: tuple[Metric, ...] = (_WARPING, of_original)
    if isinstance(flow, str):
        metrics = tuple(replace(metric, reason=flow) for metric in metrics)
        return ClipMeasure(metrics, lambda decoded, frames: (), of_pairs=True)
    name = getattr(flow, "__qualname__", type(flow).__qualname__)
    metrics = tuple(
        replace(metric, definition=f"{metric.definition}; flow: {name}") for metric in metrics
    )

    def values(decoded: Tensor, frames: Tensor) -> tuple[Tensor, ...]:
        motion = Motion.of(frames[0], flow)
        return tuple(1000 * motion.errors(clip[0]) for clip in (decoded, frames))

    return ClipMeasure(metrics, values, of_pairs=True)
