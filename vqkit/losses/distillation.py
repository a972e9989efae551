"""Likeness of a codec's features to those of a model that knows speech, at one rate."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from vqkit.errors import ShapeError
from vqkit.shapes import Float

__all__ = ["CosineDistance", "DistillationLoss", "LogSigmoidCosine"]


class DistillationLoss(ABC):
    """Unlikeness of two series of features, fp32; the target gets no gradient."""

    def __call__(
        self,
        prediction: Float[Tensor, "batch frames dim"],
        target: Float[Tensor, "batch frames dim"],
    ) -> Float[Tensor, ""]:
        """Compare features at the same frames.

        Raises:
            ShapeError: No frame, or shapes that differ.
        """
        if prediction.shape != target.shape or not prediction.numel():
            raise ShapeError(
                "Distillation: expected features of equal shapes with at least one frame, got "
                f"{list(prediction.shape)} and {list(target.shape)}."
            )
        return self._compare(prediction.float(), target.detach().float())

    @abstractmethod
    def _compare(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Of fp32 ``[batch, frames, dim]``, a scalar."""


@dataclass(frozen=True)
class CosineDistance(DistillationLoss):
    """One minus the cosine of the features of each frame (Mimi; Moshi, arXiv 2410.00037).

    >>> import torch
    >>> one, two = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[0.0, 2.0]]])
    >>> CosineDistance()(one, 3 * one), CosineDistance()(one, two)
    (tensor(0.), tensor(1.))
    """

    def _compare(self, prediction: Tensor, target: Tensor) -> Tensor:
        return 1.0 - F.cosine_similarity(prediction, target, dim=-1).mean()


@dataclass(frozen=True)
class LogSigmoidCosine(DistillationLoss):
    """``-log sigmoid(cos)`` of each feature over time (SpeechTokenizer, arXiv 2308.16692).

    What a feature does over a sound is compared, not what all features are at a moment.

    >>> import torch
    >>> series = torch.tensor([[[1.0], [2.0]]])
    >>> LogSigmoidCosine()(series, 2 * series)
    tensor(0.3133)
    """

    def _compare(self, prediction: Tensor, target: Tensor) -> Tensor:
        return -F.logsigmoid(F.cosine_similarity(prediction, target, dim=1)).mean()
