"""Numbers that change over the training steps."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from vqkit.errors import ConfigError

__all__ = ["Annealed", "Schedule", "check_positive", "value_at"]


class Schedule(ABC):
    """A positive number for every training step."""

    @abstractmethod
    def __call__(self, step: Tensor) -> Tensor:
        """Value at ``step``, an int64 scalar counted from 0; fp32 scalar on its device."""


@dataclass(frozen=True)
class Annealed(Schedule):
    """From ``start`` to ``end`` in ``steps`` steps, ``end`` from then on.

    Attributes:
        start: Value at step 0, above 0.
        end: Value from step ``steps`` on, above 0.
        steps: Training steps between the two.
        shape: "exponential" multiplies by the same factor each step, "linear" adds the same.

    >>> schedule = Annealed(start=1.0, end=0.25, steps=2)
    >>> [schedule(torch.tensor(step)).item() for step in (0, 1, 2, 9)]
    [1.0, 0.5, 0.25, 0.25]
    """

    start: float
    end: float
    steps: int
    shape: Literal["exponential", "linear"] = "exponential"

    def __post_init__(self) -> None:
        """Refuse values that are not positive."""
        if not self.start > 0 or not self.end > 0 or self.steps < 1:
            raise ConfigError(
                f"Annealed: expected start > 0, end > 0 and steps >= 1, got {self.start}, "
                f"{self.end} and {self.steps}."
            )
        if self.shape not in ("exponential", "linear"):
            raise ConfigError(
                f"Annealed shape: expected 'exponential' or 'linear', got {self.shape!r}."
            )

    def __call__(self, step: Tensor) -> Tensor:
        """Interpolate, in the logarithm for "exponential"."""
        done = (step.float() / self.steps).clamp(0.0, 1.0)
        if self.shape == "linear":
            return self.start + done * (self.end - self.start)
        return self.start * torch.exp(done * math.log(self.end / self.start))


def value_at(value: float | Schedule, step: Tensor) -> Tensor:
    """A number or the value of a schedule, as a scalar on the device of ``step``."""
    if isinstance(value, Schedule):
        return value(step)
    return torch.full_like(step, value, dtype=torch.float32)


def check_positive(name: str, value: float | Schedule) -> None:
    """Refuse a number that is not above 0; schedules check themselves.

    Raises:
        ConfigError: Names what was given.
    """
    if not isinstance(value, Schedule) and not value > 0:
        raise ConfigError(f"{name}: expected > 0, got {value}.")
