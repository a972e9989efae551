"""Distances between inputs and codes, as objects."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from vqkit.ops.nearest import nearest_code

__all__ = ["Cosine", "Euclidean", "Metric"]


class Metric(ABC):
    """Where inputs and codes are compared, and how."""

    @abstractmethod
    def place(self, vectors: Tensor) -> Tensor:
        """Bring inputs or codes ``[..., dim]`` to where they are compared."""

    @abstractmethod
    def nearest(self, z: Tensor, codebook: Tensor) -> Tensor:
        """Index of the nearest code for each row of ``z [tokens, dim]``, lowest on ties."""


@dataclass(frozen=True)
class Euclidean(Metric):
    """Squared Euclidean distance."""

    def place(self, vectors: Tensor) -> Tensor:
        """Vectors as they are."""
        return vectors

    def nearest(self, z: Tensor, codebook: Tensor) -> Tensor:
        """Smallest distance."""
        return nearest_code(z, codebook, metric="euclidean")


@dataclass(frozen=True)
class Cosine(Metric):
    """Angle: inputs and codes lie on the unit sphere (ViT-VQGAN, arXiv 2110.04627, section 3.2).

    The output is the unit code, and the commitment is between unit vectors.
    """

    def place(self, vectors: Tensor) -> Tensor:
        """Vectors of length 1."""
        return F.normalize(vectors, dim=-1)

    def nearest(self, z: Tensor, codebook: Tensor) -> Tensor:
        """Largest cosine."""
        return nearest_code(z, codebook, metric="cosine")
