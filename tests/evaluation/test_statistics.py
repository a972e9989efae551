"""Means and intervals against scipy."""

import math
import random

import pytest
from scipy import stats

from vqkit.evaluation import summarise


@pytest.mark.parametrize("count", [2, 3, 4, 10, 500])
def test_equals_scipy(count):
    values = [random.Random(count).gauss(25, 3) for _ in range(count)]
    values = [value + 0.1 * index for index, value in enumerate(values)]
    summary = summarise(values)
    low, high = stats.t.interval(0.95, count - 1, loc=summary.mean, scale=stats.sem(values))
    assert summary.mean == pytest.approx(sum(values) / count, rel=1e-14)
    assert summary.standard_error == pytest.approx(stats.sem(values), rel=1e-12)
    # The quantile is an expansion: within 1 % of the exact width.
    assert summary.confidence_95[0] == pytest.approx(low, abs=0.01 * (high - low))
    assert summary.confidence_95[1] == pytest.approx(high, abs=0.01 * (high - low))


def test_order_does_not_show():
    values = [10 ** random.Random(i).uniform(-8, 8) for i in range(1000)]
    shuffled = random.Random(0).sample(values, len(values))
    assert summarise(values) == summarise(shuffled)


def test_missing_values_are_counted_apart():
    summary = summarise([None, 2.0, None, 4.0])
    assert (summary.mean, summary.count, summary.num_skipped) == (3.0, 2, 2)
    assert summary.reason is None


def test_one_value_has_no_interval():
    summary = summarise([2.0], "unused")
    assert (summary.mean, summary.standard_error, summary.confidence_95) == (2.0, None, None)
    assert summary.reason is None


def test_no_value_says_why():
    summary = summarise([None, None], "no weights")
    assert (summary.mean, summary.count, summary.num_skipped) == (None, 0, 2)
    assert summary.reason == "no weights"


def test_interval_covers_the_truth_as_often_as_it_says():
    generator = random.Random(1)
    covered = 0
    for _ in range(2000):
        low, high = summarise([generator.gauss(0, 1) for _ in range(5)]).confidence_95
        covered += low <= 0 <= high
    assert covered / 2000 == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / 2000))
