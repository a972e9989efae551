"""A codebook moved to its own mean, the float32 scores it gives, and how wrong they can be.

With ``e`` and ``z`` measured from the mean of the codebook, the nearest code has the lowest score
``|e|^2 / 2 - z e``, half of ``|z - e|^2 - |z|^2``, at one multiplication per entry. Without the
move both terms are large and almost equal as soon as the data lie far from the origin, and float32
loses the answer: at offset 100 and spread 0.1 for every second token.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from vqkit.shapes import Bool, Float, Int

__all__ = [
    "UNREACHABLE",
    "CentredCodes",
    "Found",
    "Search",
    "centre_codes",
    "comparable_rows",
    "rows_at_once",
]

UNREACHABLE = 2.0**110
"""Score of a code that must not be chosen, above every score of a usable query."""

_LONGEST_QUERY = 2.0**60


class Found(NamedTuple):
    """What a search returns per query: the best code, its score, the best score of all others."""

    indices: Int[Tensor, " tokens"]
    score: Float[Tensor, " tokens"]
    runner_up: Float[Tensor, " tokens"]


Search = Callable[[Tensor], Found]
"""A backend bound to a codebook: finite float32 queries ``[tokens, dim]`` to what it found."""


def rows_at_once(rows: Float[Tensor, "rows dim"]) -> int:
    """How many rows to handle per operation, so that memory stays bounded.

    On a CPU, torch does operations below 32,768 elements on the calling thread. Above, it waits for
    all its threads after every one, which gains little here and is slow when the machine is busy.
    """
    elements = 2**15 - 1 if rows.device.type == "cpu" else 2**22
    return max(1, elements // rows.shape[1])


def comparable_rows(rows: Float[Tensor, "rows dim"], metric: str) -> Float[Tensor, "rows dim"]:
    """Rows in float64 whose squared differences the metric compares.

    For ``cosine`` they have length one; a zero row, which has no direction, becomes NaN.
    """
    rows = rows.double()
    if metric == "cosine":
        return rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return rows


@dataclass(frozen=True)
class CentredCodes:
    """A codebook ready for float32 scores.

    Attributes:
        metric: ``euclidean`` or ``cosine``.
        centre: mean of the finite codes, in the dtype in which queries are centred.
        scale: power of two that brings codes of extreme size into float32's range, usually 1.
        points: ``(code - centre) * scale``, zero where a code is not finite.
        half_norms: half of each point's squared length, ``UNREACHABLE`` where a code is not finite.
        shortest: smallest length among the points of finite codes.
        longest: largest length among the points.
    """

    metric: str
    centre: Float[Tensor, " dim"]
    scale: float
    points: Float[Tensor, "codes dim"]
    half_norms: Float[Tensor, " codes"]
    shortest: float
    longest: float

    def queries(
        self, z: Float[Tensor, "tokens dim"]
    ) -> tuple[Float[Tensor, "tokens dim"], Float[Tensor, " tokens"]]:
        """Tokens as finite float32 queries, and the lengths of these.

        A token that is not finite, or too far out for float32, becomes the zero query of infinite
        length, which ``doubtful`` always reports.
        """
        rows = z.float() if self.centre.dtype == torch.float32 else comparable_rows(z, self.metric)
        rows = rows - self.centre
        if self.scale != 1:
            rows *= self.scale
        queries = rows.float()
        lengths = torch.linalg.vector_norm(queries, dim=1)
        usable = lengths < _LONGEST_QUERY
        if not usable.all():
            queries = torch.where(usable[:, None], queries, 0)
            lengths = torch.where(usable, lengths, math.inf)
        return queries, lengths

    def doubtful(self, found: Found, lengths: Float[Tensor, " tokens"]) -> Bool[Tensor, " tokens"]:
        """Tokens whose nearest code float32 does not prove.

        Rounding the query, the code and a sum of ``dim + 1`` products in any order changes a score
        by at most ``(dim + 4) u (|z| |e| + |e|^2 / 2)`` with ``u = 2^-24``. Neither the code found
        nor the true one is longer than ``4 (|z| + shortest)``: beyond that the score exceeds the
        one of the shortest code. A runner-up more than twice the error behind is proven farther.
        """
        reach = (4 * (lengths + self.shortest)).clamp(max=self.longest)
        relative = 1.05 * (len(self.centre) + 8) * 2.0**-24
        error = relative * reach * (lengths + 0.5 * reach) + 2.0**-100
        return ~(found.runner_up - found.score > 2 * error)  # so that NaN counts as doubt


def centre_codes(
    codebook: Float[Tensor, "codes dim"], metric: str, dtype: torch.dtype
) -> CentredCodes:
    """Centre a codebook for tokens of the given dtype."""
    # Float32 tokens are centred in float32: a centre that float32 holds exactly costs one rounding.
    exact = metric == "cosine" or torch.float64 in (dtype, codebook.dtype)
    centre = _mean(codebook, metric).to(torch.float64 if exact else torch.float32)
    scale = 1.0
    points, half_norms, shortest, longest = _centred(codebook, metric, centre, scale)
    if longest > 0 and not 2.0**-30 < longest < 2.0**30:
        limit = 1000 if exact else 100
        scale = 2.0 ** min(max(-math.frexp(longest)[1], -limit), limit)
        points, half_norms, shortest, longest = _centred(codebook, metric, centre, scale)
    return CentredCodes(metric, centre, scale, points, half_norms, shortest, longest)


def _mean(codebook: Tensor, metric: str) -> Float[Tensor, " dim"]:
    total = torch.zeros(codebook.shape[1], dtype=torch.float64, device=codebook.device)
    count = torch.zeros((), dtype=torch.int64, device=codebook.device)
    for chunk in codebook.split(rows_at_once(codebook)):
        rows = comparable_rows(chunk, metric)
        finite = rows.sum(1).isfinite()
        total += torch.where(finite[:, None], rows, 0).sum(0)
        count += finite.sum()
    return total / count.clamp(min=1)


def _centred(
    codebook: Tensor, metric: str, centre: Tensor, scale: float
) -> tuple[Float[Tensor, "codes dim"], Float[Tensor, " codes"], float, float]:
    """Points, half norms, and the shortest and the longest length of a point."""
    points = torch.empty(codebook.shape, dtype=torch.float32, device=codebook.device)
    half_norms = torch.empty(len(codebook), dtype=torch.float32, device=codebook.device)
    shortest = torch.full((), math.inf, dtype=torch.float64, device=codebook.device)
    longest = torch.zeros_like(shortest)
    size = rows_at_once(codebook)
    for chunk, point, half_norm in zip(
        codebook.split(size), points.split(size), half_norms.split(size), strict=True
    ):
        rows = (comparable_rows(chunk, metric) - centre) * scale
        squares = rows.square().sum(1)
        finite = squares.isfinite()
        point.copy_(torch.where(finite[:, None], rows, 0))
        half_norm.copy_(torch.where(finite, 0.5 * squares, UNREACHABLE))
        shortest = torch.minimum(shortest, torch.where(finite, squares, math.inf).min())
        longest = torch.maximum(longest, torch.where(finite, squares, 0).max())
    return points, half_norms, math.sqrt(shortest.item()), math.sqrt(longest.item())
