"""What discriminator and generator minimise, given the discriminator's logits (high for real).

Real and fake logits may have any shapes, and different ones. The discriminator's loss is the mean
of its two halves, as in taming-transformers, so that all three are of one size. Means are fp32.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from vqkit.shapes import Float

__all__ = ["AdversarialLoss", "Hinge", "LeastSquares", "NonSaturating"]


class AdversarialLoss(ABC):
    """A pair of losses on logits; the caller detaches the fake images for the discriminator."""

    @abstractmethod
    def discriminator(
        self, real_logits: Float[Tensor, "*real"], fake_logits: Float[Tensor, "*fake"]
    ) -> Float[Tensor, ""]:
        """Falls as the real logits rise and the fake ones sink."""

    @abstractmethod
    def generator(self, fake_logits: Float[Tensor, "*fake"]) -> Float[Tensor, ""]:
        """Falls as the fake logits rise."""


@dataclass(frozen=True)
class Hinge(AdversarialLoss):
    """``(E max(0, 1 - real) + E max(0, 1 + fake)) / 2`` and ``-E fake`` (Lim & Ye 2017).

    Example:
        >>> import torch
        >>> Hinge().discriminator(torch.tensor([0.5]), torch.tensor([-2.0]))
        tensor(0.2500)
    """

    def discriminator(
        self, real_logits: Float[Tensor, "*real"], fake_logits: Float[Tensor, "*fake"]
    ) -> Float[Tensor, ""]:
        """No gradient from logits beyond the margin of 1 on their own side."""
        real = F.relu(1.0 - real_logits.float()).mean()
        return 0.5 * (real + F.relu(1.0 + fake_logits.float()).mean())

    def generator(self, fake_logits: Float[Tensor, "*fake"]) -> Float[Tensor, ""]:
        """Linear: may fall without bound."""
        return -fake_logits.float().mean()


@dataclass(frozen=True)
class NonSaturating(AdversarialLoss):
    """``(E softplus(-real) + E softplus(fake)) / 2`` and ``E softplus(-fake)``.

    Goodfellow et al. 2014: the binary cross entropy, and for the generator its non-saturating form
    ``-log D(fake)``.

    Example:
        >>> import torch
        >>> NonSaturating().generator(torch.tensor([0.0]))
        tensor(0.6931)
    """

    def discriminator(
        self, real_logits: Float[Tensor, "*real"], fake_logits: Float[Tensor, "*fake"]
    ) -> Float[Tensor, ""]:
        """Binary cross entropy of real = 1 and fake = 0."""
        real = F.softplus(-real_logits.float()).mean()
        return 0.5 * (real + F.softplus(fake_logits.float()).mean())

    def generator(self, fake_logits: Float[Tensor, "*fake"]) -> Float[Tensor, ""]:
        """Binary cross entropy of fake = 1: steep where the discriminator is sure."""
        return F.softplus(-fake_logits.float()).mean()


@dataclass(frozen=True)
class LeastSquares(AdversarialLoss):
    """``(E (real - 1)^2 + E fake^2) / 2`` and ``E (fake - 1)^2 / 2`` (Mao et al. 2017, eq. 9).

    Example:
        >>> import torch
        >>> LeastSquares().generator(torch.tensor([0.0]))
        tensor(0.5000)
    """

    def discriminator(
        self, real_logits: Float[Tensor, "*real"], fake_logits: Float[Tensor, "*fake"]
    ) -> Float[Tensor, ""]:
        """Least where real logits are 1 and fake ones 0."""
        real = (real_logits.float() - 1.0).square().mean()
        return 0.5 * (real + fake_logits.float().square().mean())

    def generator(self, fake_logits: Float[Tensor, "*fake"]) -> Float[Tensor, ""]:
        """Least where fake logits are 1."""
        return 0.5 * (fake_logits.float() - 1.0).square().mean()
