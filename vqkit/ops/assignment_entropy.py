"""How sure the soft assignment of tokens to codes is, and how evenly it uses them."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from vqkit.ops.collectives import all_sum, world_size
from vqkit.ops.score_tiles import ScoreTiles, wide_float
from vqkit.shapes import Bool, Float

__all__ = ["Entropies", "assignment_entropy", "entropies_of", "log_share"]


class Entropies(NamedTuple):
    """Entropies of a soft assignment, in nats.

    Attributes:
        of_tokens: Mean over the tokens of the entropy of each: 0 when all are sure.
        of_mean: Entropy of the mean assignment: log K when all codes are used alike.
        statistics: The sums behind both, ``[codes + 2]``, without gradient. A recomputed pass
            hands them in again, so that it needs no collective.
    """

    of_tokens: Tensor
    of_mean: Tensor
    statistics: Tensor


def assignment_entropy(
    z: Float[Tensor, "tokens dim"],
    weight: Float[Tensor, "codes dim"],
    bias: Float[Tensor, " codes"] | None = None,
    temperature: Float[Tensor, ""] | float = 1.0,
    valid: Bool[Tensor, " tokens"] | None = None,
    *,
    across_ranks: bool = False,
    statistics: Float[Tensor, " sums"] | None = None,
) -> Entropies:
    """Entropies of ``softmax((z W^T + bias) / temperature)``, tile by tile, with their gradients.

    The two terms of the entropy penalty (LFQ, arXiv 2310.05737; IBQ, arXiv 2412.02692).
    Backward computes the softmax again: nothing of size tokens x codes is kept or built.

    With ``across_ranks`` both are those of the tokens of all ranks, equal on every rank. The
    gradient on a rank is that of its own tokens *times the number of ranks*, so that the average
    over the ranks, which DistributedDataParallel takes, is the gradient of the value.

    Args:
        z: Tokens.
        weight: One row of scores per code.
        bias: A number per code.
        temperature: Above 0.
        valid: Which tokens count; no token at all gives zeros.
        across_ranks: Whether to sum over the ranks: a collective, for training passes alone.
        statistics: Those of an earlier call on the same tokens.

    >>> sure = assignment_entropy(torch.tensor([[9.0, 0.0], [0.0, 9.0]]), 9 * torch.eye(2))
    >>> round(sure.of_tokens.item(), 3), round(sure.of_mean.item(), 3)
    (0.0, 0.693)
    """
    if not isinstance(temperature, Tensor):
        temperature = z.new_tensor(temperature)
    if valid is None:
        valid = torch.ones_like(z[:, 0], dtype=torch.bool)
    log_mass, entropy, used = _token_entropy(
        z.detach(), weight.detach(), None if bias is None else bias.detach(), temperature, valid
    )
    if statistics is None:
        count = valid.sum().to(z.dtype)
        total = torch.where(valid, entropy, 0.0).sum()
        statistics = torch.cat([used, torch.stack([total, count])])
        if across_ranks:
            statistics = all_sum(statistics)
    num_ranks = world_size() if across_ranks else 1
    of_tokens, of_mean = _entropies(
        z, weight, bias, temperature, valid, log_mass, entropy, statistics, num_ranks
    )
    return Entropies(of_tokens, of_mean, statistics)


@torch.library.custom_op("vqkit::token_entropy", mutates_args=())
def _token_entropy(
    z: Tensor, weight: Tensor, bias: Tensor | None, temperature: Tensor, valid: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Per token the logarithm of the softmax's sum and the entropy; per code the sum of p."""
    log_mass, entropy = z.new_empty(len(z)), z.new_empty(len(z))
    used = z.new_zeros(len(weight))
    with wide_float(z.device):
        tiles = ScoreTiles(z, weight, bias, temperature, None)
        for rows in tiles.blocks:
            block = tiles.block(rows)
            peak, mass, mean = block.softmax_mean(lambda _, scores: scores)
            shares = (valid[rows, None] / mass).T
            for codes, scores in block:
                used[codes] += (shares @ (scores - peak).exp_())[0]
            log_mass[rows] = (peak + mass.log())[:, 0]
            entropy[rows] = log_mass[rows] - mean[:, 0]
    return log_mass, entropy, used


@_token_entropy.register_fake
def _(
    z: Tensor, weight: Tensor, bias: Tensor | None, temperature: Tensor, valid: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    return z.new_empty(z.shape[0]), z.new_empty(z.shape[0]), z.new_empty(weight.shape[0])


@torch.library.custom_op("vqkit::entropies", mutates_args=())
def _entropies(
    z: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    temperature: Tensor,
    valid: Tensor,
    log_mass: Tensor,
    entropy: Tensor,
    statistics: Tensor,
    num_ranks: int,
) -> tuple[Tensor, Tensor]:
    return entropies_of(statistics)


@_entropies.register_fake
def _(
    z: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    temperature: Tensor,
    valid: Tensor,
    log_mass: Tensor,
    entropy: Tensor,
    statistics: Tensor,
    num_ranks: int,
) -> tuple[Tensor, Tensor]:
    return statistics.new_empty(()), statistics.new_empty(())


@torch.library.custom_op("vqkit::entropies_backward", mutates_args=())
def _entropies_backward(
    to_tokens: Tensor,
    to_mean: Tensor,
    z: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    temperature: Tensor,
    valid: Tensor,
    log_mass: Tensor,
    entropy: Tensor,
    statistics: Tensor,
    num_ranks: int,
) -> tuple[Tensor, Tensor, Tensor]:
    to_z, to_weight = torch.zeros_like(z), torch.zeros_like(weight)
    to_bias = weight.new_zeros(len(weight))
    count = statistics[-1].clamp_min(1.0)
    log_mean = log_share(statistics[:-2] / count)
    with wide_float(z.device):
        tiles = ScoreTiles(z, weight, bias, temperature, None)
        factor = torch.where(valid, num_ranks / count, 0.0) * tiles.inverse
        for rows in tiles.blocks:
            block, total = tiles.block(rows), log_mass[rows, None]
            # With r_k = -g1 s_k - g2 log mean_k, the gradient to s_k is p_k (r_k - sum_j p_j r_j).
            mean = -to_tokens * (log_mass - entropy)[rows, None]
            for codes, scores in block:
                mean = mean - to_mean * (torch.exp(scores - total) @ log_mean[codes, None])
            for codes, scores in block:
                share = torch.exp(scores - total).mul_(factor[rows, None])
                wanted = (-to_tokens * scores).sub_(to_mean * log_mean[codes]).sub_(mean)
                share.mul_(wanted)
                to_z[rows].addmm_(share, weight[codes])
                to_weight[codes].addmm_(share.T, block.z)
                if bias is not None:
                    to_bias[codes] += share.sum(0)
    return to_z, to_weight, to_bias


@_entropies_backward.register_fake
def _(
    to_tokens: Tensor,
    to_mean: Tensor,
    z: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    temperature: Tensor,
    valid: Tensor,
    log_mass: Tensor,
    entropy: Tensor,
    statistics: Tensor,
    num_ranks: int,
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(z), torch.empty_like(weight), weight.new_empty(weight.shape[0])


def entropies_of(statistics: Tensor) -> tuple[Tensor, Tensor]:
    """Mean entropy of the tokens and entropy of the mean, from the sums behind both."""
    count = statistics[-1].clamp_min(1.0)
    mean = statistics[:-2] / count
    return statistics[-2] / count, -(mean * log_share(mean)).sum()


def log_share(share: Tensor) -> Tensor:
    """Logarithm for which ``0 log 0 = 0``: a code that nobody wants has p = 0 everywhere."""
    return share.clamp_min(torch.finfo(share.dtype).tiny).log()


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    *tensors, ctx.num_ranks = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx: Any, to_tokens: Tensor, to_mean: Tensor) -> tuple[Tensor | None, ...]:
    saved = ctx.saved_tensors  # checkpointing lets them be read once
    to_z, to_weight, to_bias = _entropies_backward(to_tokens, to_mean, *saved, ctx.num_ranks)
    bias = saved[2]
    return to_z, to_weight, None if bias is None else to_bias, None, None, None, None, None, None


_entropies.register_autograd(_differentiate, setup_context=_keep)
