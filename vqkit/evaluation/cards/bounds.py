"""The least distortion that any code of a rate can have, of sources whose theory is known."""

import math
from collections.abc import Sequence

import torch

from vqkit.errors import ConfigError

__all__ = [
    "gaussian_distortion",
    "laplace_distortion",
    "shannon_lower_bound",
    "sphere_distortion",
    "water_filling_distortion",
]

_BISECTIONS = 100
_QUADRATURE = 4096


def gaussian_distortion(bits: float, variance: float = 1.0) -> float:
    """Rate-distortion function of a Gaussian, ``variance * 2^(-2 bits)`` (Shannon 1959).

    Args:
        bits: Rate per feature.
        variance: That of a feature.

    >>> gaussian_distortion(2.0)
    0.0625
    """
    return float(variance * 2.0 ** (-2.0 * bits))


def shannon_lower_bound(bits: float, entropy_bits: float) -> float:
    """Lower bound on the distortion of any source with a density, ``2^(2 (h - R)) / 2 pi e``.

    It is met as the rate grows (Linder and Zamir 1994).

    Args:
        bits: Rate per feature.
        entropy_bits: Differential entropy per feature.
    """
    return float(2.0 ** (2.0 * (entropy_bits - bits)) / (2.0 * math.pi * math.e))


def laplace_distortion(bits: float, variance: float = 1.0) -> float:
    """Shannon's lower bound for a Laplace density: ``e / pi`` of the Gaussian's distortion.

    Args:
        bits: Rate per feature. From 2 on, the bound is within 0.003 dB of the truth.
        variance: That of a feature.
    """
    scale = math.sqrt(variance / 2.0)
    return shannon_lower_bound(bits, math.log2(2.0 * math.e * scale))


def sphere_distortion(bits: float, dim: int) -> float:
    """Rate-distortion function of the uniform distribution on the unit sphere, exactly.

    The best test channel gives codes of length A(k) whose posterior directions follow the density
    ``exp(k u) / M(k)`` of the cosine u, and ``R = k A(k) - log M(k)``, ``D = 1 - A(k)^2`` with
    ``A = M' / M``: the conditions of Kuhn and Tucker hold because log M is concave in k^2.

    Args:
        bits: Rate per vector.
        dim: Features of a vector, at least 2.

    Returns:
        Squared error per feature, ``D / dim``.

    Raises:
        ConfigError: ``dim < 2``.

    >>> sphere_distortion(0.0, dim=4)
    0.25
    """
    if dim < 2:
        raise ConfigError(f"Distortion on a sphere: expected dim >= 2, got {dim}.")
    if bits <= 0.0:
        return 1.0 / dim
    low, high = 0.0, 1.0
    while _sphere_rate(high, dim)[0] < bits:
        low, high = high, 2.0 * high
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if _sphere_rate(middle, dim)[0] < bits else (low, middle)
    return (1.0 - _sphere_rate(high, dim)[1] ** 2) / dim


def _sphere_rate(concentration: float, dim: int) -> tuple[float, float]:
    """Bits per vector, and the mean cosine."""
    # Substituting u = cos t leaves a smooth integrand at both ends: the midpoint rule converges
    # at once. The part near u = 1 is all there is for large k, so the nodes follow it.
    width = min(math.pi, 12.0 / math.sqrt(max(concentration, 1e-12)))
    middles = (torch.arange(_QUADRATURE, dtype=torch.float64) + 0.5) / _QUADRATURE
    angle = middles * width
    area = torch.sin(angle) ** (dim - 2)
    tilted = area * torch.exp(concentration * (torch.cos(angle) - 1.0))
    whole = (torch.sin(middles * math.pi) ** (dim - 2)).mean() * math.pi
    mass = tilted.mean() * width
    cosine = float((tilted * torch.cos(angle)).mean() * width / mass)
    divergence = concentration * (cosine - 1.0) - math.log(float(mass / whole))
    return divergence / math.log(2.0), cosine


def water_filling_distortion(bits: float, variances: Sequence[float]) -> float:
    """Rate-distortion function of independent Gaussians, mean over them (reverse water-filling).

    For any other source of these variances along its principal axes it is an upper bound: a good
    code can do better, none need do worse (Cover and Thomas, theorem 10.3.3).

    Args:
        bits: Rate of a vector.
        variances: Those of the features, or the eigenvalues of their covariance.

    >>> water_filling_distortion(4.0, [1.0, 1.0])
    0.0625
    >>> water_filling_distortion(1.0, [4.0, 1.0])
    1.0
    """
    ordered = sorted((float(value) for value in variances), reverse=True)
    best = sum(ordered)
    # The n strongest features share the bits; the others are not coded. Right is the n for which
    # the level lies above the next variance; it has the least distortion of all.
    for n in range(1, len(ordered) + 1):
        if ordered[n - 1] <= 0.0:
            break
        log_level = math.fsum(map(math.log2, ordered[:n])) / n - 2.0 * bits / n
        level = 2.0**log_level
        if level <= ordered[n - 1]:
            best = min(best, n * level + sum(ordered[n:]))
    return best / len(ordered)
