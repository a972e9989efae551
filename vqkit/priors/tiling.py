"""Attention to a neighbourhood: each position sees those a few steps away along every axis.

Positions are taken in tiles, whose neighbourhoods overlap so much that one product of matrices for
a tile costs less than gathering a neighbourhood for each position.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import prod

import torch
from torch import Tensor

from vqkit.shapes import Bool, Int

__all__ = ["MAX_RANK", "Tiling", "num_offsets", "tiling"]

# By the rank of the grid: steps to either side, and positions of a tile along an axis.
_REACH = {0: (), 1: (24,), 2: (3, 3), 3: (1, 2, 2), 4: (1, 1, 1, 1)}
_TILE = {0: (), 1: (64,), 2: (8, 8), 3: (4, 4, 4), 4: (2, 3, 3, 3)}

MAX_RANK = max(_REACH)


@dataclass(frozen=True, eq=False)
class Tiling:
    """The tiles of one grid.

    Attributes:
        queries: ``[tiles, queries]`` the positions of a tile in C order; where the grid has ended,
            the number of positions.
        keys: ``[tiles, keys]`` the positions that at least one of them sees, likewise.
        offsets: ``[queries, keys]`` number of the offset from query to key; `num_offsets` where the
            key is out of the query's reach.
        places: ``[positions]`` where each position stands in the flattened ``queries``.
    """

    queries: Int[Tensor, "tiles queries"]
    keys: Int[Tensor, "tiles keys"]
    offsets: Int[Tensor, "queries keys"]
    places: Int[Tensor, "positions"]

    def to(self, device: torch.device) -> "Tiling":
        """The same on another device."""
        parts = (self.queries, self.keys, self.offsets, self.places)
        return Tiling(*(part.to(device) for part in parts))

    def seen(self, inside: Bool[Tensor, "batch positions"]) -> Bool[Tensor, "batch tiles 1 1 keys"]:
        """Which keys are positions of the grid, and inside as the caller has it."""
        padded = torch.nn.functional.pad(inside, (0, 1))
        return padded[:, self.keys][:, :, None, None]


def num_offsets(rank: int) -> int:
    """Positions that a position sees in a grid of that rank, itself included."""
    return prod(2 * reach + 1 for reach in _REACH[rank])


@lru_cache(maxsize=64)
def tiling(grid: tuple[int, ...]) -> Tiling:
    """The tiles of a grid of up to `MAX_RANK` axes."""
    rank = len(grid)
    reach, tile = _REACH[rank], _TILE[rank]
    corners = product(*(range(0, size, step) for size, step in zip(grid, tile, strict=True)))
    corner = torch.tensor(list(corners), dtype=torch.int64).reshape(-1, 1, rank)
    query = _box([range(step) for step in tile])
    key = _box([range(-r, step + r) for r, step in zip(reach, tile, strict=True)])
    queries = _numbers(corner + query, grid)
    inside = queries < prod(grid)
    places = torch.empty(prod(grid), dtype=torch.int64)
    places[queries[inside]] = torch.arange(queries.numel()).view_as(queries)[inside]
    return Tiling(queries, _numbers(corner + key, grid), _offsets(key - query[:, None]), places)


def _box(ranges: list[range]) -> Tensor:
    """``[points, rank]`` all points of a box in C order."""
    return torch.tensor(list(product(*ranges)), dtype=torch.int64).reshape(-1, len(ranges))


def _numbers(coordinates: Tensor, grid: tuple[int, ...]) -> Tensor:
    """``[..., rank]`` to the numbers of positions; outside of the grid the number of them all."""
    sizes = torch.tensor(grid, dtype=torch.int64)
    inside = ((coordinates >= 0) & (coordinates < sizes)).all(-1)
    number = torch.zeros(coordinates.shape[:-1], dtype=torch.int64)
    for axis, size in enumerate(grid):
        number = number * size + coordinates[..., axis]
    return torch.where(inside, number, prod(grid))


def _offsets(steps: Tensor) -> Tensor:
    """``[..., rank]`` steps from query to key, as numbers."""
    reach = _REACH[steps.shape[-1]]
    number = torch.zeros(steps.shape[:-1], dtype=torch.int64)
    within = torch.ones(steps.shape[:-1], dtype=torch.bool)
    for axis, r in enumerate(reach):
        number = number * (2 * r + 1) + steps[..., axis] + r
        within &= steps[..., axis].abs() <= r
    return torch.where(within, number, num_offsets(len(reach)))
