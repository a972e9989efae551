"""Bits per pixel as a torchmetric: exact sums over all files and all ranks."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from vqkit.metrics.rate import RateTotals

__all__ = ["Rate"]


class Rate(Metric):
    """Nominal and actual bits per pixel of all files since the last reset.

    Ratios of sums, not means of ratios: a small picture weighs as little as it costs.

    Args:
        **metric_options: for ``torchmetrics.Metric``, e.g. ``process_group``.

    Example:
        >>> metric = Rate()
        >>> metric.update(nominal_bits=80, size_bytes=20, num_pixels=320, overhead_bytes=8)
        >>> {name: value.item() for name, value in metric.compute().items()}
        {'nominal_bits_per_pixel': 0.25, 'actual_bits_per_pixel': 0.5, 'overhead_share': 0.4}
    """

    is_differentiable = False
    full_state_update = False

    nominal_bits: Tensor
    size_bytes: Tensor
    overhead_bytes: Tensor
    num_pixels: Tensor

    def __init__(self, **metric_options: Any) -> None:
        super().__init__(**metric_options)
        self.add_state("nominal_bits", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        for name in ("size_bytes", "overhead_bytes", "num_pixels"):
            self.add_state(name, torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(
        self, nominal_bits: float, size_bytes: int, num_pixels: int, overhead_bytes: int = 0
    ) -> None:
        """Add one file, or several at once.

        Raises:
            ConfigError: an amount is negative or the overhead is larger than its file.
        """
        totals = RateTotals(nominal_bits, size_bytes, overhead_bytes, num_pixels)
        self.nominal_bits += totals.nominal_bits
        self.size_bytes += totals.size_bytes
        self.overhead_bytes += totals.overhead_bytes
        self.num_pixels += num_pixels

    def totals(self) -> RateTotals:
        """The sums, on this rank (on all ranks inside ``sync_context``)."""
        return RateTotals(
            float(self.nominal_bits),
            int(self.size_bytes),
            int(self.overhead_bytes),
            int(self.num_pixels),
        )

    def compute(self) -> dict[str, Tensor]:
        """``nominal_bits_per_pixel``, ``actual_bits_per_pixel``, ``overhead_share``, each fp64."""
        totals = self.totals()
        values = {
            "nominal_bits_per_pixel": totals.nominal_rate,
            "actual_bits_per_pixel": totals.actual_rate,
            "overhead_share": totals.overhead_share,
        }
        return {
            name: torch.tensor(value, dtype=torch.float64, device=self.device)
            for name, value in values.items()
        }
