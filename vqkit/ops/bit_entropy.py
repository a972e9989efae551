"""Entropies of independent bits: how sure each token is, and how evenly all use the codes.

The softmax over the 2^d sign codes of ``2 z . c / T`` is a product of d Bernoulli distributions,
with logits ``4 z_k |c_k| / T``, because every code is one sign per dimension. The entropy of a
token is then the sum of d binary entropies. The mean over the tokens is no product, so its entropy
takes a table of the patterns of bits; but the table of one token is the outer product of the tables
of its first and its second half, so that the mean over the tokens is one matrix product: nothing of
size tokens x patterns is ever built.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from vqkit.ops.assignment_entropy import Entropies, entropies_of, log_share
from vqkit.ops.collectives import all_sum, world_size
from vqkit.ops.score_tiles import wide_float
from vqkit.shapes import Bool, Float

__all__ = ["bit_entropy", "even_split"]

# Tokens whose tables are held at a time, at up to 2^9 numbers each.
_TOKENS_AT_A_TIME = 4096


def even_split(total: int, largest: int) -> list[int]:
    """``total`` as a sum of as few parts as possible, none above ``largest``, as even as possible.

    >>> even_split(20, 9)
    [7, 7, 6]
    """
    num_parts = -(-total // largest)
    return [total // num_parts + (i < total % num_parts) for i in range(num_parts)]


def bit_entropy(
    logits: Float[Tensor, "tokens bits"],
    group_sizes: Sequence[int],
    valid: Bool[Tensor, " tokens"] | None = None,
    *,
    across_ranks: bool = False,
    statistics: Float[Tensor, " sums"] | None = None,
) -> Entropies:
    """Entropies of bits that are 1 with probability ``sigmoid(logits)``, in nats.

    ``of_tokens`` is exact. ``of_mean`` is the sum over groups of bits of the entropy of the mean
    distribution of the group: exact for one group, an upper bound for more (BSQ, arXiv 2406.07548,
    section 3.3). Ranks, gradient and ``statistics`` are those of
    :func:`vqkit.ops.assignment_entropy.assignment_entropy`; backward computes the tables again.

    Args:
        logits: One per bit.
        group_sizes: Bits of each group, in order; their sum is the number of bits.
        valid: Which tokens count; no token at all gives zeros.
        across_ranks: Whether to sum over the ranks: a collective, for training passes alone.
        statistics: Those of an earlier call on the same tokens.

    >>> sure = bit_entropy(torch.tensor([[99.0, 99.0], [-99.0, -99.0]]), [2])
    >>> round(sure.of_tokens.item(), 3), round(sure.of_mean.item(), 3)
    (0.0, 0.693)
    """
    if valid is None:
        valid = torch.ones_like(logits[:, 0], dtype=torch.bool)
    groups = list(group_sizes)
    if statistics is None:
        statistics = _bit_sums(logits.detach(), valid, groups)
        if across_ranks:
            statistics = all_sum(statistics)
    num_ranks = world_size() if across_ranks else 1
    of_tokens, of_mean = _bit_entropies(logits, valid, statistics, groups, num_ranks)
    return Entropies(of_tokens, of_mean, statistics)


def _halves(size: int) -> tuple[int, int]:
    return size // 2, size - size // 2


def _spans(group_sizes: Sequence[int]) -> list[slice]:
    ends = list(accumulate(group_sizes))
    return [slice(end - size, end) for end, size in zip(ends, group_sizes, strict=True)]


def _tables(group_sizes: Sequence[int], sums: Tensor) -> list[Tensor]:
    """Views of the patterns of each group: first half x second half."""
    parts = sums.split([2**size for size in group_sizes])
    return [
        part.view(2 ** _halves(size)[0], -1) for part, size in zip(parts, group_sizes, strict=True)
    ]


def _patterns(one: Tensor, zero: Tensor) -> Tensor:
    """Probabilities ``[tokens, 2^bits]`` of all patterns; the last bit is the slowest."""
    table = one.new_ones(len(one), 1)
    for p, q in zip(one.unbind(1), zero.unbind(1), strict=True):
        table = torch.cat([table * q[:, None], table * p[:, None]], dim=1)
    return table


def _pattern_bits(num_bits: int, like: Tensor) -> Tensor:
    """Which bits a pattern has, ``[2^bits, bits]``, in the order of ``_patterns``."""
    number = torch.arange(2**num_bits, device=like.device)[:, None]
    return (number >> torch.arange(num_bits, device=like.device) & 1).to(like.dtype)


def _split_tables(logits: Tensor, span: slice) -> tuple[Tensor, Tensor]:
    middle = span.start + _halves(span.stop - span.start)[0]
    # Both from the logits: 1 - sigmoid(x) has no digits left where x is large.
    one, zero = torch.sigmoid(logits), torch.sigmoid(-logits)
    first, second = slice(span.start, middle), slice(middle, span.stop)
    return _patterns(one[:, first], zero[:, first]), _patterns(one[:, second], zero[:, second])


@torch.library.custom_op("vqkit::bit_sums", mutates_args=())
def _bit_sums(logits: Tensor, valid: Tensor, group_sizes: list[int]) -> Tensor:
    """Per group the sum of the distribution over its patterns; entropy of all tokens; count."""
    sums = logits.new_zeros(sum(2**size for size in group_sizes) + 2)
    tables = _tables(group_sizes, sums[:-2])
    with wide_float(logits.device):
        for rows, counts in zip(
            logits.split(_TOKENS_AT_A_TIME), valid.split(_TOKENS_AT_A_TIME), strict=True
        ):
            weight = counts.to(logits.dtype)[:, None]
            for span, table in zip(_spans(group_sizes), tables, strict=True):
                first, second = _split_tables(rows, span)
                table.addmm_((first * weight).T, second)
            # H = log(1 + e^-|x|) + |x| p(-|x|), which is exact far from zero.
            size = rows.abs()
            entropy = torch.log1p(torch.exp(-size)) + size * torch.sigmoid(-size)
            sums[-2] += torch.where(counts[:, None], entropy, 0.0).sum()
    sums[-1] = valid.sum()
    return sums


@_bit_sums.register_fake
def _(logits: Tensor, valid: Tensor, group_sizes: list[int]) -> Tensor:
    return logits.new_empty(sum(2**size for size in group_sizes) + 2)


@torch.library.custom_op("vqkit::bit_entropies", mutates_args=())
def _bit_entropies(
    logits: Tensor, valid: Tensor, statistics: Tensor, group_sizes: list[int], num_ranks: int
) -> tuple[Tensor, Tensor]:
    return entropies_of(statistics)


@_bit_entropies.register_fake
def _(
    logits: Tensor, valid: Tensor, statistics: Tensor, group_sizes: list[int], num_ranks: int
) -> tuple[Tensor, Tensor]:
    return statistics.new_empty(()), statistics.new_empty(())


@torch.library.custom_op("vqkit::bit_entropies_backward", mutates_args=())
def _bit_entropies_backward(
    to_tokens: Tensor,
    to_mean: Tensor,
    logits: Tensor,
    valid: Tensor,
    statistics: Tensor,
    group_sizes: list[int],
    num_ranks: int,
) -> Tensor:
    gradient = torch.empty_like(logits)
    count = statistics[-1].clamp_min(1.0)
    # dH/dp = -log p - 1, of which the 1 moves nothing: the patterns of a token sum to 1.
    wanted = _tables(group_sizes, -to_mean * log_share(statistics[:-2] / count))
    factor = torch.where(valid, num_ranks / count, 0.0)[:, None]
    with wide_float(logits.device):
        for start in range(0, len(logits), _TOKENS_AT_A_TIME):
            rows = slice(start, start + _TOKENS_AT_A_TIME)
            part = logits[rows]
            one, zero = torch.sigmoid(part), torch.sigmoid(-part)
            total = -to_tokens * part * one * zero
            for span, table in zip(_spans(group_sizes), wanted, strict=True):
                # With V the wish per pattern, d/dx_k of sum_s p_s V_s is q_k S_k - p_k R_k, where
                # S_k sums p_s V_s over the patterns with bit k and R_k over those without.
                first, second = _split_tables(part, span)
                wish = [first * (second @ table.T), second * (first @ table)]
                bits = [_pattern_bits(num, part) for num in _halves(span.stop - span.start)]
                with_bit = torch.cat([w @ b for w, b in zip(wish, bits, strict=True)], dim=1)
                without = torch.cat([w @ (1 - b) for w, b in zip(wish, bits, strict=True)], dim=1)
                total[:, span] += zero[:, span] * with_bit - one[:, span] * without
            gradient[rows] = torch.where(valid[rows, None], total, 0.0) * factor[rows]
    return gradient


@_bit_entropies_backward.register_fake
def _(
    to_tokens: Tensor,
    to_mean: Tensor,
    logits: Tensor,
    valid: Tensor,
    statistics: Tensor,
    group_sizes: list[int],
    num_ranks: int,
) -> Tensor:
    return torch.empty_like(logits)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    *tensors, ctx.group_sizes, ctx.num_ranks = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx: Any, to_tokens: Tensor, to_mean: Tensor) -> tuple[Tensor | None, ...]:
    saved = ctx.saved_tensors  # checkpointing lets them be read once
    gradient = _bit_entropies_backward(to_tokens, to_mean, *saved, ctx.group_sizes, ctx.num_ranks)
    return gradient, None, None, None, None


_bit_entropies.register_autograd(_differentiate, setup_context=_keep)
