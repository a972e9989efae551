"""How well a codebook is used: histograms of code indices and what follows from them."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from vqkit.errors import ConfigError, ShapeError
from vqkit.shapes import Bool, Int

__all__ = [
    "OVERUSE",
    "CodeHistogram",
    "CodebookLevel",
    "append_rows",
    "bitrate_efficiency",
    "codebook_level",
    "divergence_bits",
    "flatten_indices",
    "merge_rows",
    "sparse_counts",
    "uniform_usage",
]

# Chunks of counts are merged when they hold more rows than this and than the merged ones.
_PENDING_ROWS = 2**16

OVERUSE = 10.0
"""A code is over-used from so many times its fair share on."""


@dataclass(frozen=True, eq=False)
class CodeHistogram:
    """How often each code of one codebook was seen; codes never seen are absent.

    Holds as many rows as there are distinct codes, so a codebook of 2^62 codes costs nothing.
    """

    codebook_size: int
    codes: Int[Tensor, " distinct"]
    """The codes seen, ascending."""
    counts: Int[Tensor, " distinct"]
    """How often each was seen, at least once."""

    @property
    def num_tokens(self) -> int:
        """Number of tokens counted."""
        return int(self.counts.sum())

    @classmethod
    def from_rows(cls, codebook_size: int, rows: Int[Tensor, "rows 2"]) -> "CodeHistogram":
        """Add up rows of (code, count), in any order and with repetitions."""
        merged = merge_rows([rows])
        return cls(codebook_size, merged[:, 0].clone(), merged[:, 1].clone())

    @classmethod
    def from_counts(cls, counts: Int[Tensor, " codes"]) -> "CodeHistogram":
        """Take one count per code of the whole codebook."""
        codes = counts.nonzero().squeeze(1)
        return cls(len(counts), codes, counts[codes])

    def rows(self) -> Int[Tensor, "distinct 2"]:
        """The histogram as rows of (code, count)."""
        return torch.stack((self.codes, self.counts), dim=1)

    def dead_codes(self, limit: int = 1000) -> Int[Tensor, " dead"]:
        """The first codes never seen, at most ``limit`` of them, ascending."""
        # The k-th dead code lies at k plus the number of codes seen before it.
        num_dead = min(limit, self.codebook_size - len(self.codes))
        number = torch.arange(num_dead, device=self.codes.device)
        dead_before = self.codes - torch.arange(len(self.codes), device=self.codes.device)
        return number + torch.searchsorted(dead_before, number, right=True)

    def overused_codes(self, times: float = OVERUSE) -> Int[Tensor, " overused"]:
        """Codes seen ``times`` as often as if all were used alike, or more; most frequent first."""
        fair = self.num_tokens / self.codebook_size
        # A code seen once is not over-used, however large the codebook.
        over = (self.counts >= times * fair) & (self.counts > 1)
        return self.codes[over][self.counts[over].argsort(descending=True, stable=True)]


@dataclass(frozen=True)
class CodebookLevel:
    """Use of one codebook over ``num_tokens`` tokens; NaN where no token makes it undefined."""

    codebook_size: int
    num_tokens: int
    num_distinct: int
    """Codes seen at least once."""
    num_dead: int
    """Codes never seen. Over few tokens most of a large codebook is: compare with the baseline."""
    num_overused: int
    """Codes seen ten times as often as if all were used alike, or more."""
    overused_share: float
    """Share of the tokens that these codes take."""
    usage: float
    """``num_distinct / codebook_size``."""
    uniform_usage: float
    """The usage to expect of a perfectly uniform source over as many tokens."""
    relative_usage: float
    """``usage / uniform_usage``: the usage corrected for the number of tokens."""
    entropy_bits: float
    """Entropy of the code frequencies, per token."""
    corrected_entropy_bits: float
    """The same plus Miller and Madow's (1955) ``(num_distinct - 1) / 2 num_tokens`` nats, at most
    the bits of a code: the plain estimate is too low where the tokens are few."""
    normalised_entropy: float
    """``entropy_bits / log2(codebook_size)``: the share of the paid bits that carry information."""
    perplexity: float
    """``2 ** entropy_bits``: the number of equally frequent codes of the same entropy."""


def uniform_usage(codebook_size: int, num_tokens: int) -> float:
    """Share of codes that a uniform source over them shows in some tokens, ``1 - (1 - 1/K)^T``.

    As many tokens as codes give only 63 %, so a usage says little without its token count.
    Accurate for every size of codebook, 2^62 codes included.

    Example:
        >>> round(uniform_usage(1024, 1024), 3), uniform_usage(2**62, 1) == 2.0**-62
        (0.632, True)
    """
    if codebook_size < 1 or num_tokens < 0:
        raise ConfigError(
            "Uniform usage failed: expected at least one code and no negative number of tokens, "
            f"got {codebook_size} codes and {num_tokens} tokens. Pass the counts of one codebook."
        )
    if num_tokens == 0 or codebook_size == 1:
        return float(num_tokens > 0)
    return -math.expm1(num_tokens * math.log1p(-1 / codebook_size))


def codebook_level(histogram: CodeHistogram) -> CodebookLevel:
    """Summarise one codebook's histogram: usage with its baseline, entropy, perplexity.

    Example:
        >>> level = codebook_level(CodeHistogram.from_counts(torch.tensor([2, 2, 0, 4])))
        >>> level.usage, level.entropy_bits, level.num_dead
        (0.75, 1.5, 1)
    """
    size, num_tokens = histogram.codebook_size, histogram.num_tokens
    num_distinct, bits_per_code = len(histogram.counts), math.log2(size)
    usage, expected = num_distinct / size, uniform_usage(size, num_tokens)
    overused = histogram.overused_codes()
    num_in_overused = int(histogram.counts[torch.isin(histogram.codes, overused)].sum())
    entropy = corrected = normalised = perplexity = math.nan
    if num_tokens:
        probabilities = histogram.counts.double() / num_tokens
        entropy = float(torch.special.entr(probabilities).sum()) / math.log(2)
        bias = (num_distinct - 1) / (2 * num_tokens * math.log(2))
        corrected = min(entropy + bias, bits_per_code)
        # A codebook of one code pays no bits, so it wastes none.
        normalised = entropy / bits_per_code if size > 1 else 1.0
        perplexity = 2**entropy
    return CodebookLevel(
        codebook_size=size,
        num_tokens=num_tokens,
        num_distinct=num_distinct,
        num_dead=size - num_distinct,
        num_overused=len(overused),
        overused_share=num_in_overused / num_tokens if num_tokens else math.nan,
        usage=usage,
        uniform_usage=expected,
        relative_usage=usage / expected if num_tokens else math.nan,
        entropy_bits=entropy,
        corrected_entropy_bits=corrected,
        normalised_entropy=normalised,
        perplexity=perplexity,
    )


def bitrate_efficiency(levels: Iterable[CodebookLevel]) -> float:
    """Bits of entropy over bits paid, all codebooks together: ``sum H2 / sum log2 K``.

    For codebooks of equal size this is the mean entropy over log2 K, as the DAC scripts print it.
    """
    levels = tuple(levels)
    paid = math.fsum(math.log2(level.codebook_size) for level in levels)
    if not paid:
        return 1.0 if levels else math.nan
    return math.fsum(level.entropy_bits for level in levels) / paid


def flatten_indices(
    indices: Int[Tensor, "*batch codebooks"],
    codebook_sizes: tuple[int, ...],
    mask: Bool[Tensor, "*batch"] | None = None,
) -> Int[Tensor, "tokens codebooks"]:
    """The valid tokens as rows, each index checked against the size of its codebook.

    Raises:
        ShapeError: the last axis is not one entry per codebook, or an index is out of range.
    """
    if indices.shape[-1] != len(codebook_sizes):
        raise ShapeError(
            f"Counting codes failed: expected {len(codebook_sizes)} codebooks on the last axis, "
            f"got indices of shape {tuple(indices.shape)}. Pass indices [..., codebooks]."
        )
    rows = indices[mask] if mask is not None else indices.reshape(-1, len(codebook_sizes))
    rows = rows.long()
    if len(rows):
        lowest, highest = rows.amin(dim=0).tolist(), rows.amax(dim=0).tolist()
        for level, size in enumerate(codebook_sizes):
            if lowest[level] < 0 or highest[level] >= size:
                raise ShapeError(
                    f"Counting codes failed: expected indices in [0, {size}), got "
                    f"{lowest[level]} to {highest[level]} (codebook {level}). "
                    "Give the sizes of the codebooks that made these indices."
                )
    return rows


def sparse_counts(codes: Int[Tensor, " tokens"]) -> Int[Tensor, "distinct 2"]:
    """Rows of (code, count), ascending by code, of the codes that occur."""
    return torch.stack(torch.unique(codes, return_counts=True), dim=1)


def merge_rows(chunks: list[Tensor]) -> Int[Tensor, "distinct 2"]:
    """Add up chunks of (code, count) rows into one, ascending by code."""
    rows = torch.cat(chunks)
    codes, position = torch.unique(rows[:, 0], return_inverse=True)
    counts = torch.zeros_like(codes).index_add_(0, position, rows[:, 1])
    return torch.stack((codes, counts), dim=1)


def append_rows(
    chunks: list[Tensor],
    rows: Int[Tensor, "rows columns"],
    merge: Callable[[list[Tensor]], Tensor] = merge_rows,
) -> None:
    """Add rows with counts to a list, in place, and keep it at the order of the distinct ones.

    Merging sorts, so it waits until the new rows outnumber the merged ones, which come first.
    """
    chunks.append(rows)
    if sum(map(len, chunks[1:])) > max(_PENDING_ROWS, len(chunks[0])):
        chunks[:] = [merge(chunks)]


def divergence_bits(before: CodeHistogram, after: CodeHistogram) -> float:
    """Jensen-Shannon divergence of two histograms over one codebook, in [0, 1] bits.

    0 where both use the codes alike, 1 where they share none; NaN where one is empty. The drift of
    token statistics between checkpoints or data sets; sampling alone gives about
    ``(num_distinct - 1) / (4 ln 2) (1/T1 + 1/T2) / 2`` bits over T1 and T2 tokens.

    Raises:
        ConfigError: The codebooks differ in size.
    """
    if before.codebook_size != after.codebook_size:
        raise ConfigError(
            "Comparing histograms failed: expected codebooks of one size, got "
            f"{before.codebook_size} and {after.codebook_size} codes."
        )
    if not before.num_tokens or not after.num_tokens:
        return math.nan
    codes = torch.unique(torch.cat((before.codes, after.codes)))
    shares = []
    for histogram in (before, after):
        share = torch.zeros(len(codes), dtype=torch.float64, device=codes.device)
        share[torch.searchsorted(codes, histogram.codes)] = (
            histogram.counts.double() / histogram.num_tokens
        )
        shares.append(share)
    p, q = shares
    entropy = torch.special.entr
    nats = entropy((p + q) / 2).sum() - (entropy(p).sum() + entropy(q).sum()) / 2
    return max(0.0, float(nats) / math.log(2))
