"""Codebook usage as a torchmetric: exact counts over all tokens and all ranks."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from vqkit.errors import ConfigError
from vqkit.metrics.codebook import (
    CodebookLevel,
    CodeHistogram,
    append_rows,
    bitrate_efficiency,
    codebook_level,
    flatten_indices,
    merge_rows,
    sparse_counts,
)
from vqkit.shapes import Bool, Int

__all__ = ["CodebookUsage"]

# Above it a count per code costs more memory than the tokens do.
_LARGEST_DENSE = 2**20


class CodebookUsage(Metric):
    """Usage, entropy and perplexity of each codebook over all tokens since the last reset.

    Up to 2^20 codes are counted one by one on the device (``bincount``, summed over the ranks);
    larger codebooks, up to 2^63 codes, by the codes that occur.

    Args:
        codebook_sizes: number of codes of each codebook, as ``Quantizer.codebook_sizes``.
        **metric_options: for ``torchmetrics.Metric``, e.g. ``process_group``.

    Example:
        >>> metric = CodebookUsage((4, 2**40))
        >>> metric.update(torch.tensor([[0, 5], [1, 5], [1, 2**39]]))
        >>> result = metric.compute()
        >>> result["num_distinct"].tolist(), result["usage"][0].item()
        ([2.0, 2.0], 0.5)
    """

    is_differentiable = False
    full_state_update = False

    def __init__(self, codebook_sizes: Sequence[int], **metric_options: Any) -> None:
        super().__init__(**metric_options)
        self.codebook_sizes = tuple(codebook_sizes)
        if not self.codebook_sizes or min(self.codebook_sizes) < 1:
            raise ConfigError(
                "Counting codes failed: expected the sizes of one codebook or more, each at least "
                f"1, got {self.codebook_sizes}. Pass quantizer.codebook_sizes."
            )
        self._is_dense = tuple(size <= _LARGEST_DENSE for size in self.codebook_sizes)
        for level, size in enumerate(self.codebook_sizes):
            if self._is_dense[level]:
                zeros = torch.zeros(size, dtype=torch.int64)
                self.add_state(f"level_{level}", zeros, dist_reduce_fx="sum")
            else:
                self.add_state(f"level_{level}", [], dist_reduce_fx="cat")

    def update(
        self,
        indices: Int[Tensor, "*batch codebooks"],
        mask: Bool[Tensor, "*batch"] | None = None,
    ) -> None:
        """Count indices; ``mask`` is True where a token is valid.

        Raises:
            ShapeError: the last axis is not one entry per codebook, or an index is out of range.
        """
        rows = flatten_indices(indices, self.codebook_sizes, mask)
        for level, size in enumerate(self.codebook_sizes):
            state = self._state(level)
            if self._is_dense[level]:
                state += torch.bincount(rows[:, level], minlength=size)
            else:
                append_rows(state, sparse_counts(rows[:, level]))

    def compute(self) -> dict[str, Tensor]:
        """The fields of `CodebookLevel`, each fp64 ``[codebooks]``, and ``bitrate_efficiency``.

        Of a single codebook they are scalars, as torchmetrics squeezes what has one element.
        """
        levels = [codebook_level(histogram) for histogram in self.histograms()]
        result = {
            field.name: torch.tensor(
                [float(getattr(level, field.name)) for level in levels],
                dtype=torch.float64,
                device=self.device,
            )
            for field in fields(CodebookLevel)
        }
        efficiency = bitrate_efficiency(levels)
        result["bitrate_efficiency"] = torch.tensor(
            efficiency, dtype=torch.float64, device=self.device
        )
        return result

    def histograms(self) -> tuple[CodeHistogram, ...]:
        """What was counted, per codebook, on this rank (on all ranks inside ``sync_context``)."""
        return tuple(
            CodeHistogram.from_counts(self._state(level))
            if self._is_dense[level]
            else CodeHistogram.from_rows(size, self._rows(level))
            for level, size in enumerate(self.codebook_sizes)
        )

    def sync(self, *arguments: Any, **options: Any) -> None:
        """Sum over the ranks; a rank that has counted nothing takes part like the others."""
        # Left to itself torchmetrics stands in an empty float tensor, which rounds the other
        # ranks' codes above 2^24 and has another rank than their rows.
        for level in range(len(self.codebook_sizes)):
            state = self._state(level)
            if isinstance(state, list):
                state[:] = [merge_rows([self._rows(level)])]
        super().sync(*arguments, **options)

    def _state(self, level: int) -> Any:
        return getattr(self, f"level_{level}")

    def _rows(self, level: int) -> Tensor:
        """The rows of a large codebook: a list of chunks here, one tensor once synced."""
        state = self._state(level)
        if isinstance(state, list) and not state:
            return torch.zeros((0, 2), dtype=torch.int64, device=self.device)
        return dim_zero_cat(state)
