"""Distances between inputs and codes, as objects."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from vqkit.ops.nearest import nearest_code

__all__ = ["Cosine", "CosineSearch", "Euclidean", "Metric"]


class Metric(ABC):
    """Where inputs and codes are compared, and how."""

    @abstractmethod
    def place(self, vectors: Tensor) -> Tensor:
        """What inputs or codes ``[..., dim]`` become before all else: output and loss see this."""

    def compared(self, vectors: Tensor) -> Tensor:
        """Placed vectors as the search sees them: the nearest has the least squared distance."""
        return vectors

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


@dataclass(frozen=True)
class CosineSearch(Metric):
    """Angle for the search alone: codes keep their length (DAC, arXiv 2306.06546, section 3.2).

    As the authors' code has it: inputs and codes are divided by their length to be compared, the
    output is the code as it is, and both terms of the loss are between vectors as they are. So a
    code's direction decides what it stands for, and its length is free to follow the inputs.
    """

    def place(self, vectors: Tensor) -> Tensor:
        """Vectors as they are."""
        return vectors

    def compared(self, vectors: Tensor) -> Tensor:
        """Vectors of length 1."""
        return F.normalize(vectors, dim=-1)

    def nearest(self, z: Tensor, codebook: Tensor) -> Tensor:
        """Largest cosine."""
        return nearest_code(z, codebook, metric="cosine")
