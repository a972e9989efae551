"""The nearest code by definition, in float64, for the tokens that float32 cannot decide.

These are the ties and the near ties, usually a handful. They can also be all tokens at once (a
codebook of zeros, silence before a codebook on a sphere), so memory is bounded and identical rows
are compared once.
"""

import math

import torch
from torch import Tensor

from vqkit.ops.nearest_scores import comparable_rows, rows_at_once
from vqkit.shapes import Float, Int

__all__ = ["nearest_exactly"]

_ELEMENTS_AT_ONCE = 2**19
_WORTH_SORTING = 2**24
_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def nearest_exactly(
    z: Float[Tensor, "tokens dim"], codebook: Float[Tensor, "codes dim"], metric: str
) -> Int[Tensor, " tokens"]:
    """Lowest index among the codes with the smallest ``sum((z - e)^2)`` in float64.

    Codes that are not finite are passed over. A token that is not finite gets 0, as does every
    token where no code is finite.
    """
    if len(z) * codebook.numel() <= _WORTH_SORTING:
        return _nearest(z, codebook, metric)
    tokens, copies = _distinct_rows(z)
    codes = _distinct_rows(codebook)[0].sort().values
    return codes[_nearest(z[tokens], codebook[codes], metric)][copies]


def _distinct_rows(rows: Tensor) -> tuple[Int[Tensor, " distinct"], Int[Tensor, " rows"]]:
    """Lowest index of each distinct row, and for every row which of these it equals."""
    # As integers: a sort of NaN is undefined.
    bits = rows.contiguous().view(_INTEGERS[rows.element_size()])
    inverse = torch.unique(bits, dim=0, return_inverse=True)[1]
    positions = torch.arange(len(rows), device=rows.device)
    first = torch.full_like(positions, len(rows)).scatter_reduce(0, inverse, positions, "amin")
    return first[: int(inverse.max()) + 1], inverse


def _nearest(z: Tensor, codebook: Tensor, metric: str) -> Int[Tensor, " tokens"]:
    codes_at_once = rows_at_once(codebook)
    tokens_at_once = max(1, _ELEMENTS_AT_ONCE // max(codes_at_once, z.shape[1]))
    index = torch.zeros(len(z), dtype=torch.int64, device=z.device)
    for chunk, result in zip(z.split(tokens_at_once), index.split(tokens_at_once), strict=True):
        tokens = comparable_rows(chunk, metric)
        finite = tokens.sum(1).isfinite()
        tokens = torch.where(finite[:, None], tokens, 0)
        smallest = torch.full_like(tokens[:, 0], math.inf)
        ceiling = smallest.clone()
        for first in range(0, len(codebook), codes_at_once):
            codes = comparable_rows(codebook[first : first + codes_at_once], metric)
            candidates, ceiling = _candidates(tokens, codes, ceiling)
            # Row by row and code by code, so that later pairs of a token have higher indices.
            for pairs in candidates.split(max(1, _ELEMENTS_AT_ONCE // z.shape[1])):
                token, code = pairs.unbind(1)
                distance = (tokens[token] - codes[code]).square().sum(1)
                best = smallest.scatter_reduce(0, token, distance, "amin")
                winner = distance == best[token]
                lowest = torch.full_like(result, len(codebook)).scatter_reduce(
                    0, token[winner], first + code[winner], "amin"
                )
                result.copy_(torch.where(best < smallest, lowest, result))
                smallest = best
        result.masked_fill_(~finite, 0)
    return index


def _candidates(
    tokens: Tensor, codes: Tensor, ceiling: Float[Tensor, " tokens"]
) -> tuple[Int[Tensor, "pairs 2"], Float[Tensor, " tokens"]]:
    """Pairs of token and code that may be nearest, and squared distances that bound the nearest.

    The squared distances come from a matrix product about the mean of the tokens; ``error`` bounds
    their rounding and that of the distances that decide, with a margin of more than ten.
    """
    centre = tokens.mean(0)
    tokens, codes = tokens - centre, codes - centre
    squares = tokens.square().sum(1, keepdim=True)
    distances = torch.addmm(squares + codes.square().sum(1), tokens, codes.T, alpha=-2)
    distances.nan_to_num_(nan=math.inf, posinf=math.inf)  # codes that are not finite
    nearest = distances.amin(1)
    reach = 2 * squares[:, 0].sqrt() + nearest.clamp(min=0).sqrt()
    error = 64 * (tokens.shape[1] + 8) * 2.0**-53 * reach.square()
    ceiling = torch.minimum(ceiling, nearest + error)
    limit = torch.where(ceiling.isfinite(), ceiling, -math.inf)
    return (distances - error[:, None] <= limit[:, None]).nonzero(), ceiling
