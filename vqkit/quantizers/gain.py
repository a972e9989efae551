"""Levels of the length of a vector, as objects: the gain of gain-shape quantization."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from vqkit.errors import ConfigError
from vqkit.ops.beta import beta_quantile

__all__ = ["BetaGain", "Gain", "LogUniformGain", "MuLawGain", "UnitGain"]


class Gain(ABC):
    """A table of lengths; a vector takes the level with the least squared error."""

    num_levels: int

    @abstractmethod
    def levels(self, group_dim: int, dim: int) -> tuple[float, ...]:
        """Ascending levels for groups of ``group_dim`` out of ``dim`` features.

        They are lengths, or, if :meth:`whole` gives a gain, shares of the whole vector's length.
        """

    def whole(self) -> "Gain | None":
        """Gain of the whole vector, where the groups share one."""
        return None


def _check_num_levels(gain: Gain) -> None:
    if not 2 <= gain.num_levels <= 2**20:
        raise ConfigError(
            f"{type(gain).__name__} num_levels: expected 2 to 2^20, got {gain.num_levels}."
        )


@dataclass(frozen=True)
class UnitGain(Gain):
    """No gain: the output is a direction, on the unit sphere, and costs no bits for its length."""

    @property
    def num_levels(self) -> int:  # type: ignore[override]
        """One."""
        return 1

    def levels(self, group_dim: int, dim: int) -> tuple[float, ...]:
        """Length 1."""
        return (1.0,)


@dataclass(frozen=True)
class LogUniformGain(Gain):
    """Levels in geometric progression: the same relative error for short and long vectors.

    Attributes:
        num_levels: Number of levels, at least 2.
        low: Lowest level, in units of ``sqrt(group_dim)``: the root mean square of the features.
        high: Highest level, in the same units.
    """

    num_levels: int = 64
    low: float = 0.1
    high: float = 10.0

    def __post_init__(self) -> None:
        """Refuse fewer than two levels and an empty range."""
        _check_num_levels(self)
        if not 0 < self.low < self.high < math.inf:
            raise ConfigError(
                f"LogUniformGain: expected 0 < low < high, got {self.low} and {self.high}."
            )

    def levels(self, group_dim: int, dim: int) -> tuple[float, ...]:
        """``sqrt(group_dim) low (high / low)^(i / (n - 1))``."""
        last = self.num_levels - 1
        unit = math.sqrt(group_dim)
        return tuple(
            unit * self.low ** (1 - i / last) * self.high ** (i / last)
            for i in range(self.num_levels)
        )


@dataclass(frozen=True)
class MuLawGain(Gain):
    """Levels of the mu-law (ITU-T G.711's curve): even near zero, which is one, then geometric.

    Attributes:
        num_levels: Number of levels, at least 2.
        high: Highest level, in units of ``sqrt(group_dim)``.
        mu: Curvature; 255 is telephony's.
    """

    num_levels: int = 64
    high: float = 10.0
    mu: float = 255.0

    def __post_init__(self) -> None:
        """Refuse fewer than two levels and parameters that are not positive."""
        _check_num_levels(self)
        if not (0 < self.high < math.inf and 0 < self.mu < math.inf):
            raise ConfigError(
                f"MuLawGain: expected high > 0 and mu > 0, got {self.high} and {self.mu}."
            )

    def levels(self, group_dim: int, dim: int) -> tuple[float, ...]:
        """``sqrt(group_dim) high ((1 + mu)^(i / (n - 1)) - 1) / mu``."""
        last = self.num_levels - 1
        unit = math.sqrt(group_dim) * self.high / self.mu
        return tuple(
            unit * math.expm1(i / last * math.log1p(self.mu)) for i in range(self.num_levels)
        )


@dataclass(frozen=True)
class BetaGain(Gain):
    """One gain for the vector, and each group's share of it (arXiv 2410.16926).

    In a randomly rotated vector of n features, the squared length of m of them is a share of the
    whole that is distributed as Beta(m/2, (n-m)/2). The levels are the middles of cells of equal
    probability, so each is used equally often. Use it with ``HadamardRotation``.

    Attributes:
        num_levels: Number of levels of a group's share, at least 2.
        norm: Gain of the whole vector.
    """

    num_levels: int = 16
    norm: LogUniformGain | MuLawGain = LogUniformGain()

    def __post_init__(self) -> None:
        """Refuse fewer than two levels."""
        _check_num_levels(self)

    def levels(self, group_dim: int, dim: int) -> tuple[float, ...]:
        """Square roots of the quantiles ``(i + 1/2) / n``.

        Raises:
            ConfigError: Only one group: its share is always 1.
        """
        if group_dim >= dim:
            raise ConfigError(
                f"BetaGain: expected group_dim below dim {dim}, got {group_dim}. One group has no "
                "share to quantize: use LogUniformGain."
            )
        a, b = group_dim / 2, (dim - group_dim) / 2
        return tuple(
            math.sqrt(beta_quantile((i + 0.5) / self.num_levels, a, b))
            for i in range(self.num_levels)
        )

    def whole(self) -> Gain:
        """Gain of the whole vector."""
        return self.norm
