"""The order in which positions become known."""

from fractions import Fraction
from math import prod

import numpy as np
import pytest
import torch

from vqkit.priors.order import _GENERATORS, NUM_STEPS, reveal_order, step_bounds

GRIDS = [(1,), (2,), (1000,), (1, 1), (16, 25), (64, 96), (4, 5, 6), (2, 3, 4, 5)]


@pytest.mark.parametrize("grid", GRIDS)
def test_every_position_comes_once_and_every_step_brings_some(grid: tuple[int, ...]) -> None:
    count = prod(grid)
    assert sorted(reveal_order(grid).tolist()) == list(range(count))
    bounds = step_bounds(grid)
    assert [first for first, _ in bounds] == [0, *(last for _, last in bounds[:-1])]
    assert bounds[-1][1] == count
    assert all(first < last for first, last in bounds)
    assert len(bounds) <= NUM_STEPS


def test_known_share_grows_with_the_square_of_the_step() -> None:
    lasts = [last for _, last in step_bounds((64, 100))]
    assert lasts == [100 * k * k for k in range(1, 9)]


@pytest.mark.parametrize("rank", [1, 2, 3, 4])
def test_generators_are_powers_of_the_generalised_golden_ratio(rank: int) -> None:
    low, high = Fraction(1), Fraction(2)
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if middle ** (rank + 1) < middle + 1 else (low, middle)
    expected = [round(2**32 / low**power) for power in range(1, rank + 1)]
    assert list(_GENERATORS[rank]) == expected


@pytest.mark.parametrize("share", [0.05, 0.25, 0.5])
def test_prefixes_cover_a_grid_evenly(share: float) -> None:
    grid = (64, 96)
    known = np.zeros(grid, bool)
    known.reshape(-1)[reveal_order(grid)[: int(share * known.size)].numpy()] = True
    counts = known.reshape(8, 8, 8, 12).sum((1, 3))
    random = np.random.default_rng(0).random(grid) < share
    spread = counts.std()
    assert spread < 0.6 * random.reshape(8, 8, 8, 12).sum((1, 3)).std()


def test_order_is_that_of_whole_number_arithmetic() -> None:
    grid = (13, 17)
    first, second = _GENERATORS[2]
    ranks = [(i * first + j * second) % 2**32 for i in range(13) for j in range(17)]
    expected = sorted(range(13 * 17), key=lambda position: (ranks[position], position))
    assert torch.equal(reveal_order(grid), torch.tensor(expected))
