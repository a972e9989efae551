"""Counts and sums per code, against the one-hot matrix."""

import pytest
import torch

from vqkit.ops import code_statistics


@pytest.mark.parametrize("dim", [1, 8, 33])
@pytest.mark.parametrize(("tokens", "codes"), [(0, 3), (1, 1), (500, 7), (100, 1000)])
def test_equals_the_one_hot_matrix(tokens: int, codes: int, dim: int) -> None:
    samples, assigned = torch.randn(tokens, dim), torch.randint(codes, (tokens,))
    one_hot = torch.nn.functional.one_hot(assigned, codes).double()
    counts, sums, _ = code_statistics(samples, assigned, codes)
    assert torch.equal(counts.double(), one_hot.sum(0))
    torch.testing.assert_close(sums, (one_hot.T @ samples.double()).float())


def test_both_are_views_of_one_memory() -> None:
    counts, sums, memory = code_statistics(torch.randn(20, 3), torch.randint(4, (20,)), 4)
    before = counts.clone(), sums.clone()
    memory.mul_(2)
    assert torch.equal(counts, 2 * before[0])
    assert torch.equal(sums, 2 * before[1])
    assert counts.is_contiguous()
    assert sums.is_contiguous()


def test_half_precision_is_summed_in_fp32() -> None:
    samples = torch.ones(5000, 1, dtype=torch.bfloat16)
    assert code_statistics(samples, torch.zeros(5000, dtype=torch.int64), 2).sums[0] == 5000


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("codes", [1, 1000])
def test_repeats_bit_for_bit_on_a_gpu(codes: int) -> None:
    samples, assigned = torch.randn(50_000, 64), torch.randint(codes, (50_000,))
    first = code_statistics(samples.cuda(), assigned.cuda(), codes)
    for _ in range(5):
        again = code_statistics(samples.cuda(), assigned.cuda(), codes)
        assert torch.equal(again.memory, first.memory)
    expected = code_statistics(samples, assigned, codes)
    assert torch.equal(first.counts.cpu(), expected.counts)
    torch.testing.assert_close(first.sums.cpu(), expected.sums, rtol=1e-4, atol=1e-2)
