"""What metrics of images and of clips have in common."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

__all__ = ["PictureMetric"]


class PictureMetric(Metric):
    """Base of these metrics: a mean whose sum and count are kept over items and ranks.

    Items that the metric is not defined for are left out and counted in ``num_skipped``. Without
    any item the result is NaN.

    Args:
        eight_bit: round both sides to the 256 levels of an 8-bit file first, and so measure the
            picture that a user gets; off, the floats are compared as they are.
        **metric_options: for ``torchmetrics.Metric``, e.g. ``process_group``.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    minimum_side: int = 1
    """Shortest side in pixels that the metric is defined for."""
    total: Tensor
    count: Tensor
    num_skipped: Tensor

    def __init__(self, *, eight_bit: bool = True, **metric_options: Any) -> None:
        super().__init__(**metric_options)
        self.eight_bit = eight_bit
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("num_skipped", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def compute(self) -> Tensor:
        """Mean over all items, NaN without any."""
        return self.total / self.count
