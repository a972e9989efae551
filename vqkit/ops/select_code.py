"""The code of the largest score, exactly, or of the largest score with Gumbel noise."""

import math

import torch
from torch import Tensor

from vqkit.ops.score_tiles import ScoreTiles, wide_float
from vqkit.shapes import Float, Int

__all__ = ["select_code"]


def select_code(
    z: Float[Tensor, "tokens dim"],
    weight: Float[Tensor, "codes dim"],
    bias: Float[Tensor, " codes"] | None = None,
    keys: Int[Tensor, " tokens"] | None = None,
) -> Int[Tensor, " tokens"]:
    """Index of the largest ``z . w_k + b_k``, lowest on ties; with keys, a sample of their softmax.

    With ``keys`` standard Gumbel noise is added to the scores: then ``k`` is drawn with probability
    ``softmax(z W^T + b)_k`` (Gumbel-max). Without, the answer does not depend on batch, device or
    tiles: scores that float32 cannot tell apart are computed again in float64. Nothing of size
    tokens x codes is built, no gradient kept.

    Args:
        z: Tokens. One with a NaN gets index 0.
        weight: One row per code, at least one.
        bias: A number per code.
        keys: From :func:`vqkit.ops.counter_noise.token_keys`.

    >>> select_code(torch.tensor([[1.0, 0.5]]), torch.eye(2))
    tensor([0])
    """
    index: Tensor = _select_code(
        z.detach(), weight.detach(), None if bias is None else bias.detach(), keys
    )
    return index


@torch.library.custom_op("vqkit::select_code", mutates_args=())
def _select_code(z: Tensor, weight: Tensor, bias: Tensor | None, keys: Tensor | None) -> Tensor:
    with wide_float(z.device):
        indices, margin, largest = _best(ScoreTiles(z, weight, bias, None, keys))
        if keys is not None:
            return indices
        doubtful = margin <= _error(z, weight, bias, largest)
        if bool(doubtful.any()):
            exact = ScoreTiles(
                z[doubtful].double(),
                weight.double(),
                None if bias is None else bias.double(),
                None,
                None,
            )
            indices[doubtful] = _best(exact)[0]
    return indices


@_select_code.register_fake
def _(z: Tensor, weight: Tensor, bias: Tensor | None, keys: Tensor | None) -> Tensor:
    return z.new_empty(z.shape[0], dtype=torch.int64)


def _best(tiles: ScoreTiles) -> tuple[Tensor, Tensor, Tensor]:
    """Per token the index of the largest score, its lead over the second, and the score."""
    indices = torch.zeros(len(tiles.z), dtype=torch.int64, device=tiles.z.device)
    first = tiles.z.new_full((len(tiles.z),), -math.inf)
    second = first.clone()
    for rows in tiles.blocks:
        for codes, scores in tiles.block(rows):
            index = scores.argmax(1, keepdim=True)
            value = scores.gather(1, index)[:, 0]
            # Compared with "greater", a NaN and a tie leave the code that was found before.
            better = value > first[rows]
            rest = scores.scatter(1, index, -math.inf).amax(1)
            loser = torch.minimum(value, first[rows])
            second[rows] = torch.maximum(torch.maximum(second[rows], rest), loser)
            indices[rows] = torch.where(better, index[:, 0] + codes.start, indices[rows])
            first[rows] = torch.where(better, value, first[rows])
    return indices, first - second, first


def _error(z: Tensor, weight: Tensor, bias: Tensor | None, largest: Tensor) -> Tensor:
    """How far two float32 scores of a token may be off together."""
    size = z.norm(dim=1) * weight.norm(dim=1).max()
    if bias is not None:
        size = size + bias.abs().max()
    return 2.0 * (z.shape[1] + 2) * torch.finfo(z.dtype).eps * size
