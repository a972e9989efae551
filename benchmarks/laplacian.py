"""What theory says about quantizing independent Laplacian samples of variance 1, in dB."""

import functools
import math

import numpy as np
import numpy.typing as npt

__all__ = ["entropy_coded_db", "lloyd_max_db", "rate_distortion_db", "shannon_bound_db"]

Row = npt.NDArray[np.float64]
_SCALE = math.sqrt(0.5)  # b of the density exp(-|x| / b) / 2b


def shannon_bound_db(rate: float) -> float:
    """Shannon's bound ``R(D) >= h - log2(2 pi e D) / 2`` with ``h = log2(2 e b)``."""
    entropy = math.log2(2 * math.e * _SCALE)
    return _db(2 ** (2 * (entropy - rate)) / (2 * math.pi * math.e))


def rate_distortion_db(rate: float) -> float:
    """The rate-distortion function, between points of its curve."""
    rates, distortions = _curve()
    # The function lies above the bound, what is interpolated may miss it by 0.001 dB.
    between = _db(float(np.exp(np.interp(rate, rates, np.log(distortions)))))
    return min(between, shannon_bound_db(rate))


@functools.cache
def _curve() -> tuple[Row, Row]:
    """Blahut-Arimoto at several slopes, ascending in the rate."""
    x, p = _source(reach=10.0, step=0.02)
    squares = (x[:, None] - x[None, ::2]) ** 2
    points = []
    for slope in np.geomspace(0.55, 160.0, 26):  # 1 / (2 D) at high rates
        kernel = np.exp(-slope * squares)
        q = np.full(kernel.shape[1], 1.0 / kernel.shape[1])
        for _ in range(600):
            q *= (p / (kernel @ q)) @ kernel
        joint = p[:, None] * kernel * q / (kernel @ q)[:, None]
        distortion = float((joint * squares).sum())
        rate = -slope * distortion - float((p * np.log(kernel @ q)).sum())
        points.append((rate / math.log(2), distortion))
    points.sort()
    rates, distortions = np.array(points).T
    return rates, distortions


def entropy_coded_db(rate: float) -> float:
    """Uniform thresholds, zero in the middle of a cell, centroids; the rate is the entropy."""
    x, p = _source(reach=20.0, step=1e-3)
    low, high = math.log(1e-2), math.log(20.0)
    for _ in range(50):
        step = math.exp((low + high) / 2)
        cells = np.round(x / step).astype(np.int64)
        cells -= cells.min()
        mass = np.bincount(cells, p)
        mass_used = mass[mass > 0]
        entropy = -float((mass_used * np.log2(mass_used)).sum())
        if entropy > rate:
            low = math.log(step)
        else:
            high = math.log(step)
    return _db(_centroid_error(x, p, cells))


def lloyd_max_db(num_levels: int) -> float:
    """The scalar quantizer of least squared error with so many levels."""
    x, p = _source(reach=20.0, step=1e-3)
    levels = np.linspace(-2.0, 2.0, num_levels) if num_levels > 1 else np.zeros(1)
    for _ in range(3000):
        cells = np.searchsorted((levels[1:] + levels[:-1]) / 2, x)
        mass = np.bincount(cells, p, num_levels)
        moved = np.bincount(cells, p * x, num_levels) / mass
        if np.abs(moved - levels).max() < 1e-7:
            break
        levels = moved
    return _db(_centroid_error(x, p, cells))


def _source(reach: float, step: float) -> tuple[Row, Row]:
    """Points and probabilities."""
    x = np.arange(-round(reach / step), round(reach / step) + 1) * step
    p = np.exp(-np.abs(x) / _SCALE)
    return x, p / p.sum()


def _centroid_error(x: Row, p: Row, cells: npt.NDArray[np.int64]) -> float:
    mass, moment = np.bincount(cells, p), np.bincount(cells, p * x)
    centroids = moment / np.where(mass > 0, mass, 1.0)
    return float((p * (x - centroids[cells]) ** 2).sum())


def _db(distortion: float) -> float:
    return -10 * math.log10(distortion)
