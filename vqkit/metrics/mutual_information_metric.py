"""Mutual information between codebooks as a torchmetric: exact counts over all ranks."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from vqkit.errors import ConfigError
from vqkit.metrics.codebook import append_rows, flatten_indices
from vqkit.metrics.mutual_information import (
    PairInformation,
    merge_pairs,
    pair_counts,
    pair_information,
    pairs_of_levels,
)
from vqkit.shapes import Bool, Int

__all__ = ["LevelInformation"]


class LevelInformation(Metric):
    """What the levels (or groups) of a quantizer say twice: mutual information of their indices.

    Only pairs of codes that occur are counted, on the device, so codebooks may have any size. The
    estimate needs many tokens per pair of codes; ``corrected_bits`` takes the bias of too few off,
    as far as that goes.

    Args:
        codebook_sizes: number of codes of each codebook, as ``Quantizer.codebook_sizes``.
        pairs: ``adjacent`` codebooks, or ``all`` pairs.
        **metric_options: for ``torchmetrics.Metric``, e.g. ``process_group``.

    Example:
        >>> metric = LevelInformation((2, 2))
        >>> metric.update(torch.tensor([[0, 1], [1, 0]]).repeat(500, 1))
        >>> round(metric.compute()["mutual_information_bits"].item(), 6)
        1.0
    """

    is_differentiable = False
    full_state_update = False

    def __init__(
        self,
        codebook_sizes: Sequence[int],
        pairs: Literal["adjacent", "all"] = "adjacent",
        **metric_options: Any,
    ) -> None:
        super().__init__(**metric_options)
        self.codebook_sizes = tuple(codebook_sizes)
        self.pairs = pairs_of_levels(len(self.codebook_sizes), pairs)
        if not self.pairs:
            raise ConfigError(
                "Comparing codebooks failed: expected two or more, got "
                f"{len(self.codebook_sizes)}. A single codebook shares nothing with itself."
            )
        for number in range(len(self.pairs)):
            self.add_state(f"pair_{number}", [], dist_reduce_fx="cat")

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
        for number, pair in enumerate(self.pairs):
            append_rows(getattr(self, f"pair_{number}"), pair_counts(rows[:, pair]), merge_pairs)

    def compute(self) -> dict[str, Tensor]:
        """``mutual_information_bits``, ``corrected_bits``, ``shared``: each fp64 ``[pairs]``.

        Of a single pair they are scalars, as torchmetrics squeezes what has one element.
        """
        found = self.information()
        return {
            name: torch.tensor(
                [getattr(pair, name) for pair in found], dtype=torch.float64, device=self.device
            )
            for name in ("mutual_information_bits", "corrected_bits", "shared")
        }

    def information(self) -> tuple[PairInformation, ...]:
        """All that is known of each pair, on this rank (on all inside ``sync_context``)."""
        return tuple(
            pair_information(merge_pairs([self._rows(number)]), *pair)
            for number, pair in enumerate(self.pairs)
        )

    def sync(self, *arguments: Any, **options: Any) -> None:
        """Sum over the ranks; a rank that has counted nothing takes part like the others."""
        # As in CodebookUsage: torchmetrics would stand in an empty float tensor.
        for number in range(len(self.pairs)):
            state = getattr(self, f"pair_{number}")
            if isinstance(state, list):
                state[:] = [merge_pairs([self._rows(number)])]
        super().sync(*arguments, **options)

    def _rows(self, number: int) -> Tensor:
        state = getattr(self, f"pair_{number}")
        if isinstance(state, list) and not state:
            return torch.zeros((0, 3), dtype=torch.int64, device=self.device)
        return dim_zero_cat(state)
