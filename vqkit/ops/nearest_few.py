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
_MOST_CANDIDATES = 64  # of a token: more are for the search that bounds its memory


def takes_few(z: Tensor, codebook: Tensor, metric: str) -> bool:
    """Whether this is the way for them: float32 on a CPU by the Euclidean distance."""
    return (
        (len(z) <= _FEW_TOKENS or len(z) * len(codebook) <= _FEW_SCORES)
        and metric == "euclidean"
        and z.dtype == codebook.dtype == torch.float32
        and z.device.type == "cpu"
    )


def nearest_of_few(
    z: Float[Tensor, "tokens dim"], codebook: Float[Tensor, "codes dim"]
) -> tuple[Int[Tensor, " tokens"], Bool[Tensor, " tokens"]]:
    """The nearest codes, and the tokens of which nothing is known.

    Candidates are the codes whose score ``|e|^2 / 2 - z e`` is within two errors of the lowest;
    they are usually one. The error of a score is bounded as in ``CentredCodes.score_error``, and
    twice as large, as the squares of the codes are summed in float32 too. A NaN or an infinity
    anywhere, or too many candidates, make that nothing is known.
    """
    squares = codebook.square().sum(1)
    scores = torch.addmm(squares, z, codebook.T, beta=0.5, alpha=-1)
    lengths = torch.linalg.vector_norm(z, dim=1)
    shortest, longest = squares.aminmax()
    reach = torch.minimum(4 * (lengths + shortest.sqrt()), longest.sqrt())
    # Two more than there, for the rounding of the limit.
    relative = 2 * 1.05 * (z.shape[1] + 10) * 2.0**-24
    error = relative * reach * (lengths + 0.5 * reach) + 2.0**-100
    limit = scores.amin(1) + 2 * error
    is_known = limit.isfinite()
    candidates = (scores <= limit[:, None]).nonzero()
    token, code = candidates.unbind(1)
    if len(candidates) == len(z) and bool(is_known.all()):
        return code, ~is_known
    num_candidates = token.bincount(minlength=len(z))
    is_known &= num_candidates <= _MOST_CANDIDATES
    indices = torch.zeros(len(z), dtype=torch.int64)
    is_alone = num_candidates[token] == 1
    indices[token[is_alone]] = code[is_alone]
    token, code = candidates[~is_alone & is_known[token]].unbind(1)
    distance = (z[token].double() - codebook[code].double()).square().sum(1)
    smallest = torch.full((len(z),), torch.inf, dtype=torch.float64)
    keep_nearer(indices, smallest, token, code, distance)
    return indices, ~is_known
