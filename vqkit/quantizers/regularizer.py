"""Terms added to a codebook's loss that keep its codes apart or in use, as objects."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from vqkit.errors import ConfigError
from vqkit.ops.assignment_entropy import assignment_entropy
from vqkit.quantizers.selection import distance_scores

__all__ = ["CodebookEntropy", "CodebookRegularizer", "Diversity", "Orthogonality"]


class CodebookRegularizer(ABC):
    """A penalty of codes and inputs, never negative.

    Attributes:
        name: Of the term in ``QuantizerOutput.terms``.
        weight: Of the penalty in the loss.
    """

    name: str
    weight: float

    @abstractmethod
    def __call__(self, z: Tensor, codebook: Tensor) -> Tensor:
        """Unweighted penalty of ``z [tokens, dim]``, valid ones, and ``codebook [K, dim]``."""


@dataclass(frozen=True)
class Orthogonality(CodebookRegularizer):
    """Mean squared cosine between different codes (arXiv 2112.00384, eq. 2, for unit codes).

    The paper's ``|E E^T - I|^2 / K^2`` with K x K entries equals ``(|E^T E|^2 - K) / K^2`` with
    dim x dim, because ``|E E^T| = |E^T E|`` and unit rows have a trace of K. Hence it is exact for
    codebooks of any size, without a sample of codes.

    Attributes:
        weight: Weight in the loss.
    """

    weight: float = 1.0
    name = "orthogonality"

    def __post_init__(self) -> None:
        """Refuse a negative weight."""
        _check_weight(self)

    def __call__(self, z: Tensor, codebook: Tensor) -> Tensor:
        """At most 1, where all codes are parallel; at least ``1 / dim - 1 / K`` if K > dim."""
        codes = F.normalize(codebook, dim=-1)
        num_codes = len(codes)
        square = (codes.T @ codes).square().sum()
        # Rounding alone takes it below zero.
        return ((square - num_codes) / num_codes**2).clamp_min(0.0)


@dataclass(frozen=True)
class Diversity(CodebookRegularizer):
    """``log K`` less the entropy of the mean soft assignment, in nats; 0 for uniform use.

    ``p(k | z) = softmax_k(-|z - e_k|^2 / temperature)``, averaged over this rank's tokens. Takes
    the gradient to all codes. Costs tokens x codes in time, and twice; in memory a block of it.

    Attributes:
        weight: Weight in the loss.
        temperature: In squared units of the latents; small is close to the hard assignment.
    """

    weight: float = 0.1
    temperature: float = 1.0
    name = "diversity"

    def __post_init__(self) -> None:
        """Refuse a negative weight and a temperature that is not positive."""
        _check_weight(self)
        _check_temperature(self)

    def __call__(self, z: Tensor, codebook: Tensor) -> Tensor:
        """Between 0 and ``log K``."""
        return _soft_use(z, codebook, self.temperature)[1]


@dataclass(frozen=True)
class CodebookEntropy(CodebookRegularizer):
    """Mean entropy of the soft assignments, plus ``gamma`` times :class:`Diversity`, in nats.

    The entropy loss of LFQ (arXiv 2310.05737, eq. 5: ``E[H(p(k|z))] - gamma H(E[p(k|z)])``) for a
    learned codebook, as IBQ (arXiv 2412.02692) uses it: each token decides, all together spread.
    ``gamma log K`` is added, which makes it non-negative and has no gradient.

    Attributes:
        weight: Weight in the loss.
        temperature: As of :class:`Diversity`.
        gamma: Weight of the spread against the decision.
    """

    weight: float = 0.1
    temperature: float = 1.0
    gamma: float = 1.0
    name = "codebook_entropy"

    def __post_init__(self) -> None:
        """Refuse negative weights and a temperature that is not positive."""
        _check_weight(self)
        _check_temperature(self)
        if self.gamma < 0:
            raise ConfigError(f"CodebookEntropy gamma: expected >= 0, got {self.gamma}.")

    def __call__(self, z: Tensor, codebook: Tensor) -> Tensor:
        """Between 0 and ``(1 + gamma) log K``."""
        each, spread = _soft_use(z, codebook, self.temperature)
        return each + self.gamma * spread


def _soft_use(z: Tensor, codebook: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Mean entropy of the soft assignments, and ``log K`` less the entropy of their mean."""
    if len(z) == 0:
        zero = (codebook * 0.0).sum()
        return zero, zero
    entropies = assignment_entropy(*distance_scores(z, codebook), temperature)
    # Rounding alone takes it below zero.
    spread = (math.log(len(codebook)) - entropies.of_mean).clamp_min(0.0)
    return entropies.of_tokens, spread


def _check_weight(regularizer: CodebookRegularizer) -> None:
    if regularizer.weight < 0:
        raise ConfigError(
            f"{type(regularizer).__name__} weight: expected >= 0, got {regularizer.weight}."
        )


def _check_temperature(regularizer: Diversity | CodebookEntropy) -> None:
    if not regularizer.temperature > 0:
        raise ConfigError(
            f"{type(regularizer).__name__} temperature: expected > 0, got "
            f"{regularizer.temperature}."
        )
