"""A penalty on tokens that are unsure of their code and on codes that are used unevenly."""

import math
from dataclasses import dataclass

from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.ops.assignment_entropy import Entropies

__all__ = ["AssignmentEntropy", "BitEntropy"]


@dataclass(frozen=True)
class AssignmentEntropy:
    """``weight (mean H(p) + diversity (log K - H(mean p)))``, ``p = softmax(scores / T)``.

    The entropy penalty of LFQ (arXiv 2310.05737) over the real codebook of IBQ (arXiv 2412.02692),
    whose weight and temperature are the defaults here. The constant log K, which moves nothing,
    makes 0 the lowest value: all tokens sure, all codes used alike. The mean is over the tokens of
    all ranks.

    Attributes:
        weight: Of the whole.
        temperature: T, above 0.
        diversity: Weight of the second term against the first.
    """

    weight: float = 0.05
    temperature: float = 0.01
    diversity: float = 1.0

    def __post_init__(self) -> None:
        """Refuse negative weights and a temperature that divides by zero."""
        if not self.weight >= 0 or not self.diversity >= 0 or not self.temperature > 0:
            raise ConfigError(
                "AssignmentEntropy: expected weight >= 0, diversity >= 0 and temperature > 0, got "
                f"{self.weight}, {self.diversity} and {self.temperature}."
            )

    def __call__(self, entropies: Entropies, num_codes: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Weighted penalty and the two entropies, in nats, for logs."""
        # Rounding must not make the even use of all codes better than it is.
        uneven = (math.log(num_codes) - entropies.of_mean).clamp_min(0.0)
        terms = {
            "token_entropy": entropies.of_tokens.detach(),
            "mean_entropy": entropies.of_mean.detach(),
        }
        return self.weight * (entropies.of_tokens + self.diversity * uneven), terms


@dataclass(frozen=True)
class BitEntropy(AssignmentEntropy):
    """The same penalty over the sign codes of LFQ (arXiv 2310.05737) and BSQ (arXiv 2406.07548).

    The entropy of a token is exact at any number of bits. That of the mean is exact up to
    ``group_bits`` bits; above, it is the sum over groups of bits, an upper bound, so that no table
    of 2^bits is built. bsq-vit divides its weight by 1/T: its zeta 1 at 1/T = 100 is 0.01 here.

    Attributes:
        weight: Of the whole.
        temperature: T, above 0.
        diversity: Weight of the second term against the first.
        group_bits: Bits of the largest group, 1 to 18; the papers have 9.
    """

    weight: float = 0.1
    group_bits: int = 9

    def __post_init__(self) -> None:
        """Refuse what the base does, and groups whose tables would not fit."""
        super().__post_init__()
        if not 1 <= self.group_bits <= 18:
            raise ConfigError(f"BitEntropy group_bits: expected 1 to 18, got {self.group_bits}.")
