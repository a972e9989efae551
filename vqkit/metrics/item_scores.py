"""Scores of single items, with the reasons why some are missing."""

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from vqkit.shapes import Float

__all__ = ["ItemScores", "Unmeasured"]


class Unmeasured(StrEnum):
    """Why an item has no score."""

    SILENT_TARGET = "the original is silent"
    SILENT_RECONSTRUCTION = "the reconstruction is silent"
    TOO_SHORT = "too short for this measure"
    NO_SPEECH = "no speech found in the original"
    CRASHED = "the package that measures crashed"
    NOT_A_NUMBER = "the scorer gave no number"


@dataclass(frozen=True)
class ItemScores:
    """One score per item, and why there is none where it is NaN."""

    values: Float[Tensor, " batch"]
    """In fp64; NaN where ``reasons`` says why."""
    reasons: tuple[Unmeasured | None, ...]

    @classmethod
    def of(cls, results: list[float | Unmeasured]) -> "ItemScores":
        """From scores, and reasons in the places of those that are missing."""
        reasons = tuple(result if isinstance(result, Unmeasured) else None for result in results)
        values = [torch.nan if isinstance(result, Unmeasured) else result for result in results]
        return cls(torch.tensor(values, dtype=torch.float64), reasons)

    def count_reasons(self) -> Counter[Unmeasured]:
        """How many items have no score for which reason."""
        return Counter(reason for reason in self.reasons if reason is not None)
