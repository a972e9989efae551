"""Gradient estimators as objects: how the gradient passes the quantizer."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.ops.gradient import rotation_trick, straight_through

__all__ = ["GradientEstimator", "RotationTrick", "StraightThrough"]


class GradientEstimator(ABC):
    """Value ``codes``, gradient to ``z``."""

    @abstractmethod
    def __call__(self, z: Tensor, codes: Tensor) -> Tensor:
        """Return ``codes [..., dim]`` with a gradient path to ``z [..., dim]``."""


@dataclass(frozen=True)
class StraightThrough(GradientEstimator):
    """The gradient of the code is the gradient of the input (arXiv 1308.3432)."""

    def __call__(self, z: Tensor, codes: Tensor) -> Tensor:
        """Identity gradient."""
        return straight_through(z, codes)


@dataclass(frozen=True)
class RotationTrick(GradientEstimator):
    """The gradient is rotated and scaled from the code to the input (arXiv 2410.06424).

    Attributes:
        max_ratio: Upper bound of ``|code| / |z|`` in the gradient, which explodes for short z.
    """

    max_ratio: float = 10.0

    def __post_init__(self) -> None:
        """Refuse a ratio that would switch the gradient off."""
        if not self.max_ratio > 0:
            raise ConfigError(f"RotationTrick max_ratio: expected > 0, got {self.max_ratio}.")

    def __call__(self, z: Tensor, codes: Tensor) -> Tensor:
        """Gradient ``|q|/|z| R^T g``."""
        return rotation_trick(z, codes, self.max_ratio)
