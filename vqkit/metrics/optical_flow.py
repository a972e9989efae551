"""Where pixels go from one frame to the next: a place for estimators, and a small one."""

import math
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.shapes import Float

__all__ = ["LucasKanade", "OpticalFlow", "slopes", "warped"]

_LUMA = (0.299, 0.587, 0.114)
_SMALLEST_SIDE = 16
_BLUR = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
# Squared change per pixel, of media that span 2, below which there is nothing to follow: about one
# level of 8 bits.
_NOISE = 1e-4
_LARGEST_STEP, _SMALLEST_STEP = 1.0, 0.02  # pixels


@runtime_checkable
class OpticalFlow(Protocol):
    """An estimator of motion, e.g. a RAFT with weights of yours."""

    def __call__(
        self, clip: Float[Tensor, "channels frames height width"], /
    ) -> Float[Tensor, "pairs 2 height width"]:
        """Motion from each frame of a clip in [-1, 1] to the next, right and down, in pixels.

        What is at ``(x, y)`` in frame ``t`` is at ``(x + flow[t, 0], y + flow[t, 1])`` in the next.
        """
        ...


class LucasKanade:
    """Dense optical flow by least squares in windows, from coarse to fine.

    Lucas and Kanade 1981, "An Iterative Image Registration Technique with an Application to Stereo
    Vision", in a pyramid (Bouguet 2000). No weights, good to a fraction of a pixel for motions that
    are smooth over the window; where a window has no texture the motion is that of the coarser
    level. A network does better at the edges of what moves.

    Args:
        window: side of the window in pixels, odd; Gaussian weights.
        num_iterations: steps on each level, at most: they end when none is above 0.02 pixels.
        num_levels: sides are halved so often, less one, while they stay at 16 pixels or more.

    Raises:
        ConfigError: a number is out of range.

    Example:
        >>> y, x = torch.meshgrid(torch.arange(48.0), torch.arange(64.0), indexing="ij")
        >>> frames = [torch.sin((x - 2 * t) / 3) * torch.cos((y + t) / 4) for t in range(2)]
        >>> flow = LucasKanade()(torch.stack(frames)[None])
        >>> flow[0, :, 16:32, 16:48].mean((1, 2)).round().tolist()
        [2.0, -1.0]
    """

    def __init__(self, window: int = 13, num_iterations: int = 4, num_levels: int = 5) -> None:
        if window < 3 or window % 2 == 0 or num_iterations < 1 or num_levels < 1:
            raise ConfigError(
                "LucasKanade: expected an odd window of 3 pixels or more, num_iterations and "
                f"num_levels >= 1, got {window}, {num_iterations} and {num_levels}."
            )
        self.window = window
        self.num_iterations = num_iterations
        self.num_levels = num_levels

    @torch.no_grad()
    def __call__(
        self, clip: Float[Tensor, "channels frames height width"], /
    ) -> Float[Tensor, "pairs 2 height width"]:
        """Pair by pair: what one needs stays in the cache."""
        pairs = zip(clip[:, :-1].unbind(1), clip[:, 1:].unbind(1), strict=True)
        flows = [self._of_pair(_luma(first[None]), _luma(second[None])) for first, second in pairs]
        return torch.cat(flows) if flows else clip.new_zeros(0, 2, *clip.shape[2:])

    def _of_pair(self, first: Tensor, second: Tensor) -> Tensor:
        pyramid = [(first, second)]
        while len(pyramid) < self.num_levels and min(first.shape[-2:]) >= 2 * _SMALLEST_SIDE:
            first, second = _halved(first), _halved(second)
            pyramid.append((first, second))
        flow = first.new_zeros(len(first), 2, *first.shape[-2:])
        for level, (first, second) in enumerate(reversed(pyramid)):
            if level:
                flow = _enlarged(flow, first.shape[-2], first.shape[-1])
            flow = self._refined(first, second, flow)
        return flow

    def _refined(self, first: Tensor, second: Tensor, flow: Tensor) -> Tensor:
        window = _gaussian(self.window)
        across, down = slopes(first)
        products = torch.cat([across * across, across * down, down * down], dim=1)
        xx, xy, yy = _filtered(products, window).unbind(1)
        xx, yy = xx + _NOISE, yy + _NOISE
        determinant = xx * yy - xy * xy
        for _ in range(self.num_iterations):
            difference = warped(second, flow) - first
            weighted = torch.cat([across * difference, down * difference], dim=1)
            x, y = _filtered(weighted, window).unbind(1)
            step = torch.stack([xy * y - yy * x, xy * x - xx * y], dim=1)
            step = step / determinant[:, None]
            flow = flow + step.clamp(-_LARGEST_STEP, _LARGEST_STEP)
            if step.abs().max() < _SMALLEST_STEP:
                break
        return flow


def warped(
    frames: Float[Tensor, "batch channels height width"],
    flow: Float[Tensor, "batch 2 height width"],
) -> Float[Tensor, "batch channels height width"]:
    """What is at ``(x + flow[0], y + flow[1])``, by bilinear interpolation; beyond, the border.

    Example:
        >>> frame = torch.arange(5.0).expand(1, 1, 3, 5)
        >>> warped(frame, torch.ones(1, 2, 3, 5))[0, 0, 0].tolist()
        [1.0, 2.0, 3.0, 4.0, 4.0]
    """
    height, width = frames.shape[-2:]
    y = torch.arange(height, device=flow.device, dtype=flow.dtype)[:, None] + flow[:, 1]
    x = torch.arange(width, device=flow.device, dtype=flow.dtype) + flow[:, 0]
    # From -1 to 1 between the centres of the outermost pixels.
    places = torch.stack([x * (2 / max(1, width - 1)), y * (2 / max(1, height - 1))], dim=-1) - 1
    return F.grid_sample(
        frames, places.to(frames.dtype), mode="bilinear", padding_mode="border", align_corners=True
    )


def slopes(
    frames: Float[Tensor, "batch channels height width"],
) -> tuple[Float[Tensor, "batch channels height width"], Float[Tensor, "..."]]:
    """Change per pixel to the right and down: central differences, the border repeated."""
    padded = F.pad(frames, (1, 1, 1, 1), mode="replicate")
    across = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    down = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    return across, down


def _luma(frames: Tensor) -> Tensor:
    """``[frames, 1, height, width]`` in [-1, 1]."""
    frames = frames.detach().float()
    if frames.shape[1] != len(_LUMA):
        return frames.mean(dim=1, keepdim=True)
    weights = frames.new_tensor(_LUMA)[:, None, None]
    return (frames * weights).sum(dim=1, keepdim=True)


def _gaussian(length: int) -> list[float]:
    """Weights of a window, the deviation a quarter of its length."""
    deviation = length / 4
    weights = [math.exp(-((k - length // 2) ** 2) / (2 * deviation**2)) for k in range(length)]
    return [weight / sum(weights) for weight in weights]


def _filtered(planes: Tensor, window: Sequence[float]) -> Tensor:
    """Each plane, with its border repeated, weighted in both directions: as shifted sums."""
    half = len(window) // 2
    for dim, padding in ((-1, (half, half, 0, 0)), (-2, (0, 0, half, half))):
        length = planes.shape[dim]
        padded = F.pad(planes, padding, mode="replicate")
        planes = padded.narrow(dim, 0, length) * window[0]
        for k, weight in enumerate(window[1:], 1):
            planes.add_(padded.narrow(dim, k, length), alpha=weight)
    return planes


def _halved(frames: Tensor) -> Tensor:
    """Blurred, and every second pixel of it."""
    return _filtered(frames, _BLUR)[..., ::2, ::2]


def _enlarged(flow: Tensor, height: int, width: int) -> Tensor:
    """A flow at twice the size: pixel ``i`` of the coarser level is pixel ``2 i`` of this."""
    y = torch.arange(height, device=flow.device, dtype=flow.dtype)[:, None].expand(height, width)
    x = torch.arange(width, device=flow.device, dtype=flow.dtype).expand(height, width)
    rows, columns = flow.shape[-2:]
    places = torch.stack([x / max(1, columns - 1) - 1, y / max(1, rows - 1) - 1], dim=-1)
    sampled = F.grid_sample(
        flow, places.expand(len(flow), -1, -1, -1), padding_mode="border", align_corners=True
    )
    return 2 * sampled
