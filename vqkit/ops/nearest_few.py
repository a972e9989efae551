"""The nearest codes of few tokens, such as those of a few seconds of sound.

Each level of a codec asks for a hundred tokens among a thousand codes. To look for the middle of
the data and to move the codes there takes several times as long as their scores. Here they are
measured from the origin: where that lies too far from the data, the scores decide less, and more
codes of a token are compared in float64.
"""

import torch
from torch import Tensor

from vqkit.ops.nearest_exact import keep_nearer
from vqkit.shapes import Bool, Float, Int

__all__ = ["nearest_of_few", "takes_few"]

_FEW_TOKENS = 256
_FEW_SCORES = 2**19
_BLOCK_ELEMENTS = 2**17
_MOST_CANDIDATES = 64  # of a token: more are for the search that bounds its memory


def takes_few(z: Tensor, codebook: Tensor, metric: str) -> bool:
    """Whether this is the way for them: float32 on a CPU by the Euclidean distance."""
    return (
        (len(z) <= _FEW_TOKENS or len(z) * len(codebook) <= _FEW_SCORES)
        and len(codebook) > 1
        and metric == "euclidean"
        and z.dtype == codebook.dtype == torch.float32
        and z.device.type == "cpu"
    )


def nearest_of_few(
    z: Float[Tensor, "tokens dim"], codebook: Float[Tensor, "codes dim"]
) -> tuple[Int[Tensor, " tokens"], Bool[Tensor, " tokens"]]:
    """The nearest codes, and the tokens of which nothing is known.

    Scores ``|e|^2 / 2 - z e`` decide, where the lowest is two errors ahead; otherwise all codes
    within that are compared. The error of a score is bounded as in ``CentredCodes.score_error``,
    and twice as large, as the squares of the codes are summed in float32 too. A NaN or an infinity
    anywhere, or too many candidates, make that nothing is known.
    """
    squares, scores = _scores(z, codebook)
    lowest, codes = scores.min(dim=1)
    runner_up = scores.scatter_(1, codes[:, None], torch.inf).amin(dim=1)
    lengths = torch.linalg.vector_norm(z, dim=1)
    shortest, longest = squares.aminmax()
    reach = torch.minimum(4 * (lengths + shortest.sqrt()), longest.sqrt())
    # Two more than there, for the rounding of the limit.
    relative = 2 * 1.05 * (z.shape[1] + 10) * 2.0**-24
    limit = lowest + 2 * (relative * reach * (lengths + 0.5 * reach) + 2.0**-100)
    # Negated, so that NaN counts as doubt.
    in_doubt = ~(runner_up > limit)
    if not in_doubt.any():
        return codes, in_doubt
    (rows,) = in_doubt.nonzero(as_tuple=True)
    candidates = scores[rows] <= limit[rows, None]
    candidates.scatter_(1, codes[rows, None], True)
    is_known = limit[rows].isfinite() & (candidates.sum(1) <= _MOST_CANDIDATES)
    rows, candidates = rows[is_known], candidates[is_known]
    in_doubt[rows] = False
    token, code = candidates.nonzero(as_tuple=True)
    distance = (z[rows[token]].double() - codebook[code].double()).square().sum(1)
    nearest = codes[rows]
    keep_nearer(nearest, torch.full_like(distance[: len(rows)], torch.inf), token, code, distance)
    codes[rows] = nearest
    return codes, in_doubt


def _scores(
    z: Float[Tensor, "tokens dim"], codebook: Float[Tensor, "codes dim"]
) -> tuple[Float[Tensor, " codes"], Float[Tensor, "tokens codes"]]:
    """Squared lengths of the codes, and ``|e|^2 / 2 - z e``.

    A large codebook goes in blocks that a cache holds: few tokens need little more than that all
    codes are read, once if possible.
    """
    size = max(1, _BLOCK_ELEMENTS // codebook.shape[1])
    if size >= len(codebook):
        squares = torch.linalg.vecdot(codebook, codebook)
        return squares, torch.addmm(squares, z, codebook.T, beta=0.5, alpha=-1)
    squares = z.new_empty(len(codebook))
    scores = z.new_empty(len(z), len(codebook))
    for codes, of_codes, to_codes in zip(
        codebook.split(size), squares.split(size), scores.split(size, dim=1), strict=True
    ):
        torch.linalg.vecdot(codes, codes, out=of_codes)
        to_codes.copy_(torch.addmm(of_codes, z, codes.T, beta=0.5, alpha=-1))
    return squares, scores
