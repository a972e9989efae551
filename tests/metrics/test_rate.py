"""Rates are ratios of sums."""

import math

import pytest

from vqkit.errors import ConfigError
from vqkit.metrics import Rate, RateTotals


def test_metric_pools_pictures_of_different_size():
    metric = Rate()
    metric.update(nominal_bits=100.5, size_bytes=40, num_pixels=400, overhead_bytes=10)
    metric.update(nominal_bits=300.0, size_bytes=60, num_pixels=1600, overhead_bytes=10)
    assert metric.compute()["nominal_bits_per_pixel"].item() == 400.5 / 2000
    assert metric.compute()["actual_bits_per_pixel"].item() == 800 / 2000
    assert metric.compute()["overhead_share"].item() == 0.2
    assert metric.totals() == RateTotals(400.5, 100, 20, 2000)


def test_sums_stay_exact_beyond_fp32():
    metric = Rate()
    for _ in range(3):
        metric.update(nominal_bits=2**30 + 0.5, size_bytes=2**40 + 1, num_pixels=2**40 + 1)
    assert metric.totals() == RateTotals(3 * 2**30 + 1.5, 3 * 2**40 + 3, 0, 3 * 2**40 + 3)


def test_nothing_counted_is_undefined():
    metric = Rate()
    metric.update(nominal_bits=0.0, size_bytes=0, num_pixels=0)
    assert all(value.isnan() for value in metric.compute().values())


@pytest.mark.parametrize(
    "amounts", [(-1.0, 1, 0, 1), (math.inf, 1, 0, 1), (math.nan, 1, 0, 1), (1.0, 1, 2, 1)]
)
def test_impossible_amounts(amounts):
    with pytest.raises(ConfigError, match="Counting a rate failed"):
        RateTotals(*amounts)
