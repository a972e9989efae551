"""Entropies of independent bits, against the softmax over all 2^d sign codes."""

import itertools
import math
import sys

import pytest
import torch
from torch import Tensor

from vqkit.ops import bit_entropy
from vqkit.ops.bit_entropy import even_split


def naive(logits: Tensor, group_sizes: list[int], valid: Tensor) -> tuple[Tensor, Tensor]:
    """Every pattern of every group, one softmax over ``sum_k s_k x_k / 2``."""
    of_tokens, of_mean = 0.0, 0.0
    for part in logits[valid].split(group_sizes, dim=-1):
        signs = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=part.shape[1])))
        log_p = torch.log_softmax(part @ signs.to(part).T / 2, dim=-1)
        of_tokens = of_tokens - (log_p.exp() * log_p).sum(-1).mean()
        mean = log_p.exp().mean(0)
        of_mean = of_mean - torch.special.xlogy(mean, mean).sum()
    return of_tokens, of_mean


@pytest.mark.parametrize(
    ("num_bits", "groups"), [(1, [1]), (2, [2]), (8, [8]), (9, [9]), (10, [5, 5]), (11, [1, 3, 7])]
)
@pytest.mark.parametrize("scale", [0.3, 3.0, 30.0])
def test_values_and_gradients_equal_the_softmax_over_all_codes(num_bits, groups, scale):
    logits = (scale * torch.randn(300, num_bits)).requires_grad_()
    valid = torch.rand(300) < 0.8
    ours = bit_entropy(logits, groups, valid)
    (2.0 * ours.of_tokens - 3.0 * ours.of_mean).backward()
    exact = logits.detach().double().requires_grad_()
    of_tokens, of_mean = naive(exact, groups, valid)
    (2.0 * of_tokens - 3.0 * of_mean).backward()
    torch.testing.assert_close(ours.of_tokens.double(), of_tokens, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours.of_mean.double(), of_mean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(logits.grad.double(), exact.grad, rtol=1e-4, atol=1e-8)


def test_tiles_change_nothing(monkeypatch):
    logits = torch.randn(1000, 7, requires_grad=True)
    results = []
    for size in (4096, 33):
        monkeypatch.setattr(sys.modules[even_split.__module__], "_TOKENS_AT_A_TIME", size)
        logits.grad = None
        ours = bit_entropy(logits, [4, 3])
        (ours.of_tokens + ours.of_mean).backward()
        results.append((ours.of_tokens, ours.of_mean, logits.grad))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)


def test_groups_bound_the_entropy_of_the_mean_from_above():
    logits = 4 * torch.randn(50, 8)
    exact = bit_entropy(logits, [8])
    previous = exact.of_mean
    for groups in ([4, 4], [2, 2, 2, 2], [1] * 8):
        ours = bit_entropy(logits, groups)
        assert ours.of_mean > previous
        torch.testing.assert_close(ours.of_tokens, exact.of_tokens)
        previous = ours.of_mean
    assert previous <= 8 * math.log(2) + 1e-5


def test_trap_30_the_signs_of_the_two_entropies():
    """Sure and even is (0, log 2 per bit); sure and alike (0, 0); unsure the maximum of both."""
    even = torch.tensor([[80.0], [-80.0]])
    for logits, tokens, mean in (
        (even, 0.0, math.log(2)),
        (even.abs(), 0.0, 0.0),
        (torch.zeros(2, 1), math.log(2), math.log(2)),
    ):
        ours = bit_entropy(logits, [1])
        assert ours.of_tokens.item() == pytest.approx(tokens, abs=1e-6)
        assert ours.of_mean.item() == pytest.approx(mean, abs=1e-6)


def test_no_token_gives_zeros_and_no_nan():
    logits = torch.randn(4, 3, requires_grad=True)
    for part, valid in ((logits[:0], None), (logits, torch.zeros(4, dtype=torch.bool))):
        ours = bit_entropy(part, [3], valid)
        assert (ours.of_tokens.item(), ours.of_mean.item()) == (0.0, 0.0)
        (ours.of_tokens + ours.of_mean).backward()
    assert not logits.grad.any()


def test_far_logits_stay_finite():
    logits = torch.tensor([[1e30, -1e30], [500.0, -500.0]], requires_grad=True)
    ours = bit_entropy(logits, [2])
    (ours.of_tokens + ours.of_mean).backward()
    assert ours.of_tokens.item() == 0.0
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize(
    ("total", "largest", "parts"),
    [(18, 9, [9, 9]), (20, 9, [7, 7, 6]), (3, 9, [3]), (63, 62, [32, 31])],
)
def test_even_split(total, largest, parts):
    assert even_split(total, largest) == parts
