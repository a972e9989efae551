"""Rate-distortion theory against numerical references that know none of the formulas."""

import math

import pytest
import torch
from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.evaluation.cards.bounds import (
    gaussian_distortion,
    laplace_distortion,
    sphere_distortion,
    water_filling_distortion,
)


def blahut_arimoto(
    distances: Tensor, probabilities: Tensor, slope: float, steps: int
) -> tuple[float, float]:
    """Bits and distortion of a discrete source at one slope (Blahut 1972, algorithm 3)."""
    kernel = torch.exp(-slope * distances)
    q = torch.full((distances.shape[1],), 1.0 / distances.shape[1], dtype=torch.float64)
    for _ in range(steps):
        q = q * (kernel.T @ (probabilities / (kernel @ q)))
    normaliser = kernel @ q
    distortion = (probabilities / normaliser * ((kernel * distances) @ q)).sum()
    nats = -slope * distortion - (probabilities * normaliser.log()).sum()
    return float(nats) / math.log(2.0), float(distortion)


def on_a_line(distribution) -> tuple[Tensor, Tensor]:
    """Squared distances of a grid to itself, and the mass of each of its cells."""
    edges = torch.linspace(-9.0, 9.0, 452, dtype=torch.float64)
    mass = distribution(edges[1:]) - distribution(edges[:-1])
    middles = (edges[1:] + edges[:-1]) / 2
    return (middles[:, None] - middles).square(), mass / mass.sum()


def laplace_distribution(x: Tensor) -> Tensor:
    tail = 0.5 * torch.exp(-math.sqrt(2.0) * x.abs())
    return torch.where(x < 0, tail, 1.0 - tail)


@pytest.mark.parametrize("slope", [4.0, 8.0])
def test_laplace_bound_is_below_the_truth_and_near_it(slope):
    bits, distortion = blahut_arimoto(*on_a_line(laplace_distribution), slope, 1500)
    # The grid adds its own squared width over 12 to the source, less than 0.02 dB here.
    above_db = 10.0 * math.log10(distortion / laplace_distortion(bits))
    assert 0.0 < above_db < 0.03


@pytest.mark.parametrize("slope", [1.0, 4.0])
def test_gaussian_is_the_numerical_one(slope):
    bits, distortion = blahut_arimoto(*on_a_line(torch.special.ndtr), slope, 1500)
    assert distortion == pytest.approx(gaussian_distortion(bits), rel=5e-3)


@pytest.mark.parametrize("slope", [0.7, 3.0, 12.0])
def test_circle_is_the_numerical_one(slope):
    """Codes anywhere in the disc: that the best ones lie on a circle is for the search to find."""
    angle = torch.arange(48, dtype=torch.float64) * 2.0 * math.pi / 48
    ring = torch.stack([angle.cos(), angle.sin()], dim=1)
    radii = torch.linspace(0.0, 1.2, 181, dtype=torch.float64)
    codes = (radii[:, None, None] * ring).reshape(-1, 2)
    mass = torch.full((48,), 1.0 / 48, dtype=torch.float64)
    bits, distortion = blahut_arimoto(torch.cdist(ring, codes).square(), mass, slope, 3000)
    assert distortion / 2 == pytest.approx(sphere_distortion(bits, dim=2), rel=2e-3)


def test_sphere_tends_to_a_gaussian_in_many_dimensions():
    ratio = 256 * sphere_distortion(256.0, dim=256) / gaussian_distortion(1.0)
    assert ratio == pytest.approx(1.0, abs=0.02)
    # On a surface of n - 1 dimensions each bit counts for more in the end.
    step = sphere_distortion(30.0, dim=4) / sphere_distortion(33.0, dim=4)
    assert step == pytest.approx(4.0, rel=1e-3)
    with pytest.raises(ConfigError, match="dim >= 2"):
        sphere_distortion(1.0, dim=1)


@pytest.mark.parametrize("bits", [0.0, 0.3, 2.0, 9.0])
def test_water_filling_is_the_best_of_all_shares(bits):
    variances = [3.0, 1.0, 0.2]
    share = torch.linspace(0.0, bits, 301)
    first, second = torch.meshgrid(share, share, indexing="ij")
    third = bits - first - second
    total = sum(
        variance * 4.0**-part
        for variance, part in zip(variances, (first, second, third), strict=True)
    )
    best = float(total[third >= -1e-6].min()) / 3
    assert water_filling_distortion(bits, variances) == pytest.approx(best, rel=2e-3)
    assert water_filling_distortion(bits, [0.0, *variances]) == pytest.approx(0.75 * best, rel=2e-3)


def test_water_filling_of_equal_variances_is_the_gaussian():
    assert water_filling_distortion(6.0, [2.0] * 3) == pytest.approx(gaussian_distortion(2.0, 2.0))
