"""Quality of clips: of frames, of changes between them, and what weights or tools allow."""

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from vqkit.errors import ShapeError
from vqkit.evaluation.clip_measures import (
    ERROR,
    FRAMES,
    PAIRS,
    ClipMeasure,
    eight_bit_blocks,
    motion_measure,
)
from vqkit.evaluation.footage import Footage, footage_of
from vqkit.evaluation.image_quality import PerceptualMetric, description_of
from vqkit.evaluation.media_kind import CLIPS
from vqkit.evaluation.quality import Medium, Metric, Quality, Reconstruction, Scores
from vqkit.evaluation.vmaf import VMAF
from vqkit.metrics.image import psnr_from_error
from vqkit.metrics.optical_flow import LucasKanade, OpticalFlow

__all__ = ["VideoQuality"]

_TOO_SMALL, _TOO_SHORT, _HIDDEN = "too small", "a single frame", "nothing visible in two frames"

_NOT_OF_LADDERS = "not measured at each setting of a codec"

_PSNR = Metric(
    "psnr",
    "PSNR in dB",
    "mean over frames of 10 log10(4 / MSE) in dB, MSE over all channels and pixels of a frame, at "
    "most 100 each",
    higher_is_better=True,
    digits=2,
)
_CLIP_PSNR = Metric(
    "clip_psnr",
    "PSNR of clips in dB",
    "10 log10(4 / MSE) in dB, MSE over all channels, pixels and frames of a clip, at most 100",
    higher_is_better=True,
    digits=2,
)
_LPIPS = Metric("lpips", "LPIPS", "perceptual distance", higher_is_better=False, digits=4)
_VMAF = Metric("vmaf", "VMAF", "Netflix's VMAF, 0 to 100", higher_is_better=True, digits=2)


class VideoQuality(Quality):
    """Metrics of clips, of the 8-bit frames, in memory that does not grow with the clip.

    The number of a clip is the mean over its frames and a report's the mean over clips, so that a
    clip counts once, however long it is; ``clip_psnr`` is of the squared error over all frames of a
    clip, and ``pooled`` of a report over those of all clips. Frames that were repeated to fill the
    last latent frame are cut off by the tokenizer and do not count.

    Args:
        lpips: perceptual metric with its weights, e.g. :class:`vqkit.losses.LPIPS`, of each frame;
            or a text that says why there is none, for the report.
        flow: estimator of motion for the warping error, e.g. a RAFT of yours; or a text that says
            why there is none. :class:`vqkit.metrics.LucasKanade` unless told.
        vmaf: the tool, if you have it (:class:`VMAF`); or a text that says why not.
        resize: how the frames were resized before, for the report.
        crop: how the frames were cropped before, for the report.

    Example:
        >>> from vqkit.evaluation import TensorFootage
        >>> clip = torch.zeros(3, 5, 16, 16)
        >>> scores = VideoQuality().measure("grey", clip + 0.1, TensorFootage(clip))
        >>> round(scores.values["psnr"], 1), len(scores.series["psnr"]), scores.reasons["ms_ssim"]
        (26.5, 5, 'too small')
    """

    kind = CLIPS
    packages = ("av", "torchvision", "torchmetrics")

    def __init__(
        self,
        lpips: PerceptualMetric | str = "no perceptual metric was given",
        *,
        flow: OpticalFlow | str | None = None,
        vmaf: VMAF | str = "no VMAF was given",
        resize: str = "none",
        crop: str = "none",
    ) -> None:
        self.lpips = lpips
        self.flow = LucasKanade() if flow is None else flow
        self.vmaf = vmaf
        self.resize = resize
        self.crop = crop
        self._measures = (*FRAMES, self._lpips_measure(), PAIRS, motion_measure(self.flow))

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """PSNR, SSIM, MS-SSIM, LPIPS, flicker, warping error, VMAF."""
        _, *others = (metric for measure in self._measures for metric in measure.metrics)
        if isinstance(self.vmaf, str):
            vmaf = replace(_VMAF, reason=self.vmaf)
        else:
            vmaf = replace(_VMAF, definition=f"{_VMAF.definition}; {self.vmaf.definition}")
        return (_PSNR, _CLIP_PSNR, *others, vmaf)

    @property
    def settings(self) -> Mapping[str, Any]:
        """Range, how frames become a clip's number, and how the clips were prepared."""
        return {
            "value_range": [-1, 1],
            "bits": 8,
            "average": "frames, then clips",
            "resize": self.resize,
            "crop": self.crop,
        }

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """The perceptual metric and the estimator of motion, where they are networks."""
        return tuple(part for part in (self.lpips, self.flow) if isinstance(part, nn.Module))

    def measure(self, name: str, reconstruction: Reconstruction, original: Medium) -> Scores:
        """Of the 8-bit frames; ``mean_squared_error`` for the PSNR of the set as a whole."""
        assert isinstance(original, Tensor | Footage)
        footage = footage_of(original)
        clip = _ClipScores(self._measures)
        with ExitStack() as stack:
            vmaf = None
            if isinstance(self.vmaf, VMAF):
                vmaf = stack.enter_context(self.vmaf.comparison(footage.frame_rate))
            for decoded, frames in eight_bit_blocks(reconstruction, footage):
                clip.add(decoded, frames)
                if vmaf is not None:
                    vmaf.add(decoded[0], frames[0])
            if vmaf is not None:
                clip.series[_VMAF.name] = vmaf.scores()
        return clip.scores()

    def for_ladders(self) -> "VideoQuality":
        """Without the warping error: motion would be estimated anew for each setting of a codec."""
        if isinstance(self.flow, str):
            return self
        return VideoQuality(
            self.lpips, flow=_NOT_OF_LADDERS, vmaf=self.vmaf, resize=self.resize, crop=self.crop
        )

    def _lpips_measure(self) -> ClipMeasure:
        if isinstance(self.lpips, str):
            metric = replace(_LPIPS, reason=self.lpips)
            return ClipMeasure((metric,), lambda decoded, frames: ())
        metric = replace(_LPIPS, definition=f"mean over frames; {description_of(self.lpips)}")
        lpips = self.lpips

        def values(decoded: Tensor, frames: Tensor) -> tuple[Tensor, ...]:
            found = []
            for t in range(frames.shape[2]):
                try:
                    found.append(float(lpips(decoded[:, :, t], frames[:, :, t])))
                except ShapeError:  # too small for the network: not defined, as SSIM is not
                    found.append(math.nan)
            return (torch.tensor(found, dtype=torch.float64),)

        return ClipMeasure((metric,), values)


class _ClipScores:
    """The numbers of one clip, as its blocks come by.

    Args:
        measures: What is measured.
    """

    def __init__(self, measures: Sequence[ClipMeasure]) -> None:
        self.series: dict[str, list[float]] = {}
        self._measures = [m for m in measures if all(row.reason is None for row in m.metrics)]
        self._last: tuple[Tensor, Tensor] | None = None
        self._shortest_side = 0

    def add(self, decoded: Tensor, frames: Tensor) -> None:
        """Blocks ``[1, channels, frames, height, width]`` that follow those before."""
        self._shortest_side = min(frames.shape[-2:])
        alone = joined = decoded, frames
        if self._last is not None:
            before, frames_before = self._last
            joined = torch.cat([before, decoded], dim=2), torch.cat([frames_before, frames], dim=2)
        self._last = decoded[:, :, -1:], frames[:, :, -1:]
        for measure in self._measures:
            if self._shortest_side < measure.minimum_side:
                continue
            pair = joined if measure.of_pairs else alone
            if measure.of_pairs and pair[0].shape[2] < 2:
                continue
            for metric, values in zip(measure.metrics, measure.values(*pair), strict=True):
                self.series.setdefault(metric.name, []).extend(values.tolist())

    def scores(self) -> Scores:
        """Of all blocks."""
        errors = torch.tensor(self.series.pop(ERROR.name), dtype=torch.float64)
        series = {_PSNR.name: psnr_from_error(errors).tolist(), **self.series}
        names = [row.name for m in self._measures for row in m.metrics if row is not ERROR]
        values = {name: _mean(series.get(name, [])) for name in (*series, *names)}
        values[ERROR.name] = errors.mean().item()
        values[_CLIP_PSNR.name] = psnr_from_error(errors.mean()).item()
        reasons = {name: self._reason(name) for name in names if values[name] is None}
        kept = {
            name: tuple(map(_known, numbers))
            for name, numbers in series.items()
            if values[name] is not None
        }
        return Scores(values, reasons, kept)

    def _reason(self, name: str) -> str:
        (measure,) = (m for m in self._measures if any(row.name == name for row in m.metrics))
        if self._shortest_side < measure.minimum_side:
            return _TOO_SMALL
        if measure.of_pairs:
            return _HIDDEN if self.series.get(name) else _TOO_SHORT
        return _TOO_SMALL


def _mean(values: Sequence[float]) -> float | None:
    """Over those that are numbers; None without any."""
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else None


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
