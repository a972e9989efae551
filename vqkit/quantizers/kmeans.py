"""k-means++ and Lloyd iterations that always return as many distinct centres as asked for."""

import torch
from torch import Tensor

from vqkit.ops.nearest import nearest_code
from vqkit.ops.statistics import code_statistics
from vqkit.shapes import Float

__all__ = ["draw_by_weight", "kmeans", "sample_distinct"]

# k-means++ draws one centre at a time up to so many centres; beyond, several per round, which costs
# little quality and saves hours at 262,144 codes (k-means||, Bahmani et al. 2012).
_SEEDING_ROUNDS = 256
_TINY = torch.finfo(torch.float32).tiny


def kmeans(
    samples: Float[Tensor, "tokens dim"],
    num_codes: int,
    iterations: int,
    weights: Float[Tensor, " tokens"] | None = None,
) -> tuple[Float[Tensor, "codes dim"], Float[Tensor, " codes"]]:
    """Cluster samples (k-means++, Arthur and Vassilvitskii 2007; then Lloyd).

    A centre that loses all its samples moves to a sample drawn in proportion to its squared error.
    With fewer distinct samples than codes, jittered samples fill the rest.

    Args:
        samples: Vectors to cluster.
        num_codes: Number of centres.
        iterations: Lloyd steps.
        weights: How many vectors each sample stands for, positive; one each by default.

    Returns:
        Centres and the number (total weight) of samples of each.
    """
    if len(samples.unique(dim=0)) <= num_codes:
        centres = sample_distinct(samples, num_codes)
        return centres, _count(nearest_code(samples, centres), num_codes, weights)
    centres = _seed(samples, num_codes, weights)
    for _ in range(iterations):
        assigned = nearest_code(samples, centres)
        if weights is None:
            counts, sums, _ = code_statistics(samples, assigned, num_codes)
        else:
            counts = _count(assigned, num_codes, weights)
            _, sums, _ = code_statistics(samples * weights[:, None], assigned, num_codes)
        # The shift from the old centre loses less to rounding than the sum itself.
        shift = (sums - counts[:, None] * centres) / counts.clamp_min(_TINY)[:, None]
        error = _error(samples, centres[assigned], weights)
        centres = centres + shift
        empty = torch.nonzero(counts == 0).flatten()
        far = int((error > 0).sum())
        if len(empty) and far:
            # Equal samples may be drawn together: two codes that coincide could never part again.
            new = samples[draw_by_weight(error, min(len(empty), far))].unique(dim=0)
            centres[empty[: len(new)]] = new
    return centres, _count(nearest_code(samples, centres), num_codes, weights)


def sample_distinct(samples: Float[Tensor, "tokens dim"], num_codes: int) -> Tensor:
    """Draw ``num_codes`` distinct rows; if there are fewer, jittered copies fill the rest."""
    distinct = samples.unique(dim=0)
    order = torch.randperm(len(distinct), device=samples.device)
    if len(distinct) >= num_codes:
        return distinct[order[:num_codes]]
    num_missing = num_codes - len(distinct)
    if len(distinct) == 0:
        return torch.randn(num_codes, samples.shape[1], device=samples.device)
    copies = distinct[torch.randint(len(distinct), (num_missing,), device=samples.device)]
    # One per cent of the spread, and something even where all samples are equal: two codes that
    # coincide could never part again.
    spread = distinct.std(dim=0, correction=0) + 1e-3 * distinct.abs().max().clamp_min(1e-3)
    return torch.cat([distinct, copies + 0.01 * spread * torch.randn_like(copies)])


def _count(assigned: Tensor, num_codes: int, weights: Tensor | None) -> Tensor:
    return torch.bincount(assigned, weights, minlength=num_codes).to(torch.float32)


def _error(samples: Tensor, centres: Tensor, weights: Tensor | None) -> Tensor:
    error = (samples - centres).square().sum(-1)
    return error if weights is None else error * weights


def _seed(samples: Tensor, num_codes: int, weights: Tensor | None = None) -> Tensor:
    per_round = -(-num_codes // _SEEDING_ROUNDS)
    centres = samples[torch.randint(len(samples), (1,), device=samples.device)]
    error = _error(samples, centres, weights)
    while len(centres) < num_codes:
        num_new = min(per_round, num_codes - len(centres), int((error > 0).sum()))
        if num_new == 0:
            # What is left differs by less than a square can tell.
            return sample_distinct(samples, num_codes)
        # Equal samples may be drawn together in one round.
        new = samples[draw_by_weight(error, num_new)].unique(dim=0)
        nearest = new[nearest_code(samples, new)]
        error = torch.minimum(error, _error(samples, nearest, weights))
        centres = torch.cat([centres, new])
    return centres


def draw_by_weight(weight: Tensor, number: int) -> Tensor:
    """Distinct row numbers, each with a chance in proportion to its weight."""
    # torch.multinomial stops at 2^24 categories.
    keys = torch.rand_like(weight).clamp_min(torch.finfo(weight.dtype).tiny).log() / weight
    return keys.topk(number).indices
