"""Losses of what changes from frame to frame of a clip."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.errors import ConfigError, ShapeError
from vqkit.losses.frame_loss import check_clips
from vqkit.losses.reconstruction import L1
from vqkit.shapes import Float

__all__ = ["FlowLoss", "FrameDifferences"]

FlowEstimator = Callable[[Tensor, Tensor], Tensor]


class FrameDifferences(nn.Module):
    """A loss of ``x[t + 1] - x[t]``: flicker of one clip alone costs.

    Of a single frame it is 0.

    Args:
        loss: Of differences, element by element; :class:`L1` if None.

    Example:
        >>> still = torch.zeros(1, 3, 4, 8, 8)
        >>> flicker = still.clone()
        >>> flicker[:, :, 1::2] = 0.5
        >>> FrameDifferences()(flicker, still), FrameDifferences()(still + 0.5, still)
        (tensor(0.5000), tensor(0.))
    """

    def __init__(self, loss: nn.Module | None = None) -> None:
        super().__init__()
        self.loss = loss or L1()

    def forward(
        self,
        reconstruction: Float[Tensor, "batch channels frames height width"],
        target: Float[Tensor, "batch2 channels2 frames2 height2 width2"],
    ) -> Float[Tensor, ""]:
        """That of all pairs of frames which follow each other.

        Raises:
            ShapeError: Shapes that differ, or no clips.
        """
        check_clips(reconstruction, target, "FrameDifferences")
        if target.shape[2] == 1:
            return _nothing(reconstruction)
        value: Tensor = self.loss(reconstruction.float().diff(dim=2), target.float().diff(dim=2))
        return value


class FlowLoss(nn.Module):
    """Mean absolute difference of the motion in two clips, in pixels per frame, both ways in time.

    Cosmos' second stage (arXiv 2501.03575, section 4). The estimator of the motion is the
    caller's: RAFT there. Of a single frame the loss is 0.

    Args:
        estimator: Pictures and the following ones ``[pairs, channels, height, width]`` in [-1, 1]
            to the motion ``[pairs, 2, height, width]`` in pixels: any callable. A module is put
            into evaluation, moved to where it is needed, and neither trained nor written into
            checkpoints.
        scale: Frames are shrunk by this before; motion is in pixels of the whole in any case.

    Raises:
        ConfigError: ``scale < 1``.

    Example:
        >>> brightness = lambda frames, later: (later - frames)[:, :2]
        >>> clip = torch.rand(1, 3, 5, 16, 16)
        >>> FlowLoss(brightness)(clip, clip)
        tensor(0.)
    """

    def __init__(self, estimator: FlowEstimator, scale: int = 2) -> None:
        super().__init__()
        if scale < 1:
            raise ConfigError(f"FlowLoss scale: expected >= 1, got {scale}.")
        # In a tuple: a submodule would be trained and saved with every checkpoint.
        self._estimator = (estimator,)
        self.scale = scale
        if isinstance(estimator, nn.Module):
            estimator.eval().requires_grad_(False)

    @property
    def estimator(self) -> FlowEstimator:
        """What sees the motion."""
        return self._estimator[0]

    def forward(
        self,
        reconstruction: Float[Tensor, "batch channels frames height width"],
        target: Float[Tensor, "batch2 channels2 frames2 height2 width2"],
    ) -> Float[Tensor, ""]:
        """Mean over pairs of frames, positions and both directions.

        Raises:
            ShapeError: Shapes that differ, no clips, frames of fewer pixels than ``scale``, or an
                estimator that gives no motion.
        """
        check_clips(reconstruction, target, "FlowLoss")
        if min(target.shape[3:]) < self.scale:
            raise ShapeError(
                f"FlowLoss: expected frames with sides of at least scale = {self.scale}, got "
                f"{list(target.shape)}."
            )
        if target.shape[2] == 1:
            return _nothing(reconstruction)
        if isinstance(self.estimator, nn.Module):
            self.estimator.to(target.device)
        with torch.autocast(target.device.type, enabled=False):
            with torch.no_grad():
                theirs = self._motion(target)
            return self.scale * (self._motion(reconstruction) - theirs).abs().mean()

    def _motion(self, clip: Tensor) -> Tensor:
        batch, _, frames = clip.shape[:3]
        pictures = clip.float().movedim(2, 1).flatten(0, 1)
        if self.scale > 1:
            pictures = F.avg_pool2d(pictures, self.scale)
        pictures = pictures.unflatten(0, (batch, frames))
        earlier, later = pictures[:, :-1].flatten(0, 1), pictures[:, 1:].flatten(0, 1)
        motion = torch.cat([self.estimator(earlier, later), self.estimator(later, earlier)])
        if motion.ndim != 4 or motion.shape[:2] != (2 * len(earlier), 2):
            raise ShapeError(
                f"FlowLoss: expected motion [{len(earlier)}, 2, height, width] of the estimator, "
                f"got {[len(motion) // 2, *motion.shape[1:]]}. Of several estimates give the last."
            )
        return motion.float()


def _nothing(reconstruction: Tensor) -> Tensor:
    """A zero with a gradient of zero."""
    return reconstruction.float().sum() * 0.0
