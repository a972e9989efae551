"""What one codebook's indices tell of another's: bits paid twice."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.shapes import Int

__all__ = ["PairInformation", "merge_pairs", "pair_counts", "pair_information", "pairs_of_levels"]


@dataclass(frozen=True)
class PairInformation:
    """Mutual information of two codebooks over ``num_tokens`` positions."""

    first: int
    second: int
    """Numbers of the codebooks."""
    num_tokens: int
    mutual_information_bits: float
    """Of the frequencies as counted. With few tokens per pair it is far too high."""
    corrected_bits: float
    """Less Miller and Madow's bias, ``(pairs - firsts - seconds + 1) / 2T`` nats, at least 0."""
    shared: float
    """``corrected_bits`` over the smaller of the two entropies: 1 where one codebook says all that
    the other says, 0 where they are independent."""


def pairs_of_levels(num_codebooks: int, which: str) -> tuple[tuple[int, int], ...]:
    """The pairs of codebooks to compare.

    Args:
        num_codebooks: Number of codebooks.
        which: ``adjacent`` ones, or ``all``.

    Raises:
        ConfigError: Another word.
    """
    if which == "adjacent":
        return tuple((i, i + 1) for i in range(num_codebooks - 1))
    if which == "all":
        return tuple((i, j) for i in range(num_codebooks) for j in range(i + 1, num_codebooks))
    raise ConfigError(f"Pairs of codebooks: expected 'adjacent' or 'all', got {which!r}.")


def pair_counts(indices: Int[Tensor, "tokens 2"]) -> Int[Tensor, "distinct 3"]:
    """Rows of (first, second, count) of the pairs that occur."""
    pairs, counts = torch.unique(indices, dim=0, return_counts=True)
    return torch.cat((pairs, counts[:, None]), dim=1)


def merge_pairs(chunks: list[Tensor]) -> Int[Tensor, "distinct 3"]:
    """Add up chunks of (first, second, count) rows into one."""
    rows = torch.cat(chunks)
    pairs, position = torch.unique(rows[:, :2], dim=0, return_inverse=True)
    counts = torch.zeros_like(pairs[:, 0]).index_add_(0, position, rows[:, 2])
    return torch.cat((pairs, counts[:, None]), dim=1)


def pair_information(
    rows: Int[Tensor, "distinct 3"], first: int = 0, second: int = 1
) -> PairInformation:
    """Mutual information of the pairs counted in rows of (first, second, count).

    Example:
        >>> same = pair_counts(torch.tensor([[0, 0], [1, 1]] * 500))
        >>> round(pair_information(same).mutual_information_bits, 6)
        1.0
    """
    num_tokens = int(rows[:, 2].sum())
    if num_tokens == 0:
        return PairInformation(first, second, 0, math.nan, math.nan, math.nan)
    joint, distinct = _entropy(rows[:, 2], num_tokens)
    marginals = []
    for column in (0, 1):
        _, position = torch.unique(rows[:, column], return_inverse=True)
        counts = torch.zeros(int(position.max()) + 1, dtype=torch.int64, device=rows.device)
        marginals.append(_entropy(counts.index_add_(0, position, rows[:, 2]), num_tokens))
    (entropy_a, distinct_a), (entropy_b, distinct_b) = marginals
    nats = max(0.0, entropy_a + entropy_b - joint)
    bias = (distinct - distinct_a - distinct_b + 1) / (2 * num_tokens)
    corrected = max(0.0, nats - bias)
    smaller = min(entropy_a, entropy_b)
    return PairInformation(
        first,
        second,
        num_tokens,
        nats / math.log(2),
        corrected / math.log(2),
        min(1.0, corrected / smaller) if smaller > 0 else 0.0,
    )


def _entropy(counts: Tensor, num_tokens: int) -> tuple[float, int]:
    """Entropy in nats of these counts, and how many there are."""
    return float(torch.special.entr(counts.double() / num_tokens).sum()), len(counts)
