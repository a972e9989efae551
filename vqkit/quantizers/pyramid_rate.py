"""How to share a number of bits between the direction and the length of a vector."""

import bisect
import dataclasses
import itertools
import math

from vqkit.errors import ConfigError
from vqkit.ops.pyramid_table import pyramid_size
from vqkit.quantizers.gain import Gain, UnitGain

__all__ = ["split_bits"]

_MOST_PULSES = 1024
_MOST_GAIN_BITS = 12


def split_bits(dim: int, group_dim: int, num_bits: int, gain: Gain) -> tuple[int, Gain]:
    """Pulses and gain with the least estimated error in ``num_bits`` per vector of ``dim``.

    Tried is every power of two of gain levels, each with the most pulses that still fit. The error
    relative to the squared length is that of the gain plus that of a cubic lattice of N points over
    the unit sphere, ``(L-1) / 12 (A / N)^(2 / (L-1))`` with the sphere's surface A. That holds for
    many bits and is good enough for a choice.

    Raises:
        ConfigError: Too few bits for one pulse per group and, unless the gain is one, two levels.
    """
    if dim < 1 or group_dim < 1 or dim % group_dim:
        raise ConfigError(
            f"Pyramid rate: expected dim >= 1 and a group_dim that divides it, got {dim} and "
            f"{group_dim}."
        )
    num_groups = dim // group_dim
    whole = gain.whole()
    group_bits = num_bits if whole is None else num_bits - (whole.num_levels - 1).bit_length()
    group_bits //= num_groups
    best: tuple[float, int, Gain] | None = None
    for gain_bits in (0,) if isinstance(gain, UnitGain) else range(1, _MOST_GAIN_BITS + 1):
        pulses = _most_pulses(group_dim, group_bits - gain_bits)
        if pulses == 0:
            break
        shape_error = _shape_error(group_dim, pulses)
        if best is not None and shape_error >= best[0]:
            break  # a finer gain leaves ever fewer pulses
        chosen = gain
        if not isinstance(gain, UnitGain):
            chosen = dataclasses.replace(gain, num_levels=2**gain_bits)  # type: ignore[type-var]
        error = _gain_error(chosen, group_dim, dim) + shape_error
        if best is None or error < best[0]:
            best = (error, pulses, chosen)
    if best is None:
        raise ConfigError(
            f"Pyramid rate: {num_bits} bits hold no gain and pulse for {num_groups} group(s) of "
            f"{group_dim} features. Allow more bits, or larger groups."
        )
    return best[1], best[2]


def _most_pulses(dim: int, num_bits: int) -> int:
    """Most pulses whose shapes fit in ``num_bits``; 0 if none do."""
    low, high = 0, 1
    limit = 1 if dim == 1 else _MOST_PULSES  # more pulses do not refine a sign
    while low < high:
        if (pyramid_size(dim, high) - 1).bit_length() <= num_bits:
            low, high = high, min(2 * high, limit)
        else:
            break
    # Fits at low, not at high (or both are the limit).
    while high - low > 1:
        middle = (low + high) // 2
        if (pyramid_size(dim, middle) - 1).bit_length() <= num_bits:
            low = middle
        else:
            high = middle
    return low


def _gain_error(gain: Gain, group_dim: int, dim: int) -> float:
    """Mean squared error over mean square of lengths as a finer table of the gain has them."""
    if gain.num_levels == 1:
        return 0.0
    levels = gain.levels(group_dim, dim)
    finer = dataclasses.replace(gain, num_levels=4 * gain.num_levels)  # type: ignore[type-var]
    middles = [(a + b) / 2 for a, b in itertools.pairwise(levels)]
    lengths = finer.levels(group_dim, dim)
    lost = sum((x - levels[bisect.bisect(middles, x)]) ** 2 for x in lengths)
    return lost / sum(x * x for x in lengths)


def _shape_error(dim: int, pulses: int) -> float:
    if dim == 1:
        return 0.0
    log_surface = math.log(2) + dim / 2 * math.log(math.pi) - math.lgamma(dim / 2)
    log_cell = log_surface - math.log(pyramid_size(dim, pulses))
    return min(1.0, (dim - 1) / 12 * math.exp(2 * log_cell / (dim - 1)))
