"""The Fréchet distance of two sets of features, from sums that are kept over batches and ranks."""

import torch
from torch import Tensor

from vqkit.errors import ShapeError
from vqkit.shapes import Float

__all__ = ["frechet_distance"]


def frechet_distance(
    mean: Float[Tensor, " dim"],
    covariance: Float[Tensor, "dim dim"],
    other_mean: Float[Tensor, " dim"],
    other_covariance: Float[Tensor, "dim dim"],
) -> Float[Tensor, ""]:
    """Squared distance of two normal distributions, 0 and up (Dowson and Landau 1982).

    ``|m - n|² + tr(C + D - 2 (C D)^(1/2))``. The root is that of ``C^(1/2) D C^(1/2)``, which is
    symmetric and has the same trace, by eigenvalues: no part of it is imaginary, and covariances of
    fewer samples than features need no help.

    Raises:
        ShapeError: a value is not finite.

    Example:
        >>> eye = torch.eye(2)
        >>> round(frechet_distance(torch.zeros(2), eye, torch.ones(2), 4 * eye).item(), 6)
        4.0
    """
    parts = (mean, covariance, other_mean, other_covariance)
    if not all(bool(torch.isfinite(part).all()) for part in parts):
        raise ShapeError(
            "Fréchet distance: expected finite means and covariances, got NaN or infinity. Two "
            "items at least make a covariance."
        )
    mean, covariance, other_mean, other_covariance = (part.double() for part in parts)
    root = _root(covariance)
    eigenvalues = torch.linalg.eigvalsh(root @ other_covariance @ root).clamp(min=0)
    traces = covariance.trace() + other_covariance.trace()
    spread = traces - 2 * eigenvalues.sqrt().sum()
    # Rounding leaves a little less than nothing between equal ones.
    return ((mean - other_mean) ** 2).sum() + spread.clamp(min=0)


def _root(covariance: Tensor) -> Tensor:
    eigenvalues, vectors = torch.linalg.eigh(covariance)
    return (vectors * eigenvalues.clamp(min=0).sqrt()) @ vectors.T
