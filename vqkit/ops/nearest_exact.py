"""The nearest code by definition, in float64, for the tokens that float32 cannot decide.

These are the ties and the near ties, usually a handful. They can also be all tokens at once (a
codebook of zeros, silence before a codebook on a sphere), so memory is bounded and identical rows
are compared once.
"""

import math

import torch
from torch import Tensor

from vqkit.ops.nearest_scores import comparable_rows, middle, rows_at_once
from vqkit.shapes import Float, Int

__all__ = ["keep_nearer", "nearest_exactly"]

_MANY_TOKENS = 64
_SCORES_AT_ONCE = 2**20
_FEW_TOKENS = 256  # for which looking for identical rows does not pay
_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def nearest_exactly(
    z: Float[Tensor, "tokens dim"], codebook: Float[Tensor, "codes dim"], metric: str
) -> Int[Tensor, " tokens"]:
    """Lowest index among the codes with the smallest ``sum((z - e)^2)`` in float64.

    Codes that are not finite are passed over. A token that is not finite gets 0, as does every
    token where no code is finite.
    """
    if len(z) <= _FEW_TOKENS:
        return _nearest(z, codebook, metric)
    tokens, copies = _distinct_rows(z)
    codes, _ = _distinct_rows(codebook)
    return codes[_nearest(z[tokens], codebook[codes], metric)][copies]


def keep_nearer(
    indices: Int[Tensor, " tokens"],
    smallest: Float[Tensor, " tokens"],
    token: Int[Tensor, " pairs"],
    code: Int[Tensor, " pairs"],
    distance: Float[Tensor, " pairs"],
) -> Float[Tensor, " tokens"]:
    """Write the codes of pairs that are nearer than any before into ``indices``.

    Args:
        indices: Of the nearest codes so far.
        smallest: Their squared distances, infinite where there was none.
        token: Of each pair.
        code: Of each pair; higher than those that the token was compared with before.
        distance: Squared, of each pair.

    Returns:
        The squared distances now.
    """
    best = smallest.scatter_reduce(0, token, distance, "amin")
    winner = distance == best[token]
    lowest = torch.full_like(indices, torch.iinfo(torch.int64).max).scatter_reduce(
        0, token[winner], code[winner], "amin"
    )
    indices.copy_(torch.where(best < smallest, lowest, indices))
    return best


def _distinct_rows(rows: Tensor) -> tuple[Int[Tensor, " distinct"], Int[Tensor, " rows"]]:
    """First index of each distinct row, ascending, and for every row which of these it equals.

    Rows count as equal if all their bits are, but for the sign of zero. They are found by a hash,
    which is much cheaper than sorting them; different rows of the same hash stay apart.
    """
    generator = torch.Generator().manual_seed(0)
    factors = torch.randint(-(2**63), 2**63 - 1, (rows.shape[1],), generator=generator)
    factors = (factors | 1).to(rows.device)
    size = rows_at_once(rows.shape[1], rows.device)
    hashes = torch.cat([(_bits(chunk) * factors).sum(1) for chunk in rows.split(size)])
    position = torch.arange(len(rows), device=rows.device)
    group = torch.unique(hashes, return_inverse=True)[1]
    first = torch.full_like(position, len(rows)).scatter_reduce(0, group, position, "amin")[group]
    equal = [
        (_bits(chunk) == _bits(rows[others])).all(1)
        for chunk, others in zip(rows.split(size), first.split(size), strict=True)
    ]
    first = torch.where(torch.cat(equal), first, position)
    distinct = first == position
    return position[distinct], (distinct.cumsum(0) - 1)[first]


def _bits(rows: Tensor) -> Tensor:
    positive_zeros = rows + 0
    return positive_zeros.contiguous().view(_INTEGERS[rows.element_size()])


def _nearest(z: Tensor, codebook: Tensor, metric: str) -> Int[Tensor, " tokens"]:
    dim = z.shape[1]
    # Small enough for one thread, but so many codes that what is done per code does not weigh.
    codes_at_once = rows_at_once(max(dim, min(len(z), _MANY_TOKENS)), z.device)
    codes_at_once = min(codes_at_once, len(codebook))
    tokens_at_once = max(1, min(_SCORES_AT_ONCE // codes_at_once, _SCORES_AT_ONCE // (4 * dim)))
    index = torch.zeros(len(z), dtype=torch.int64, device=z.device)
    for chunk, result in zip(z.split(tokens_at_once), index.split(tokens_at_once), strict=True):
        tokens = comparable_rows(chunk, metric)
        finite = tokens.sum(1).isfinite()
        tokens = torch.where(finite[:, None], tokens, 0)
        centre = middle(tokens)
        smallest = torch.full_like(tokens[:, 0], math.inf)
        ceiling = smallest.clone()
        for first in range(0, len(codebook), codes_at_once):
            codes = comparable_rows(codebook[first : first + codes_at_once], metric)
            candidates, ceiling = _candidates(tokens - centre, codes - centre, ceiling)
            # Row by row and code by code, so that later pairs of a token have higher indices.
            for pairs in candidates.split(rows_at_once(dim, z.device)):
                token, code = pairs.unbind(1)
                distance = (tokens[token] - codes[code]).square().sum(1)
                smallest = keep_nearer(result, smallest, token, first + code, distance)
        result.masked_fill_(~finite, 0)
    return index


def _candidates(
    tokens: Tensor, codes: Tensor, ceiling: Float[Tensor, " tokens"]
) -> tuple[Int[Tensor, "pairs 2"], Float[Tensor, " tokens"]]:
    """Pairs of token and code that may be nearest, and squared distances that bound the nearest.

    Half of the squared distances, less ``|z|^2``, come from a matrix product. ``error`` bounds
    their rounding and that of the distances that will decide, with a margin of more than ten.
    """
    token_squares, code_squares = tokens.square().sum(1), codes.square().sum(1)
    finite = code_squares.isfinite()
    codes = torch.where(finite[:, None], codes, 0)
    half_norms = torch.where(finite, 0.5 * code_squares, math.inf)
    scores = torch.addmm(half_norms, tokens, codes.T, alpha=-1)
    nearest = token_squares + 2 * scores.amin(1)
    reach = 2 * token_squares.sqrt() + nearest.clamp(min=0).sqrt()
    error = 64 * (tokens.shape[1] + 8) * 2.0**-53 * reach.square()
    ceiling = torch.minimum(ceiling, nearest + error)
    limit = torch.where(ceiling.isfinite(), 0.5 * (ceiling + error - token_squares), -math.inf)
    return (scores <= limit[:, None]).nonzero(), ceiling
