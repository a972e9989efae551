"""In which order the positions of a grid become known, and how many at a time.

The order is that of a low-discrepancy sequence over the coordinates (the additive recurrence of
Roberts 2018, whose generators are powers of the generalised golden ratio): each prefix of it covers
the grid evenly, whatever its size, so that what comes next always has neighbours on all sides.
Few positions come first and more each time, as in M2T (Mentzer, Agustsson and Tschannen 2023,
section 3.3): the first ones have little to be predicted from.
"""

from itertools import pairwise
from math import prod

import torch
from torch import Tensor

from vqkit.shapes import Int

__all__ = ["NUM_STEPS", "reveal_order", "step_bounds"]

NUM_STEPS = 8

# round(2^32 / g^j) for j = 1, 2 …, where g is the root of g^(rank + 1) = g + 1 above 1.
_GENERATORS = {
    0: (),
    1: (2654435769,),
    2: (3242174889, 2447445414),
    3: (3518319155, 2882110345, 2360945575),
    4: (3679390609, 3152041523, 2700274806, 2313257605),
}


def reveal_order(grid: tuple[int, ...]) -> Int[Tensor, "positions"]:
    """Positions of a grid of up to four axes, numbered in C order, in the order they are coded."""
    rank = torch.zeros(grid, dtype=torch.int64)
    for axis, (size, generator) in enumerate(zip(grid, _GENERATORS[len(grid)], strict=True)):
        shape = [-1 if other == axis else 1 for other in range(len(grid))]
        rank += (torch.arange(size) * generator).view(shape)
    return torch.argsort((rank % (1 << 32)).reshape(-1), stable=True)


def step_bounds(grid: tuple[int, ...]) -> list[tuple[int, int]]:
    """First and last + 1 of the places in `reveal_order` that each step fills, none empty.

    After step ``k`` of ``n`` the share ``(k / n)^2`` of all positions is known.
    """
    num_positions, square = prod(grid), NUM_STEPS**2
    known = [-(-num_positions * k * k // square) for k in range(NUM_STEPS + 1)]
    return [(first, last) for first, last in pairwise(known) if first < last]
