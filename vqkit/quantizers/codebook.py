"""What keeps a codebook alive, as objects: its initialisation, its update, the revival of codes.

Every rank of a job takes the same decisions on the same samples, so that all codebooks stay equal.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.ops.collectives import all_sum, broadcast_first, rank, row_offset
from vqkit.quantizers.kmeans import kmeans, sample_distinct

__all__ = [
    "EMA",
    "CodebookInit",
    "CodebookUpdate",
    "FromData",
    "GradientUpdate",
    "KMeans",
    "RandomInit",
    "ReplaceUnused",
]


class CodebookInit(ABC):
    """How the codebook gets its first values."""

    batches: int = 0
    """Training batches that are collected first; 0 initialises at construction."""

    @abstractmethod
    def __call__(self, samples: Tensor, num_codes: int) -> tuple[Tensor, Tensor]:
        """Return codes ``[num_codes, dim]`` and the number of samples of each ``[num_codes]``."""


@dataclass(frozen=True)
class RandomInit(CodebookInit):
    """Uniform in ``[-1/K, 1/K]``, as in VQ-VAE and taming-transformers; needs no data.

    Attributes:
        scale: Half width of the interval; None means 1/K.
    """

    scale: float | None = None

    def __call__(self, samples: Tensor, num_codes: int) -> tuple[Tensor, Tensor]:
        """``samples`` give the width and the device alone."""
        scale = 1.0 / num_codes if self.scale is None else self.scale
        codes = torch.empty(num_codes, samples.shape[-1], device=samples.device)
        return codes.uniform_(-scale, scale), torch.ones(num_codes, device=samples.device)


@dataclass(frozen=True)
class FromData(CodebookInit):
    """Distinct vectors of the first training batches.

    Attributes:
        batches: Number of batches to choose from.
    """

    batches: int = 1

    def __post_init__(self) -> None:
        """Refuse no batch at all."""
        _check_batches(self)

    def __call__(self, samples: Tensor, num_codes: int) -> tuple[Tensor, Tensor]:
        """Choose without replacement while there are enough distinct samples."""
        codes = sample_distinct(samples, num_codes)
        return codes, torch.full((num_codes,), len(samples) / num_codes, device=samples.device)


@dataclass(frozen=True)
class KMeans(CodebookInit):
    """k-means++ seeding and Lloyd iterations over the first training batches (arXiv 2107.03312).

    Attributes:
        iterations: Lloyd steps.
        batches: Number of batches that are collected before; more than one helps where a batch has
            fewer vectors than the codebook has codes. Until then the codes are samples of the
            first.
        max_samples: At most so many collected vectors are clustered.
    """

    iterations: int = 10
    batches: int = 1
    max_samples: int = 65536

    def __post_init__(self) -> None:
        """Refuse counts that make no sense."""
        _check_batches(self)
        if self.iterations < 0 or self.max_samples < 1:
            raise ConfigError(
                f"KMeans: expected iterations >= 0 and max_samples >= 1, got {self.iterations} "
                f"and {self.max_samples}."
            )

    def __call__(self, samples: Tensor, num_codes: int) -> tuple[Tensor, Tensor]:
        """Cluster at most ``max_samples``, evenly spaced over all."""
        if len(samples) > self.max_samples:
            # In integers: floats lose row numbers above 2^24.
            keep = torch.arange(self.max_samples, device=samples.device) * len(samples)
            samples = samples[keep // self.max_samples]
        return kmeans(samples, num_codes, self.iterations)


def _check_batches(init: FromData | KMeans) -> None:
    if init.batches < 1:
        raise ConfigError(f"{type(init).__name__} batches: expected >= 1, got {init.batches}.")


class CodebookUpdate:
    """Who moves the codes."""


@dataclass(frozen=True)
class EMA(CodebookUpdate):
    """Exponential moving average of the vectors assigned to each code (arXiv 1711.00937, app. A.1).

    The usual state is a count C and a sum M per code, with ``e = M / C``. Kept here are C and e,
    and ``e += (1 - decay) (s - n e) / C'`` for the batch's counts n and sums s: the same average,
    without a second copy of the truth. An unused code does not move at all (M and C underflow after
    9,000 unused steps), and with ``decay = 0`` a step is a Lloyd step.

    Attributes:
        decay: Share of the past kept at each step, in [0, 1).
        eps: Floor of C, against division by zero.
    """

    decay: float = 0.99
    eps: float = 1e-5

    def __post_init__(self) -> None:
        """Refuse a decay that never forgets."""
        if not 0.0 <= self.decay < 1.0 or not self.eps > 0:
            raise ConfigError(
                f"EMA: expected 0 <= decay < 1 and eps > 0, got {self.decay} and {self.eps}."
            )

    def step(
        self, codebook: Tensor, cluster_size: Tensor, counts: Tensor, sums: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the new codebook ``[K, dim]`` and cluster sizes ``[K]``."""
        cluster_size = self.decay * cluster_size + (1.0 - self.decay) * counts
        shift = torch.addcmul(sums, counts[:, None], codebook, value=-1)
        rate = (1.0 - self.decay) / cluster_size.clamp_min(self.eps)
        return torch.addcmul(codebook, rate[:, None], shift), cluster_size


@dataclass(frozen=True)
class GradientUpdate(CodebookUpdate):
    """The codebook is a parameter, moved by the optimizer through the loss's codebook term."""


@dataclass(frozen=True)
class ReplaceUnused:
    """Replace codes that get far less than their share by vectors of the batch.

    Usage is measured in shares: 1 is what a code gets when all are used alike. The memory is
    counted in tokens per code, not in steps, so that neither the batch nor the codebook size
    matters (with a threshold in absolute counts a small batch replaces most codes at every step).

    Attributes:
        below: A code is replaced when its share falls below this fraction.
        window: Memory, in tokens per code. Smaller revives sooner and errs more often.
    """

    below: float = 0.1
    window: float = 20.0

    def __post_init__(self) -> None:
        """Refuse thresholds that replace everything or nothing."""
        if not 0.0 < self.below < 1.0 or not self.window > 0:
            raise ConfigError(
                f"ReplaceUnused: expected 0 < below < 1 and window > 0, got {self.below} and "
                f"{self.window}."
            )

    def update_share(self, share: Tensor, counts: Tensor) -> Tensor:
        """Moving average of ``counts * K / tokens``; unchanged by an empty batch."""
        num_codes = len(share)
        total = counts.sum()
        decay = torch.exp(-total / (num_codes * self.window))
        return decay * share + (1.0 - decay) * counts * num_codes / total.clamp_min(1.0)

    def choose(self, share: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
        """Codes to replace and the vectors that replace them, the same on every rank.

        Args:
            share: ``[K]``, equal on all ranks.
            samples: This rank's vectors ``[tokens, dim]``; the choice is among those of all ranks.

        Returns:
            int64 ``[n]`` code numbers and ``[n, dim]`` vectors, n at most the number of samples.
        """
        unused = torch.nonzero(share < self.below).flatten()
        offset, num_samples = row_offset(len(samples), samples.device)
        unused = unused[:num_samples]
        if len(unused) == 0:
            return unused, samples.new_zeros(0, samples.shape[1])
        if rank() == 0:
            rows = torch.randperm(num_samples, device=samples.device)[: len(unused)]
        else:
            rows = torch.empty(len(unused), dtype=torch.int64, device=samples.device)
        rows = broadcast_first(rows) - offset
        here = (rows >= 0) & (rows < len(samples))
        vectors = samples.new_zeros(len(unused), samples.shape[1])
        vectors[here] = samples[rows[here]]
        return unused, all_sum(vectors)
