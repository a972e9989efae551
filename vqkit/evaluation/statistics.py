"""Means over a set with their uncertainty, exact whatever the order and the number of processes."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["MetricSummary", "summarise"]

_NORMAL_QUANTILE = 1.959963984540054  # 97.5 %
_SMALL_SAMPLE_QUANTILES = {1: 12.706204736432095, 2: 4.302652729696142}


@dataclass(frozen=True)
class MetricSummary:
    """A metric over a set; numbers that the set cannot give are None."""

    mean: float | None
    standard_error: float | None
    """Sample deviation over the root of ``count``; None below two items."""
    confidence_95: tuple[float, float] | None
    """Student's interval of the mean, for items drawn at random from what they stand for."""
    count: int
    """Items that have a value."""
    num_skipped: int
    """Items that the metric is not defined for, e.g. too small or too short ones."""
    reason: str | None = None
    """Why there is no value at all."""


def summarise(values: Iterable[float | None], reason: str | None = None) -> MetricSummary:
    """Mean, standard error and 95 % interval of the values that are there.

    Sums are exactly rounded (``math.fsum``), so that the order does not matter.

    Example:
        >>> summary = summarise([1.0, 3.0, None])
        >>> summary.mean, summary.standard_error, summary.count, summary.num_skipped
        (2.0, 1.0, 2, 1)
    """
    values = list(values)
    known = [value for value in values if value is not None]
    count, num_skipped = len(known), len(values) - len(known)
    if not known:
        return MetricSummary(None, None, None, 0, num_skipped, reason)
    mean = math.fsum(known) / count
    if count == 1:
        return MetricSummary(mean, None, None, count, num_skipped)
    variance = math.fsum((value - mean) ** 2 for value in known) / (count - 1)
    error = math.sqrt(variance / count)
    margin = _student_quantile(count - 1) * error
    return MetricSummary(mean, error, (mean - margin, mean + margin), count, num_skipped)


def _student_quantile(degrees: int) -> float:
    """97.5 % quantile of Student's t: the expansion by Cornish and Fisher, within 1 % from 3 on."""
    if degrees in _SMALL_SAMPLE_QUANTILES:
        return _SMALL_SAMPLE_QUANTILES[degrees]
    z = _NORMAL_QUANTILE
    return (
        z
        + (z**3 + z) / (4 * degrees)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * degrees**3)
    )
