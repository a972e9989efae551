"""How a codebook gets its first values and who moves it from then on, as objects."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.ops.collectives import broadcast_first, rank
from vqkit.quantizers.kmeans import kmeans, sample_distinct
from vqkit.quantizers.table import Table, read_table

__all__ = [
    "EMA",
    "CodebookInit",
    "CodebookUpdate",
    "FromData",
    "FromTable",
    "GradientUpdate",
    "KMeans",
    "RandomInit",
    "collect",
]


class CodebookInit(ABC):
    """How the codebook gets its first values."""

    batches: int = 0
    """Training batches that are collected first; 0 initialises at construction."""

    max_samples: int = 65536
    """At most so many vectors are kept of them (never fewer than there are codes)."""

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
        max_samples: At most so many of their vectors are kept to choose from, or as many as there
            are codes.
    """

    batches: int = 1
    max_samples: int = 65536

    def __post_init__(self) -> None:
        """Refuse no batch at all."""
        _check_counts(self)

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
        max_samples: At most so many vectors are kept and clustered, or as many as there are codes.
    """

    iterations: int = 10
    batches: int = 1
    max_samples: int = 65536

    def __post_init__(self) -> None:
        """Refuse counts that make no sense."""
        _check_counts(self)
        if self.iterations < 0:
            raise ConfigError(f"KMeans iterations: expected >= 0, got {self.iterations}.")

    def __call__(self, samples: Tensor, num_codes: int) -> tuple[Tensor, Tensor]:
        """Cluster at most ``max_samples``, evenly spaced over all."""
        most = max(self.max_samples, num_codes)
        if len(samples) > most:
            # In integers: floats lose row numbers above 2^24.
            keep = torch.arange(most, device=samples.device) * len(samples)
            samples = samples[keep // most]
        return kmeans(samples, num_codes, self.iterations)


@dataclass(frozen=True)
class FromTable(CodebookInit):
    """The rows of a table that exists already (VQGAN-LC, arXiv 2406.11837, its EMA mode).

    The table is read with the first training batch, not at construction: a trained model that is
    loaded needs it no more.

    Attributes:
        table: Where the codes come from, e.g. ``vqkit.tokenizers.CodebookFile``.

    >>> from vqkit.quantizers import GaussianTable, VectorQuantizer
    >>> quantizer = VectorQuantizer(8, 16, init=FromTable(GaussianTable(seed=1)))
    >>> quantizer(torch.randn(1, 50, 8)).indices.shape, quantizer.initialized
    (torch.Size([1, 50, 1]), True)
    """

    table: Table

    batches = 1

    def __call__(self, samples: Tensor, num_codes: int) -> tuple[Tensor, Tensor]:
        """``samples`` give the width and the device alone."""
        codes = read_table(self.table, num_codes, samples.shape[-1])
        return codes.to(samples.device), torch.ones(num_codes, device=samples.device)


def collect(kept: Tensor, samples: Tensor, num_batches: int, max_samples: int) -> Tensor:
    """Add a batch to the vectors kept of the batches before it, in bounded memory.

    While there is room everything is kept. From then on a random choice is, in which each batch
    has the same share as far as it has enough vectors: a reservoir over batches, which needs no
    other memory than the number of batches.

    Args:
        kept: ``[n, dim]``, of the batches before.
        samples: ``[m, dim]``, the new batch of all ranks.
        num_batches: Batches including this one.
        max_samples: Bound on what is kept.

    Returns:
        At most ``max_samples`` rows, the same on every rank.
    """
    if len(kept) + len(samples) <= max_samples:
        return torch.cat([kept, samples])
    num_new = min(len(samples), max(max_samples // num_batches, max_samples - len(kept)))
    chosen_old = _choose(len(kept), max_samples - num_new, kept.device)
    chosen_new = _choose(len(samples), num_new, kept.device)
    return torch.cat([kept[chosen_old], samples[chosen_new]])


def _choose(number: int, num_chosen: int, device: torch.device) -> Tensor:
    """Distinct row numbers in random order, those of the first rank."""
    if rank() == 0:
        return broadcast_first(torch.randperm(number, device=device)[:num_chosen].contiguous())
    return broadcast_first(torch.empty(num_chosen, dtype=torch.int64, device=device))


def _check_counts(init: FromData | KMeans) -> None:
    if init.batches < 1 or init.max_samples < 1:
        raise ConfigError(
            f"{type(init).__name__}: expected batches >= 1 and max_samples >= 1, got "
            f"{init.batches} and {init.max_samples}."
        )


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
