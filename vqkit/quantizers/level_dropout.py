"""How many levels of a residual quantizer each item of a training batch uses."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from vqkit.errors import ConfigError
from vqkit.shapes import Int

__all__ = ["LevelDropout", "LevelsPerBatch", "LevelsPerItem"]


class LevelDropout(ABC):
    """Draws numbers of levels, so that any prefix of the levels learns to decode."""

    @property
    def largest(self) -> int:
        """Levels that there must be."""
        return 1

    @abstractmethod
    def draw(
        self, num_items: int, depth: int, device: torch.device
    ) -> Int[torch.Tensor, " items"] | None:
        """A number from 1 to ``depth`` for each item; None where all use all."""


@dataclass(frozen=True)
class LevelsPerItem(LevelDropout):
    """An item uses its first n levels with some probability, n uniform in 1 ... depth.

    SoundStream (arXiv 2107.03312): probability 1. DAC (arXiv 2306.06546): 0.5 of the items, since
    more costs quality at the full rate.

    Attributes:
        probability: That an item does.
    """

    probability: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what is no probability."""
        if not 0.0 <= self.probability <= 1.0:
            raise ConfigError(
                f"Residual level_dropout: expected a probability from 0 to 1, got "
                f"{self.probability}."
            )

    def draw(
        self, num_items: int, depth: int, device: torch.device
    ) -> Int[torch.Tensor, " items"] | None:
        """Nothing is drawn for a probability of 0."""
        if self.probability == 0.0:
            return None
        drawn = torch.randint(1, depth + 1, (num_items,), device=device)
        dropped = torch.rand(num_items, device=device) < self.probability
        return torch.where(dropped, drawn, depth)


@dataclass(frozen=True)
class LevelsPerBatch(LevelDropout):
    """All items of a batch, of each rank, use the same number of levels, one of some choices.

    EnCodec (arXiv 2210.13438, section 3.2): a bandwidth is drawn per batch, of 1.5, 3, 6, 12 and
    24 kbit/s, which are 2, 4, 8, 16 and 32 levels at 24 kHz.

    Attributes:
        choices: Numbers of levels, each as likely as the others.
    """

    choices: Sequence[int]

    def __post_init__(self) -> None:
        """Refuse no choice, and numbers below 1."""
        object.__setattr__(self, "choices", tuple(self.choices))
        if min(self.choices, default=0) < 1:
            raise ConfigError(
                f"LevelsPerBatch: expected numbers of levels >= 1, got {list(self.choices)}."
            )

    @property
    def largest(self) -> int:
        """Levels that there must be."""
        return max(self.choices)

    def draw(
        self, num_items: int, depth: int, device: torch.device
    ) -> Int[torch.Tensor, " items"] | None:
        """The same number for all."""
        choices = torch.tensor(self.choices, device=device)
        return choices[torch.randint(len(choices), (1,), device=device)].expand(num_items)
