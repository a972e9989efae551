"""Errors of transcripts as a torchmetric: exact sums over all items and all ranks."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from vqkit.metrics.transcripts import EditCount, character_edits, word_edits

__all__ = ["TranscriptErrors"]


class TranscriptErrors(Metric):
    """Word and character error rate of all transcripts since the last reset.

    All errors by all words, or characters, of the references.

    Args:
        **metric_options: for ``torchmetrics.Metric``, e.g. ``process_group``.

    Example:
        >>> metric = TranscriptErrors()
        >>> metric.update(["one to", "three"], ["one two", "three"])
        >>> {name: round(value.item(), 3) for name, value in metric.compute().items()}
        {'word_error_rate': 0.333, 'character_error_rate': 0.083}
    """

    is_differentiable = False
    full_state_update = False

    words: Tensor
    characters: Tensor

    def __init__(self, **metric_options: Any) -> None:
        super().__init__(**metric_options)
        # Errors, then how many words or characters there are.
        for name in ("words", "characters"):
            self.add_state(name, torch.zeros(2, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, hypotheses: Sequence[str], references: Sequence[str]) -> None:
        """Compare texts, one by one."""
        for hypothesis, reference in zip(hypotheses, references, strict=True):
            self.words += self._counts(word_edits(hypothesis, reference))
            self.characters += self._counts(character_edits(hypothesis, reference))

    def compute(self) -> dict[str, Tensor]:
        """``word_error_rate`` and ``character_error_rate``, fp64; NaN without any reference."""
        return {
            f"{name}_error_rate": errors.double() / expected.double()
            for name, (errors, expected) in (
                ("word", self.words),
                ("character", self.characters),
            )
        }

    def _counts(self, edits: EditCount) -> Tensor:
        return torch.tensor([edits.num_errors, edits.num_expected], device=self.device)
