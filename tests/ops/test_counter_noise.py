import math

import pytest
import torch

from vqkit.ops import gumbel_noise, normal_noise, token_keys


def keys_of(seed: int, num_tokens: int) -> torch.Tensor:
    return token_keys(torch.tensor(seed), num_tokens)


def test_keys_differ_by_token_and_by_seed():
    keys = torch.cat([keys_of(seed, 1000) for seed in range(20)])
    assert len(keys.unique()) == 20_000


def test_padding_does_not_count():
    valid = torch.rand(60) > 0.4
    keys = token_keys(torch.tensor(3), 60, valid)
    assert torch.equal(keys[valid], keys_of(3, int(valid.sum())))


def test_noise_is_a_function_of_token_and_column():
    keys = keys_of(1, 50)
    whole = gumbel_noise(keys, torch.arange(70))
    assert torch.equal(gumbel_noise(keys[7:20], torch.arange(33, 70)), whole[7:20, 33:])
    assert torch.equal(gumbel_noise(keys.flip(0), torch.arange(70)), whole.flip(0))
    assert torch.equal(normal_noise(keys[3:9], 8), normal_noise(keys, 8)[3:9])


def test_gumbel_noise_has_the_distribution_function_of_gumbel():
    noise = gumbel_noise(keys_of(2, 1000), torch.arange(1000)).flatten().sort().values
    cdf = torch.exp(-torch.exp(-noise.double()))
    # Kolmogorov-Smirnov: above 1.95 / sqrt(n) once in a thousand seeds.
    gap = (cdf - torch.linspace(0, 1, len(cdf), dtype=torch.float64)).abs().max()
    assert gap < 1.95 / math.sqrt(len(cdf))
    assert noise.isfinite().all()
    assert 12.0 < noise[-1] < 22.2


def test_normal_noise_has_the_moments_of_the_normal_distribution():
    noise = normal_noise(keys_of(2, 4000), 250).double()
    assert noise.isfinite().all()
    assert noise.mean().abs() < 4e-3
    assert abs(noise.var() - 1) < 6e-3
    assert abs(noise.pow(4).mean() - 3) < 0.04


@pytest.mark.parametrize("transpose", [False, True])
def test_neither_tokens_nor_columns_are_correlated(transpose):
    noise = normal_noise(keys_of(4, 600), 600)
    correlation = torch.corrcoef(noise.T if transpose else noise).fill_diagonal_(0)
    assert abs(correlation.std() * math.sqrt(600) - 1) < 0.02
    assert correlation.abs().max() * math.sqrt(600) < 6.0


def test_no_tokens():
    assert gumbel_noise(keys_of(0, 0), torch.arange(4)).shape == (0, 4)
    assert normal_noise(keys_of(0, 0), 4).shape == (0, 4)
