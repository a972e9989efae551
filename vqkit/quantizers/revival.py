"""Policies that bring codes back which nothing is assigned to.

Every rank of a job takes the same decisions on the same samples, so that all codebooks stay equal.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.ops.collectives import all_sum, broadcast_first, gather_rows, rank, row_offset
from vqkit.ops.nearest import nearest_code

__all__ = ["Anchors", "ReplaceUnused", "Revival", "Revived", "Timeout"]


class Revived(NamedTuple):
    """Codes to move.

    Attributes:
        indices: int64 ``[n]``, their numbers, without repetition.
        vectors: ``[n, dim]``, where they move to.
        weight: ``[n]`` in (0, 1], how far; 1 puts ``vectors`` in their place.
        share: ``[n]``, what the policy's memory of them becomes.
    """

    indices: Tensor
    vectors: Tensor
    weight: Tensor
    share: Tensor


class Revival(ABC):
    """When a code counts as unused, and what becomes of it then.

    The quantizer keeps one number per code for the policy, its *share*: 1 in the beginning and
    where all is well. Time is counted in tokens per code, not in steps, so that neither the batch
    nor the codebook size matters: with a threshold in absolute counts a small batch replaces most
    codes at every step.
    """

    @abstractmethod
    def update_share(self, share: Tensor, counts: Tensor) -> Tensor:
        """New shares ``[K]`` after a batch of all ranks that used each code ``counts`` times."""

    @abstractmethod
    def choose(self, share: Tensor, codes: Tensor, samples: Tensor) -> Revived:
        """Codes to move and where to, the same on every rank.

        Args:
            share: ``[K]``, equal on all ranks.
            codes: ``[K, dim]``, equal on all ranks.
            samples: This rank's vectors ``[tokens, dim]``; the choice is among those of all ranks.
        """


@dataclass(frozen=True)
class ReplaceUnused(Revival):
    """Replace codes that get far less than their share by vectors of the batch.

    Usage is measured in shares: 1 is what a code gets when all are used alike.

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
        return _average_share(share, counts, self.window)

    def choose(self, share: Tensor, codes: Tensor, samples: Tensor) -> Revived:
        """Random vectors of the batch; of more codes than vectors the first."""
        return _replace(share < self.below, samples)


@dataclass(frozen=True)
class Timeout(Revival):
    """Replace codes that nothing was assigned to for so long by vectors of the batch.

    The share is what is left of a code's time: 1 when it was used last, 0 when it is up. Unlike
    ``ReplaceUnused`` it asks only whether a code was used, however seldom: rare codes stay.

    Attributes:
        after: Time without use, in tokens per code: with 1,024 codes and the default, 20,480
            tokens. A code of a tenth of its fair share is hit within 40 with probability 0.98.
    """

    after: float = 20.0

    def __post_init__(self) -> None:
        """Refuse to replace at once."""
        if not self.after > 0:
            raise ConfigError(f"Timeout after: expected > 0 tokens per code, got {self.after}.")

    def update_share(self, share: Tensor, counts: Tensor) -> Tensor:
        """Time left; all of it for a code that was used."""
        passed = counts.sum() / (len(share) * self.after)
        return torch.where(counts > 0, 1.0, share - passed)

    def choose(self, share: Tensor, codes: Tensor, samples: Tensor) -> Revived:
        """Random vectors of the batch; of more codes than vectors the first."""
        return _replace(share <= 0.0, samples)


@dataclass(frozen=True)
class Anchors(Revival):
    """Pull codes towards features of the batch, the less they are used the further.

    CVQ-VAE (Zheng and Vedaldi, ICCV 2023, arXiv 2307.15139, section 3.2): with the running share
    of use ``K N_k``, each code becomes ``(1 - a) e_k + a z_k`` with ``a = exp(-K N_k / scale)`` and
    an anchor ``z_k`` out of the batch. The paper's ``a = exp(-10 K N_k / (1 - gamma))`` at its
    ``gamma = 0.99`` is ``scale = 0.001`` of a memory counted in steps; here memory is counted in
    tokens per code. A dead code goes on moving until something is assigned to it.

    Attributes:
        scale: Share of use at which a code moves by 1/e of the way.
        window: Memory of the share, in tokens per code.
        choice: ``random`` gives every code another vector of the batch; ``closest`` the vector
            nearest to it, which several codes may have in common.
    """

    scale: float = 0.01
    window: float = 20.0
    choice: Literal["random", "closest"] = "random"

    def __post_init__(self) -> None:
        """Refuse scales that move everything or nothing, and unknown choices."""
        if not 0.0 < self.scale < 1.0 or not self.window > 0:
            raise ConfigError(
                f"Anchors: expected 0 < scale < 1 and window > 0, got {self.scale} and "
                f"{self.window}."
            )
        if self.choice not in ("random", "closest"):
            raise ConfigError(f"Anchors choice: expected random or closest, got {self.choice!r}.")

    def update_share(self, share: Tensor, counts: Tensor) -> Tensor:
        """Moving average of ``counts * K / tokens``; unchanged by an empty batch."""
        return _average_share(share, counts, self.window)

    def choose(self, share: Tensor, codes: Tensor, samples: Tensor) -> Revived:
        """All codes that would move by more than a thousandth, the least used first."""
        # Never quite 1, so that two codes with one anchor stay two.
        weight = torch.exp(-share / self.scale - 1e-3)
        order = torch.argsort(share, stable=True)
        moving = order[weight[order] > 1e-3]
        if self.choice == "closest":
            moving, vectors = _closest(moving, codes, samples)
        else:
            moving, vectors = _draw(moving, samples)
        return Revived(moving, vectors, weight[moving], share[moving])


def _average_share(share: Tensor, counts: Tensor, window: float) -> Tensor:
    num_codes = len(share)
    total = counts.sum()
    decay = torch.exp(-total / (num_codes * window))
    return decay * share + (1.0 - decay) * counts * num_codes / total.clamp_min(1.0)


def _replace(unused: Tensor, samples: Tensor) -> Revived:
    indices, vectors = _draw(torch.nonzero(unused).flatten(), samples)
    ones = samples.new_ones(len(indices))
    return Revived(indices, vectors, ones, ones)


def _draw(indices: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
    """A vector of the batch of all ranks for each code, none twice; for as many as there are."""
    offset, num_samples = row_offset(len(samples), samples.device)
    indices = indices[:num_samples]
    if len(indices) == 0:
        return indices, samples.new_zeros(0, samples.shape[1])
    if rank() == 0:
        rows = torch.randperm(num_samples, device=samples.device)[: len(indices)]
    else:
        rows = torch.empty(len(indices), dtype=torch.int64, device=samples.device)
    rows = broadcast_first(rows) - offset
    here = (rows >= 0) & (rows < len(samples))
    vectors = samples.new_zeros(len(indices), samples.shape[1])
    vectors[here] = samples[rows[here]]
    return indices, all_sum(vectors)


def _closest(indices: Tensor, codes: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
    """The vector of the batch of all ranks nearest to each code."""
    _, num_samples = row_offset(len(samples), samples.device)
    if len(indices) == 0 or num_samples == 0:
        return indices[:0], samples.new_zeros(0, samples.shape[1])
    wanted = codes[indices]
    if len(samples):
        vectors = samples[nearest_code(wanted, samples)]
        distance = (vectors - wanted).square().sum(-1)
    else:
        vectors = torch.zeros_like(wanted)
        distance = torch.full_like(wanted[:, 0], torch.inf)
    # Of equal distances the first rank's, which one process alone would find first too.
    owner = gather_rows(distance[None]).argmin(0)
    return indices, all_sum(torch.where((owner == rank())[:, None], vectors, 0.0))
