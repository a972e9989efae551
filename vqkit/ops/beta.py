"""Quantiles of the Beta distribution, in Python floats: for tables made once."""

import math

from vqkit.errors import ConfigError

__all__ = ["beta_cdf", "beta_quantile"]

_TINY = 1e-300
_MAX_TERMS = 10_000
_MAX_STEPS = 200


def beta_cdf(x: float, a: float, b: float) -> float:
    """Probability that a Beta(a, b) variable is at most x, to 12 digits or so.

    The regularised incomplete beta function by its continued fraction (Abramowitz & Stegun
    26.5.8).

    Raises:
        ConfigError: ``a`` or ``b`` not positive.

    >>> round(beta_cdf(0.25, 0.5, 0.5), 12)
    0.333333333333
    """
    if not (a > 0 and b > 0):
        raise ConfigError(f"Beta distribution: expected a > 0 and b > 0, got {a} and {b}.")
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    if x > (a + 1.0) / (a + b + 2.0):
        return 1.0 - beta_cdf(1.0 - x, b, a)  # where the fraction converges fast
    log_front = a * math.log(x) + b * math.log1p(-x) - _log_beta(a, b)
    return math.exp(log_front) / (a * _fraction(x, a, b))


def _fraction(x: float, a: float, b: float) -> float:
    """``1 + d_1 / (1 + d_2 / (1 + ...))``, evaluated forwards (Lentz)."""
    value = ratio = 1.0
    inverse = 0.0
    for i in range(1, _MAX_TERMS):
        m = i // 2
        if i % 2:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        inverse = 1.0 / (1.0 + term * inverse or _TINY)
        ratio = 1.0 + term / ratio or _TINY
        value *= ratio * inverse
        if abs(ratio * inverse - 1.0) < 1e-15:
            break
    return value


def beta_quantile(probability: float, a: float, b: float) -> float:
    """Inverse of :func:`beta_cdf`, by Newton steps, halving the interval where they leave it.

    Raises:
        ConfigError: A probability not between 0 and 1, ``a`` or ``b`` not positive.

    >>> round(beta_quantile(1 / 3, 0.5, 0.5), 9)
    0.25
    """
    if not 0.0 < probability < 1.0:
        raise ConfigError(f"Beta quantile: expected a probability in (0, 1), got {probability}.")
    low, high, x = 0.0, 1.0, a / (a + b)
    for _ in range(_MAX_STEPS):
        excess = beta_cdf(x, a, b) - probability
        low, high = (low, x) if excess > 0 else (x, high)
        log_density = (a - 1.0) * math.log(x) + (b - 1.0) * math.log1p(-x) - _log_beta(a, b)
        moved = x - excess * math.exp(-log_density) if abs(log_density) < 600.0 else low
        if not low < moved < high:
            moved = (low + high) / 2
        if abs(moved - x) <= 1e-15 * x or moved in (0.0, 1.0):
            return moved
        x = moved
    return x


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
