"""The vectors of a codebook: twins among them, and how far they drift between checkpoints."""

from dataclasses import dataclass

import torch
from torch import Tensor

from vqkit.errors import ShapeError
from vqkit.ops import nearest_code
from vqkit.shapes import Float, Int

__all__ = ["CodebookDrift", "codebook_drift", "distinct_vectors", "twin_vectors"]

# Distances held at once when codebook vectors are compared.
_TILE_VALUES = 2**20


def twin_vectors(
    codebook: Float[Tensor, "codes dim"], tolerance: float = 1e-3
) -> Int[Tensor, "twins 2"]:
    """Codes that are near-copies of a code with a lower index, each beside the lowest of these.

    Two codes are copies when their distance is at most ``tolerance`` times the root mean square
    distance of the codes from their mean, so that the measure has no scale. Usage alone
    overstates a codebook in which many codes have an identical twin.

    Memory stays bounded; the time is that of a sort where copies are rare and quadratic where
    the whole codebook lies within the tolerance.

    Raises:
        ShapeError: a value is not finite.

    Example:
        >>> twin_vectors(torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])).tolist()
        [[2, 0]]
    """
    _check_finite(codebook)
    codes = torch.arange(len(codebook), device=codebook.device)
    if not len(codebook):
        return torch.stack((codes, codes), dim=1)
    vectors = codebook.detach().double()
    centred = vectors - vectors.mean(dim=0)
    variances = centred.square().mean(dim=0)
    # Copies that differ by the rounding of their own numbers are copies at every tolerance.
    rounding = 4 * torch.finfo(codebook.dtype).eps * float(vectors.abs().max())
    radius = max(tolerance * float(variances.sum().sqrt()), rounding)
    lowest = _lowest_within(centred, int(variances.argmax()), radius)
    return torch.stack((codes, lowest), dim=1)[lowest < codes]


def distinct_vectors(codebook: Float[Tensor, "codes dim"], tolerance: float = 1e-3) -> int:
    """Number of codes that are no near-copy of a code with a lower index: :func:`twin_vectors`.

    Raises:
        ShapeError: a value is not finite.

    Example:
        >>> distinct_vectors(torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]))
        2
    """
    return len(codebook) - len(twin_vectors(codebook, tolerance))


@dataclass(frozen=True)
class CodebookDrift:
    """How far the codes moved between two checkpoints, in units of the codebook's spread.

    The spread is the root mean square distance of the codes of the first checkpoint from their
    mean.
    """

    mean: float
    median: float
    maximum: float
    num_exchanged: int
    """Codes whose nearest code of the first checkpoint is another one: decoding old indices with
    the new codebook gives other content there."""
    relative_scale: float
    """Spread of the second checkpoint over that of the first."""


def codebook_drift(
    before: Float[Tensor, "codes dim"], after: Float[Tensor, "codes dim"]
) -> CodebookDrift:
    """Compare the same codebook at two checkpoints, code by code.

    Raises:
        ShapeError: The shapes differ, or a value is not finite.

    Example:
        >>> codes = torch.tensor([[0.0], [1.0], [2.0]])
        >>> codebook_drift(codes, codes).maximum, codebook_drift(codes, codes + 0.6).num_exchanged
        (0.0, 2)
    """
    if before.shape != after.shape or not len(before):
        raise ShapeError(
            "Comparing codebooks failed: expected two of one shape with a code or more, got "
            f"{list(before.shape)} and {list(after.shape)}."
        )
    _check_finite(before)
    _check_finite(after)
    a, b = before.detach().double(), after.detach().double()
    spread = max(_spread(a), torch.finfo(torch.float64).tiny)
    shift = torch.linalg.vector_norm(b - a, dim=1) / spread
    own = torch.arange(len(a), device=a.device)
    return CodebookDrift(
        mean=float(shift.mean()),
        median=float(shift.median()),
        maximum=float(shift.max()),
        num_exchanged=int((nearest_code(b, a) != own).sum()),
        relative_scale=_spread(b) / spread,
    )


def _spread(vectors: Tensor) -> float:
    return float((vectors - vectors.mean(dim=0)).square().sum(dim=1).mean().sqrt())


def _check_finite(codebook: Tensor) -> None:
    if not torch.isfinite(codebook).all():
        raise ShapeError(
            "Comparing codebook vectors failed: expected finite codes, got NaN or infinity (in "
            f"{int((~torch.isfinite(codebook)).any(dim=1).sum())} codes). The training diverged."
        )


def _lowest_within(vectors: Tensor, axis: int, radius: float) -> Int[Tensor, " codes"]:
    """For each vector the lowest index within the radius, its own if there is no other.

    Sorted along one axis, a vector's neighbours lie in a window of twice the radius, so only
    windows are compared. The direct distance is used: the product form cancels for twins.
    """
    order = vectors[:, axis].argsort(stable=True)
    vectors = vectors[order]
    position = vectors[:, axis].contiguous()
    first = torch.searchsorted(position, position - radius).tolist()
    last = torch.searchsorted(position, position + radius, right=True).tolist()
    lowest = torch.empty_like(order)
    row = 0
    while row < len(vectors):
        stop = len(vectors)
        while stop > row + 1 and (stop - row) * (last[stop - 1] - first[row]) > _TILE_VALUES:
            stop = row + (stop - row) // 2
        window = slice(first[row], last[stop - 1])
        distance = torch.cdist(
            vectors[row:stop], vectors[window], compute_mode="donot_use_mm_for_euclid_dist"
        )
        # The distance of a vector to itself is 0: there is always one.
        near = torch.where(distance <= radius, order[None, window], len(order))
        lowest[order[row:stop]] = near.amin(dim=1)
        row = stop
    return lowest
