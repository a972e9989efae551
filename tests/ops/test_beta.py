"""Beta distribution against closed forms and integration."""

import math

import pytest

from vqkit.errors import ConfigError
from vqkit.ops.beta import beta_cdf, beta_quantile


def integral(x: float, a: float, b: float, steps: int = 20_000) -> float:
    """Midpoint rule, after t = u^2 has taken the pole at 0 of a = 1/2 away."""
    root = math.sqrt(x)
    nodes = [(i + 0.5) / steps * root for i in range(steps)]
    total = sum(2 * u ** (2 * a - 1) * (1 - u * u) ** (b - 1) for u in nodes) * root / steps
    return total * math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b))


@pytest.mark.parametrize("x", [0.001, 0.1, 0.5, 0.77])
@pytest.mark.parametrize(("a", "b"), [(0.5, 7.5), (4, 12), (8, 1.5), (64, 448)])
def test_distribution_function(x, a, b):
    assert beta_cdf(x, a, b) == pytest.approx(integral(x, a, b), abs=2e-6)


def test_closed_forms_and_ends():
    for x in (0.0, 0.2, 0.9, 1.0):
        assert beta_cdf(x, 1, 1) == pytest.approx(x, abs=1e-14)
        assert beta_cdf(x, 0.5, 0.5) == pytest.approx(2 / math.pi * math.asin(math.sqrt(x)))
        assert beta_cdf(x, 2, 1) == pytest.approx(x * x, abs=1e-14)
    assert beta_cdf(-1.0, 2, 3) == 0.0
    assert beta_cdf(2.0, 2, 3) == 1.0


@pytest.mark.parametrize(("a", "b"), [(0.5, 7.5), (4, 12), (64, 448), (512, 3584)])
def test_quantiles_invert(a, b):
    for probability in (0.001, 0.03, 0.5, 0.999):
        x = beta_quantile(probability, a, b)
        assert beta_cdf(x, a, b) == pytest.approx(probability, rel=1e-9)


def test_bad_arguments_are_refused():
    with pytest.raises(ConfigError, match="a > 0"):
        beta_cdf(0.5, 0, 1)
    with pytest.raises(ConfigError, match="probability"):
        beta_quantile(1.5, 1, 1)
