"""Learning rate over training, as a factor of the optimizer's own, in generator steps."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from vqkit.errors import ConfigError

__all__ = ["Constant", "Exponential", "LearningRate", "Milestones", "WarmupCosine"]


class LearningRate(ABC):
    """Factor of the base learning rate."""

    @abstractmethod
    def __call__(self, step: int) -> float:
        """Factor at a generator step, counted from 0."""


@dataclass(frozen=True)
class Constant(LearningRate):
    """The base rate throughout, as in VQGAN.

    Attributes:
        warmup_steps: Steps over which it rises in a line from 0.
    """

    warmup_steps: int = 0

    def __call__(self, step: int) -> float:
        """1 after the warm-up."""
        return min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0


@dataclass(frozen=True)
class WarmupCosine(LearningRate):
    """A linear rise, then half a cosine down to ``final`` times the base rate.

    Attributes:
        total_steps: Steps of the whole training.
        warmup_steps: Steps of the rise.
        final: Factor at the end.
    """

    total_steps: int
    warmup_steps: int = 0
    final: float = 0.0

    def __post_init__(self) -> None:
        """Refuse counts that make no sense; a trial run may well end within the warm-up."""
        if self.warmup_steps < 0 or self.total_steps < 1:
            raise ConfigError(
                "WarmupCosine: expected warmup_steps >= 0 and total_steps >= 1, got "
                f"{self.warmup_steps} and {self.total_steps}."
            )

    def __call__(self, step: int) -> float:
        """Factor at a step; ``final`` beyond the end."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        rest = max(1, self.total_steps - self.warmup_steps)
        progress = min(1.0, (step - self.warmup_steps) / rest)
        return self.final + (1.0 - self.final) * 0.5 * (1.0 + math.cos(math.pi * progress))


@dataclass(frozen=True)
class Exponential(LearningRate):
    """Each step has the same share of the rate of the one before.

    Attributes:
        factor: That share; DAC has 0.999996.

    Example:
        >>> Exponential(0.5)(3)
        0.125
    """

    factor: float

    def __post_init__(self) -> None:
        """Refuse a rate that grows or is gone at once."""
        if not 0.0 < self.factor <= 1.0:
            raise ConfigError(f"Exponential: expected 0 < factor <= 1, got {self.factor}.")

    def __call__(self, step: int) -> float:
        """``factor ** step``."""
        return float(self.factor**step)


@dataclass(frozen=True)
class Milestones(LearningRate):
    """The base rate, multiplied at each of some steps from there on.

    Attributes:
        steps: At which it changes, in ascending order.
        factor: By which; Open-MAGVIT2 and IBQ have 0.1.

    Example:
        >>> rate = Milestones([100, 200], factor=0.5)
        >>> [rate(step) for step in (0, 99, 100, 200)]
        [1.0, 1.0, 0.5, 0.25]
    """

    steps: Sequence[int]
    factor: float = 0.1

    def __post_init__(self) -> None:
        """Refuse steps out of order and a factor that ends the training."""
        object.__setattr__(self, "steps", tuple(self.steps))
        if list(self.steps) != sorted(set(self.steps)) or min(self.steps, default=0) < 0:
            raise ConfigError(
                f"Milestones: expected steps >= 0 in ascending order, got {list(self.steps)}."
            )
        if not self.factor > 0:
            raise ConfigError(f"Milestones: expected a factor > 0, got {self.factor}.")

    def __call__(self, step: int) -> float:
        """``factor`` to the power of the number of steps reached."""
        return float(self.factor ** sum(step >= milestone for milestone in self.steps))
