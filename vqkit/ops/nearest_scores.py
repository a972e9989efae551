"""A codebook measured from the middle of the data, the float32 scores it gives, their error.

With ``z`` and ``e`` measured from there, the nearest code has the lowest score ``|e|^2 / 2 - z e``,
half of ``|z - e|^2 - |z|^2``, at one multiplication per entry. Measured from the origin, both terms
are large and almost equal as soon as the data lie far from it, and float32 loses the answer: at
offset 100 and spread 0.1 for every second token.
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
    "middle",
    "rows_at_once",
]

UNREACHABLE = 2.0**110
"""Score of a code that must not be chosen, above every score of a usable query."""

_LONGEST_QUERY = 2.0**60
_SAMPLES = 64


class Found(NamedTuple):
    """What a search returns per query: the best code, its score, the best score of all others."""

    indices: Int[Tensor, " tokens"]
    score: Float[Tensor, " tokens"]
    runner_up: Float[Tensor, " tokens"]


Search = Callable[[Tensor], Found]
"""A backend bound to a codebook: finite float32 queries ``[tokens, dim]`` to what it found."""


def rows_at_once(width: int, device: torch.device) -> int:
    """How many rows of this width to handle per operation, so that memory stays bounded.

    On a CPU, torch does operations below 32,768 elements on the calling thread. Above, it waits for
    all its threads after every one, which gains little here and is slow when the machine is busy.
    """
    return max(1, (2**15 - 1 if device.type == "cpu" else 2**22) // width)


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
        centre: where both are measured from, in the dtype in which tokens are moved.
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

    def score_error(self, lengths: Float[Tensor, " tokens"]) -> Float[Tensor, " tokens"]:
        """Bound on the error of the scores that matter, for queries of these lengths.

        Rounding the query, the code and a sum of ``dim + 1`` products in any order changes a score
        by at most ``(dim + 4) u (|z| |e| + |e|^2 / 2)`` with ``u = 2^-24``. Neither the true code
        nor the one with the lowest score is longer than ``4 (|z| + shortest)``: beyond that the
        score exceeds the one of the shortest code.
        """
        reach = (4 * (lengths + self.shortest)).clamp(max=self.longest)
        relative = 1.05 * (len(self.centre) + 8) * 2.0**-24
        return relative * reach * (lengths + 0.5 * reach) + 2.0**-100

    def doubtful(self, found: Found, lengths: Float[Tensor, " tokens"]) -> Bool[Tensor, " tokens"]:
        """Tokens whose nearest code the scores do not prove: the runner-up is within the errors."""
        # Negated, so that NaN counts as doubt.
        return ~(found.runner_up - found.score > 2 * self.score_error(lengths))


def centre_codes(
    codebook: Float[Tensor, "codes dim"], z: Float[Tensor, "tokens dim"], metric: str
) -> CentredCodes:
    """Prepare a codebook for these tokens."""
    # Float32 tokens are moved in float32: by a centre that float32 holds, at one rounding.
    exact = metric == "cosine" or torch.float64 in (z.dtype, codebook.dtype)
    centre = _centre(codebook, z, metric).to(torch.float64 if exact else torch.float32)
    scale = 1.0
    points, half_norms, shortest, longest = _centred(codebook, metric, centre, scale)
    if longest > 0 and not 2.0**-30 < longest < 2.0**30:
        limit = 1000 if exact else 100
        scale = 2.0 ** min(max(-math.frexp(longest)[1], -limit), limit)
        points, half_norms, shortest, longest = _centred(codebook, metric, centre, scale)
    return CentredCodes(metric, centre, scale, points, half_norms, shortest, longest)


def middle(rows: Float[Tensor, "rows dim"]) -> Float[Tensor, " dim"]:
    """Median per feature of some rows; those far out, infinite or NaN do not move it."""
    return _sample(rows).nanmedian(0).values.nan_to_num(0, 0, 0)


def _sample(rows: Tensor) -> Tensor:
    if len(rows) <= _SAMPLES:
        return rows
    # At random, because evenly spaced rows may all be of one kind; from a seed of its own.
    picks = torch.randint(len(rows), (_SAMPLES,), generator=torch.Generator().manual_seed(0))
    return rows[picks.to(rows.device)]


def _centre(codebook: Tensor, z: Tensor, metric: str) -> Float[Tensor, " dim"]:
    """The middle of the codes or that of the tokens, whichever promises the smaller error.

    The middle of the codes is better for codes close together, such as those of a new codebook. The
    middle of the tokens is better where many codes lie elsewhere, as unused ones do.
    """
    codes = comparable_rows(_sample(codebook), metric)
    tokens = comparable_rows(_sample(z), metric)

    def error(centre: Tensor) -> float:
        to_token = torch.linalg.vector_norm(tokens - centre, dim=1).nanmedian()
        to_codes = torch.linalg.vector_norm(codes - centre, dim=1)
        reach = torch.minimum(4 * (to_token + to_codes.min()), to_codes.max())
        return (reach * (to_token + 0.5 * reach)).nan_to_num(math.inf).item()

    return min(middle(codes), middle(tokens), key=error)


def _centred(
    codebook: Tensor, metric: str, centre: Tensor, scale: float
) -> tuple[Float[Tensor, "codes dim"], Float[Tensor, " codes"], float, float]:
    """Points, half norms, and the shortest and the longest length of a point."""
    points = torch.empty(codebook.shape, dtype=torch.float32, device=codebook.device)
    half_norms = torch.empty(len(codebook), dtype=torch.float32, device=codebook.device)
    shortest = torch.full((), math.inf, dtype=torch.float64, device=codebook.device)
    longest = torch.zeros_like(shortest)
    size = rows_at_once(codebook.shape[1], codebook.device)
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
