"""Nearest codes in plain torch, tile by tile, on any device.

The scores of a tile are one matrix product, with half the squared length of the codes as one more
feature. On a CPU ``argmin`` takes as long as the product of 8 features, ``amin`` a tenth of that:
there the codes are scanned in groups for the lowest score only, and each token searches the group
that holds its lowest score once more.
"""

import math

import torch
from torch import Tensor

from vqkit.ops.float32 import full_float32
from vqkit.ops.nearest_scores import UNREACHABLE, CentredCodes, Found
from vqkit.shapes import Float

__all__ = ["TiledSearch"]

_TOKENS_PER_TILE = 256  # with 1,024 codes the scores take 1 MiB, which a CPU's cache holds
_CODES_PER_TILE = 1024
_MAX_GROUPS = 64
_MIN_GROUP_SIZE = 16
_SMALL = 2**18  # number of scores below which grouping does not pay
_ACCELERATOR_TILE = 4096


class TiledSearch:
    """Search for the codes nearest to float32 queries, on the device of the codes."""

    def __init__(self, codes: CentredCodes) -> None:
        num_codes = len(codes.points)
        group_size = min(max(-(-num_codes // _MAX_GROUPS), _MIN_GROUP_SIZE), _CODES_PER_TILE)
        num_groups = -(-num_codes // group_size)
        lifted = codes.points.new_zeros(num_groups * group_size, codes.points.shape[1] + 1)
        lifted[:num_codes, :-1] = -codes.points
        lifted[:, -1] = UNREACHABLE
        lifted[:num_codes, -1] = codes.half_norms
        self._groups = lifted.view(num_groups, group_size, -1)

    def __call__(self, queries: Float[Tensor, "tokens dim"]) -> Found:
        """Find the best code of every query."""
        lifted = torch.cat([queries, torch.ones_like(queries[:, :1])], dim=1)
        with full_float32(queries.device):
            if queries.device.type != "cpu":
                return self.search_directly(lifted, _ACCELERATOR_TILE)
            if len(queries) * self._groups[..., 0].numel() <= _SMALL:
                return self.search_directly(lifted, _SMALL)
            return self.search_by_group(lifted)

    def search_directly(self, queries: Float[Tensor, "tokens lifted"], tile: int) -> Found:
        """Keep the best code so far of every token, in tiles of ``tile x tile`` scores at most."""
        results = []
        for rows in queries.split(tile):
            best: Found | None = None
            for start, codes in zip(
                range(0, self._groups[..., 0].numel(), tile),
                self._groups.flatten(0, 1).split(tile),
                strict=True,
            ):
                here = _lowest(torch.mm(rows, codes.T), dim=1)
                here = here._replace(indices=here.indices + start)
                best = here if best is None else _merged(best, here)
            assert best is not None, "a codebook has at least one code"
            results.append(best)
        return Found(*(torch.cat(parts) for parts in zip(*results, strict=True)))

    def search_by_group(self, queries: Float[Tensor, "tokens lifted"]) -> Found:
        """Find the group of the best code first, then the code."""
        groups = self._scan_groups(queries)
        size = self._groups.shape[1]
        found = Found(
            torch.empty_like(groups.indices),
            torch.empty_like(groups.score),
            torch.empty_like(groups.score),
        )
        members = groups.indices.bincount(minlength=len(self._groups)).tolist()
        by_group = groups.indices.argsort().split(members)
        for number, (tokens, codes) in enumerate(zip(by_group, self._groups, strict=True)):
            for rows in tokens.split(_TOKENS_PER_TILE * _CODES_PER_TILE // size):
                inside = _lowest(torch.mm(queries[rows], codes.T), dim=1)
                found.indices[rows] = inside.indices + number * size
                found.score[rows] = inside.score
                found.runner_up[rows] = torch.minimum(inside.runner_up, groups.runner_up[rows])
        return found

    def _scan_groups(self, queries: Tensor) -> Found:
        """For every token the group with the lowest score, and the lowest score of the others."""
        size = self._groups.shape[1]
        buffer = queries.new_empty(_CODES_PER_TILE * _TOKENS_PER_TILE)
        results = []
        for rows in queries.split(_TOKENS_PER_TILE):
            minima = queries.new_empty(len(self._groups), len(rows))
            tiles = _CODES_PER_TILE // size
            for groups, lowest in zip(self._groups.split(tiles), minima.split(tiles), strict=True):
                codes = groups.flatten(0, 1)
                scores = buffer[: len(codes) * len(rows)].view(len(codes), len(rows))
                torch.mm(codes, rows.T, out=scores)
                torch.amin(scores.view(len(groups), size, len(rows)), dim=1, out=lowest)
            results.append(_lowest(minima, dim=0))
        return Found(*(torch.cat(parts) for parts in zip(*results, strict=True)))


def _lowest(scores: Tensor, dim: int) -> Found:
    """The lowest score along ``dim`` and the second lowest; overwrites the scores."""
    score, index = scores.min(dim)
    scores.scatter_(dim, index.unsqueeze(dim), math.inf)
    return Found(index, score, scores.amin(dim))


def _merged(best: Found, other: Found) -> Found:
    """The better of two results over different codes, and what is left as the runner-up."""
    return Found(
        torch.where(other.score < best.score, other.indices, best.indices),
        torch.minimum(best.score, other.score),
        torch.minimum(
            torch.minimum(best.runner_up, other.runner_up), torch.maximum(best.score, other.score)
        ),
    )
