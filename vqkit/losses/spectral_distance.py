"""How far two spectrograms are from each other."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.shapes import Float

__all__ = ["LinearL1", "LogL1", "LogL2", "SpectralConvergence", "SpectralDistance"]


@dataclass(frozen=True)
class SpectralDistance(ABC):
    """A distance of non-negative spectrograms, and its weight beside others.

    Attributes:
        weight: Factor of the distance.
    """

    weight: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a negative weight."""
        if self.weight < 0:
            raise ConfigError(f"{type(self).__name__}: expected weight >= 0, got {self.weight}.")

    def __call__(
        self,
        reconstruction: Float[Tensor, "*items freqs frames"],
        target: Float[Tensor, "*items freqs frames"],
    ) -> Float[Tensor, ""]:
        """Weighted distance, a scalar."""
        return self.weight * self._distance(reconstruction, target)

    @abstractmethod
    def _distance(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """The distance without its weight."""


@dataclass(frozen=True)
class LinearL1(SpectralDistance):
    """Mean absolute difference.

    Example:
        >>> import torch
        >>> LinearL1(weight=2.0)(torch.ones(1, 3, 4), torch.zeros(1, 3, 4))
        tensor(2.)
    """

    def _distance(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        return (reconstruction - target).abs().mean()


@dataclass(frozen=True)
class _Logarithmic(SpectralDistance, ABC):
    floor: float = 1e-5
    base: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.floor <= 0 or self.base <= 1:
            raise ConfigError(
                f"{type(self).__name__}: expected floor > 0 and base > 1, got {self.floor} and "
                f"{self.base}."
            )

    def _log(self, positive: Tensor) -> Tensor:
        return positive.log() / math.log(self.base)


@dataclass(frozen=True)
class LogL1(_Logarithmic):
    """Mean absolute difference of ``log max(x, floor)``: no gradient below the floor.

    Attributes:
        weight: Factor of the distance. A power p before the logarithm is the factor p.
        floor: Least value before the logarithm.
        base: Of the logarithm.

    Example:
        >>> import torch
        >>> LogL1()(torch.ones(1, 3, 4), torch.zeros(1, 3, 4))
        tensor(5.)
    """

    def _distance(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        reconstruction, target = reconstruction.clamp_min(self.floor), target.clamp_min(self.floor)
        return (self._log(reconstruction) - self._log(target)).abs().mean()


@dataclass(frozen=True)
class LogL2(_Logarithmic):
    """Mean squared difference of ``log(x + floor)``.

    Attributes:
        weight: Factor of the distance.
        floor: Added before the logarithm.
        base: Of the logarithm.

    Example:
        >>> import torch
        >>> LogL2(floor=1.0)(torch.full((1, 3, 4), 9.0), torch.zeros(1, 3, 4))
        tensor(1.)
    """

    def _distance(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        difference = self._log(reconstruction + self.floor) - self._log(target + self.floor)
        return difference.square().mean()


@dataclass(frozen=True)
class SpectralConvergence(SpectralDistance):
    """``|x - y| / max(|y|, floor)`` in Frobenius norms per channel, y the target; their mean.

    Arik et al. 2019. Below the floor, at silence, the error counts in absolute terms: the quotient
    would grow without bound there.

    Attributes:
        weight: Factor of the distance.
        floor: Least norm that is divided by.

    Example:
        >>> import torch
        >>> SpectralConvergence()(torch.ones(1, 3, 4), torch.full((1, 3, 4), 2.0))
        tensor(0.5000)
    """

    floor: float = 0.1

    def __post_init__(self) -> None:
        """Refuse a negative weight, and a floor that is not positive."""
        super().__post_init__()
        if self.floor <= 0:
            raise ConfigError(f"SpectralConvergence: expected floor > 0, got {self.floor}.")

    def _distance(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        error = (reconstruction - target).norm(dim=(-2, -1))
        return (error / target.norm(dim=(-2, -1)).clamp_min(self.floor)).mean()
