"""Nearest codes in plain torch, tile by tile, on any device.

The scores of a tile come from one matrix product (half the squared length of the codes rides along
as one more feature). On a CPU, ``argmin`` is ten times slower than the product, ``amin`` is free:
codes are searched in groups for their minimum only, and the winning group is searched again.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from vqkit.ops.nearest_scores import UNREACHABLE, CentredCodes, Found
from vqkit.shapes import Float, Int

__all__ = ["TiledSearch"]

_TOKENS_PER_TILE = 256  # times the codes per tile: 1 MiB of scores stays in the cache of two cores
_CODES_PER_TILE = 1024
_GROUPS = 64
_SMALLEST_GROUP = 16
_MINIMA_AT_ONCE = 2**21
_SMALL = 2**18  # scores below which one tile and one argmin are fastest
_ACCELERATOR_TILE = 4096


class TiledSearch:
    """Search for the codes nearest to float32 queries, on the device of the codes."""

    def __init__(self, codes: CentredCodes) -> None:
        self._group_size = min(
            max(-(-len(codes.points) // _GROUPS), _SMALLEST_GROUP), _CODES_PER_TILE
        )
        self._lifted = _lift(codes, self._group_size)

    def __call__(self, queries: Float[Tensor, "tokens dim"]) -> Found:
        """Find the best code of every query."""
        lifted = torch.cat([queries, torch.ones_like(queries[:, :1])], dim=1)
        with _full_float32(queries.device):
            if queries.device.type != "cpu":
                return self._search_directly(lifted, _ACCELERATOR_TILE)
            if len(queries) * len(self._lifted) <= _SMALL:
                return self._search_directly(lifted, len(self._lifted))
            return self._search_groups(lifted)
