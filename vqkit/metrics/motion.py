"""Whether what moves keeps its look: frames compared along the motion of the original."""

from dataclasses import dataclass

import torch
from torch import Tensor

from vqkit.errors import ShapeError
from vqkit.metrics.optical_flow import LucasKanade, OpticalFlow, slopes, warped
from vqkit.metrics.video import check_clips
from vqkit.shapes import Bool, Float

__all__ = ["Motion", "warping_error"]

# Ruder et al. 2016, section 4.
_MISMATCH_SHARE, _MISMATCH_PIXELS = 0.01, 0.5
_BOUNDARY_SHARE, _BOUNDARY_PIXELS = 0.01, 0.002


@dataclass(frozen=True)
class Motion:
    """The motion in a clip, and where it can be trusted."""

    flow: Float[Tensor, "pairs 2 height width"]
    """From each frame to the next, right and down in pixels."""
    is_visible: Bool[Tensor, "pairs height width"]
    """False where a pixel has no counterpart in the next frame, or lies at an edge of motion."""

    @classmethod
    def of(
        cls, clip: Float[Tensor, "channels frames height width"], flow: OpticalFlow | None = None
    ) -> "Motion":
        """Estimate the motion forwards and backwards, and keep what agrees.

        Ruder et al. 2016, "Artistic Style Transfer for Videos", as Lai et al. use it: with the flow
        ``f`` to the next frame and the flow ``b`` back from where it leads, a pixel is hidden if
        ``|f + b|² > 0.01 (|f|² + |b|²) + 0.5``, and lies at an edge of motion if
        ``|grad f|² > 0.01 |f|² + 0.002``. What leaves the picture is hidden too.

        Args:
            clip: the original in [-1, 1].
            flow: estimator; :class:`LucasKanade` unless told.

        Raises:
            ShapeError: there are not two frames, or the estimator gives something else than
                ``[frames - 1, 2, height, width]``.
        """
        if clip.shape[1] < 2:
            raise ShapeError(f"Motion: expected two frames or more, got {clip.shape[1]}.")
        flow = flow or LucasKanade()
        forwards = _checked(flow(clip), clip)
        # Pairs of the clip played backwards, in the order of the clip again.
        backwards = _checked(flow(clip.flip(1)), clip).flip(0)
        back = warped(backwards, forwards)
        lengths = (forwards**2).sum(1) + (back**2).sum(1)
        is_hidden = ((forwards + back) ** 2).sum(1) > _MISMATCH_SHARE * lengths + _MISMATCH_PIXELS
        across, down = slopes(forwards)
        steepness = (across**2 + down**2).sum(1)
        is_edge = steepness > _BOUNDARY_SHARE * (forwards**2).sum(1) + _BOUNDARY_PIXELS
        return cls(forwards, ~(is_hidden | is_edge | _is_outside(forwards)))

    def errors(
        self, clip: Float[Tensor, "channels frames height width"]
    ) -> Float[Tensor, " pairs"]:
        """Squared difference of each frame and the next one brought back along the motion.

        Mean over the visible pixels and the channels, of values in [0, 1]; NaN where no pixel is
        visible.

        Raises:
            ShapeError: the clip has another size than the motion.
        """
        expected = (len(self.flow) + 1, *self.flow.shape[-2:])
        if tuple(clip.shape[1:]) != expected:
            raise ShapeError(
                f"Warping error: expected [channels, {', '.join(map(str, expected))}] as the "
                f"motion, got {list(clip.shape)}."
            )
        frames = clip.detach().to(self.flow.device, self.flow.dtype).movedim(1, 0)
        difference = (warped(frames[1:], self.flow) - frames[:-1]).double() / 2
        squares = (difference**2).mean(dim=1) * self.is_visible
        return squares.sum(dim=(1, 2)) / self.is_visible.sum(dim=(1, 2))


def warping_error(
    reconstruction: Float[Tensor, "batch channels frames height width"],
    target: Float[Tensor, "..."],
    flow: OpticalFlow | None = None,
) -> Float[Tensor, "batch pairs"]:
    """Change of the reconstruction along the motion of the original, one value for each two frames.

    Lai et al. 2018, "Learning Blind Video Temporal Consistency", section 4.2: the next frame,
    brought back along the motion, minus this frame, squared, over the pixels that are visible in
    both. Values count from 0 to 1 and the square is the mean over channels (the paper writes the
    squared length of the colour: three times this). The original has an error of its own, of noise
    and of what the flow gets wrong: compare with ``warping_error(target, target)``.

    Args:
        reconstruction: in [-1, 1].
        target: the originals, of the same shape.
        flow: estimator of motion; :class:`LucasKanade` unless told. Numbers by different ones do
            not compare.

    Raises:
        ShapeError: the shapes differ, a value is not finite, or the estimator gives another shape.

    Example:
        >>> still = torch.rand(1, 3, 1, 32, 32).expand(-1, -1, 3, -1, -1) * 2 - 1
        >>> error = warping_error(still, still)
        >>> error.shape, bool((error < 1e-9).all())
        (torch.Size([1, 2]), True)
    """
    check_clips(reconstruction, target)
    pairs = max(0, target.shape[2] - 1)
    values = target.new_zeros(len(target), pairs, dtype=torch.float64)
    for i, (decoded, original) in enumerate(zip(reconstruction, target, strict=True)):
        for t in range(pairs):
            # Two frames at a time: memory does not grow with the clip.
            motion = Motion.of(original[:, t : t + 2], flow)
            values[i, t] = motion.errors(decoded[:, t : t + 2])[0]
    return values


def _checked(flow: Tensor, clip: Tensor) -> Tensor:
    expected = (clip.shape[1] - 1, 2, *clip.shape[2:])
    if tuple(flow.shape) != expected:
        raise ShapeError(
            f"Optical flow: expected {list(expected)} of a clip {list(clip.shape)}, got "
            f"{list(flow.shape)}. It is [frames - 1, 2 (right, down), height, width] in pixels."
        )
    return flow.detach().float()


def _is_outside(flow: Tensor) -> Tensor:
    height, width = flow.shape[-2:]
    y = torch.arange(height, device=flow.device)[:, None] + flow[:, 1]
    x = torch.arange(width, device=flow.device) + flow[:, 0]
    return (y < 0) | (y > height - 1) | (x < 0) | (x > width - 1)
