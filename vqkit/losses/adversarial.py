"""What discriminator and generator minimise, given the discriminator's logits (high for real).

Real and fake logits may have any shapes, and different ones. The discriminator's loss is the mean
of its two halves, as in taming-transformers, so that all three are of one size. Means are fp32.
Of several discriminators, given as sequences of logits, the losses are averaged: codecs that add
them up (HiFi-GAN, DAC) have an adversarial weight that is to be multiplied by their number, and one
for least squares by another 2, the half of equation 9.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.errors import ShapeError
from vqkit.shapes import Float

__all__ = ["AdversarialLoss", "Hinge", "LeastSquares", "Mixed", "NonSaturating"]


Logits = Float[Tensor, "..."] | Sequence[Float[Tensor, "..."]]


class AdversarialLoss(ABC):
    """A pair of losses on logits; the caller detaches the fake media for the discriminator."""

    def discriminator(self, real_logits: Logits, fake_logits: Logits) -> Float[Tensor, ""]:
        """Falls as the real logits rise and the fake ones sink.

        Raises:
            ShapeError: Other numbers of real and of fake logits, or none.
        """
        real, fake = _several(real_logits), _several(fake_logits)
        if len(real) != len(fake):
            raise ShapeError(
                f"Adversarial loss: expected logits of as many discriminators for real as for fake "
                f"media, got {len(real)} and {len(fake)}."
            )
        pairs = zip(real, fake, strict=True)
        return torch.stack([self._discriminator(r.float(), f.float()) for r, f in pairs]).mean()

    def generator(self, fake_logits: Logits) -> Float[Tensor, ""]:
        """Falls as the fake logits rise.

        Raises:
            ShapeError: No logits.
        """
        return torch.stack([self._generator(f.float()) for f in _several(fake_logits)]).mean()

    @abstractmethod
    def _discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Of one discriminator's fp32 logits."""

    @abstractmethod
    def _generator(self, fake: Tensor) -> Tensor:
        """Of one discriminator's fp32 logits."""


def _several(logits: Logits) -> Sequence[Tensor]:
    several = [logits] if isinstance(logits, Tensor) else logits
    if not several:
        raise ShapeError("Adversarial loss: expected logits of at least one discriminator.")
    return several


@dataclass(frozen=True)
class Hinge(AdversarialLoss):
    """``(E max(0, 1 - real) + E max(0, 1 + fake)) / 2`` and ``-E fake`` (Lim & Ye 2017).

    Example:
        >>> import torch
        >>> Hinge().discriminator(torch.tensor([0.5]), torch.tensor([-2.0]))
        tensor(0.2500)
    """

    def _discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """No gradient from logits beyond the margin of 1 on their own side."""
        return 0.5 * (F.relu(1.0 - real).mean() + F.relu(1.0 + fake).mean())

    def _generator(self, fake: Tensor) -> Tensor:
        """Linear: may fall without bound."""
        return -fake.mean()


@dataclass(frozen=True)
class NonSaturating(AdversarialLoss):
    """``(E softplus(-real) + E softplus(fake)) / 2`` and ``E softplus(-fake)``.

    Goodfellow et al. 2014: the binary cross entropy, and for the generator its non-saturating form
    ``-log D(fake)``.

    Attributes:
        per_image: Take the mean logit of each image first, as Open-MAGVIT2 does: one patch may then
            stand for another.

    Example:
        >>> import torch
        >>> NonSaturating().generator(torch.tensor([0.0]))
        tensor(0.6931)
    """

    per_image: bool = False

    def _discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Binary cross entropy of real = 1 and fake = 0."""
        real, fake = self._judged(real), self._judged(fake)
        return 0.5 * (F.softplus(-real).mean() + F.softplus(fake).mean())

    def _generator(self, fake: Tensor) -> Tensor:
        """Binary cross entropy of fake = 1: steep where the discriminator is sure."""
        return F.softplus(-self._judged(fake)).mean()

    def _judged(self, logits: Tensor) -> Tensor:
        return logits.flatten(1).mean(dim=1) if self.per_image else logits


@dataclass(frozen=True)
class LeastSquares(AdversarialLoss):
    """``(E (real - 1)^2 + E fake^2) / 2`` and ``E (fake - 1)^2 / 2`` (Mao et al. 2017, eq. 9).

    Example:
        >>> import torch
        >>> LeastSquares().generator(torch.tensor([0.0]))
        tensor(0.5000)
    """

    def _discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Least where real logits are 1 and fake ones 0."""
        return 0.5 * ((real - 1.0).square().mean() + fake.square().mean())

    def _generator(self, fake: Tensor) -> Tensor:
        """Least where fake logits are 1."""
        return 0.5 * (fake - 1.0).square().mean()


@dataclass(frozen=True)
class Mixed(AdversarialLoss):
    """The discriminator's loss of one pair and the generator's of another.

    Open-MAGVIT2 and IBQ have the hinge for the first and the non-saturating loss for the second.

    Attributes:
        of_discriminator: Whose loss the discriminator minimises.
        of_generator: Whose loss the generator minimises.

    Example:
        >>> import torch
        >>> Mixed(Hinge(), NonSaturating()).generator(torch.tensor([0.0]))
        tensor(0.6931)
    """

    of_discriminator: AdversarialLoss
    of_generator: AdversarialLoss

    def _discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """That of ``of_discriminator``."""
        return self.of_discriminator._discriminator(real, fake)

    def _generator(self, fake: Tensor) -> Tensor:
        """That of ``of_generator``."""
        return self.of_generator._generator(fake)
