"""Losses of pictures on the frames of clips."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vqkit.errors import ConfigError, ShapeError
from vqkit.shapes import Float

__all__ = ["FrameLoss", "WeightedFrames"]


def check_clips(reconstruction: Tensor, target: Tensor, who: str) -> None:
    """Refuse what is no pair of clips.

    Raises:
        ShapeError: Shapes that differ, are empty, or have other than five axes.
    """
    if reconstruction.shape != target.shape or target.ndim != 5 or not target.numel():
        raise ShapeError(
            f"{who}: expected two equal shapes [batch, channels, frames, height, width] without an "
            f"empty axis, got {list(reconstruction.shape)} and {list(target.shape)}."
        )


class FrameLoss(nn.Module):
    """A loss of pictures on all frames of clips, each frame a picture of the batch.

    This is how video tokenizers have LPIPS (VidTok, arXiv 2412.13061; Open-MAGVIT2, arXiv
    2409.04410). Some frames of each clip, drawn anew in each training pass, are its unbiased
    estimate for a part of the time and memory.

    Args:
        loss: Of pictures ``[batch, channels, height, width]``: a mean over the batch.
        num_frames: Frames drawn of each clip in training, by torch's own generator: the training's
            seed decides, and a resumed run goes on drawing. None takes all, as evaluation does.

    Raises:
        ConfigError: ``num_frames < 1``.

    Example:
        >>> from vqkit.losses import LPIPS
        >>> loss = FrameLoss(LPIPS(backbone="random", heads="random"), num_frames=2)
        >>> clip = torch.zeros(1, 3, 5, 32, 32)
        >>> loss(clip, clip)
        tensor(0.)
    """

    def __init__(self, loss: nn.Module, num_frames: int | None = None) -> None:
        super().__init__()
        if num_frames is not None and num_frames < 1:
            raise ConfigError(f"FrameLoss num_frames: expected >= 1 or None, got {num_frames}.")
        self.loss = loss
        self.num_frames = num_frames

    def forward(
        self,
        reconstruction: Float[Tensor, "batch channels frames height width"],
        target: Float[Tensor, "batch2 channels2 frames2 height2 width2"],
    ) -> Float[Tensor, ""]:
        """Mean over the frames.

        Raises:
            ShapeError: Shapes that differ, or no clips.
        """
        check_clips(reconstruction, target, "FrameLoss")
        reconstruction, target = reconstruction.movedim(2, 1), target.movedim(2, 1)
        batch, frames = target.shape[:2]
        if self.training and self.num_frames is not None and self.num_frames < frames:
            drawn = torch.rand(batch, frames).argsort(dim=1)[:, : self.num_frames]
            chosen = (torch.arange(batch)[:, None], drawn)
            reconstruction, target = reconstruction[chosen], target[chosen]
        value: Tensor = self.loss(reconstruction.flatten(0, 1), target.flatten(0, 1))
        return value


class WeightedFrames(nn.Module):
    """The weighted mean of a loss of pictures over the frames of a clip.

    Some frames matter more than others: the first one, which costs a causal tokenizer a latent
    frame alone, or every other one, as where quality goes up and down in a cycle (DCVC-FM, arXiv
    2402.17414). The loss is taken of each frame by itself.

    Args:
        loss: Of pictures ``[batch, channels, height, width]``.
        weights: Of the frames, again from the beginning where a clip is longer.
        first: Of the first frame, in front of the others; None counts it among them.

    Raises:
        ConfigError: No weight, or one that is not positive.

    Example:
        >>> from vqkit.losses import L1
        >>> off = torch.zeros(1, 1, 3, 1, 1)
        >>> off[:, :, 0] = 1.0
        >>> WeightedFrames(L1(), weights=[1.0], first=2.0)(off, torch.zeros_like(off))
        tensor(0.5000)
    """

    def __init__(
        self, loss: nn.Module, weights: Sequence[float], first: float | None = None
    ) -> None:
        super().__init__()
        if not weights or not min([*weights, 1.0 if first is None else first]) > 0:
            raise ConfigError(
                f"WeightedFrames: expected positive weights, at least one, got {list(weights)} and "
                f"first {first}."
            )
        self.loss = loss
        self.weights = tuple(weights)
        self.first = first

    def forward(
        self,
        reconstruction: Float[Tensor, "batch channels frames height width"],
        target: Float[Tensor, "batch2 channels2 frames2 height2 width2"],
    ) -> Float[Tensor, ""]:
        """Weighted mean over the frames.

        Raises:
            ShapeError: Shapes that differ, or no clips.
        """
        check_clips(reconstruction, target, "WeightedFrames")
        pairs = zip(reconstruction.unbind(2), target.unbind(2), strict=True)
        losses = torch.stack([self.loss(ours, theirs) for ours, theirs in pairs])
        weights = losses.new_tensor([self._weight(number) for number in range(len(losses))])
        return (weights * losses).sum() / weights.sum()

    def _weight(self, number: int) -> float:
        if self.first is not None:
            if number == 0:
                return self.first
            number -= 1
        return self.weights[number % len(self.weights)]
