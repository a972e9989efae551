"""The nearest codes of few tokens, such as those of a few seconds of sound.

Each level of a codec asks for a hundred tokens among a thousand codes. To look for the middle of
the data and to move the codes there takes several times as long as their scores. Here they are
measured from the origin: where that lies too far from the data, the scores decide less, and the few
tokens that are left in doubt are compared in float64 as always.
"""

import torch
from torch import Tensor

from vqkit.shapes import Bool, Float, Int

__all__ = ["nearest_of_few", "takes_few"]

_FEW_TOKENS = 256
_FEW_SCORES = 2**19


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
    """Codes of the lowest scores ``|e|^2 / 2 - z e``, and the tokens that may deserve another one.

    The error of a score is bounded as in ``CentredCodes.score_error``, and twice as large, as the
    squares of the codes are summed in float32 too. A NaN or an infinity anywhere makes a bound that
    nothing is above, so that all are in doubt.
    """
    squares = codebook.square().sum(1)
    scores = torch.addmm(squares, z, codebook.T, beta=0.5, alpha=-1)
    lowest, codes = scores.min(dim=1)
    runner_up = scores.scatter_(1, codes[:, None], torch.inf).amin(dim=1)
    lengths = torch.linalg.vector_norm(z, dim=1)
    shortest, longest = squares.aminmax()
    reach = torch.minimum(4 * (lengths + shortest.sqrt()), longest.sqrt())
    relative = 2 * 1.05 * (z.shape[1] + 8) * 2.0**-24
    error = relative * reach * (lengths + 0.5 * reach) + 2.0**-100
    # Negated, so that NaN counts as doubt.
    return codes, ~(runner_up - lowest > 2 * error)
