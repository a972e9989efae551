import math

import pytest
import torch

from vqkit.ops import gumbel_noise, score_tiles, select_code, token_keys

SMALL_TILES = (64, 4)


@pytest.fixture(params=["one tile", "many tiles"], autouse=True)
def tiles(request, monkeypatch):
    if request.param == "many tiles":
        monkeypatch.setattr(score_tiles, "_CPU", SMALL_TILES)


def test_is_the_argmax_of_float64_scores_at_any_offset():
    for offset in (0.0, 100.0, 1000.0):
        z, weight = torch.randn(50, 6) + offset, torch.randn(37, 6)
        bias = torch.randn(37)
        exact = z.double() @ weight.double().T
        assert torch.equal(select_code(z, weight), exact.argmax(1))
        assert torch.equal(select_code(z, weight, bias), (exact + bias.double()).argmax(1))


def test_the_float64_pass_is_needed():
    z = torch.randn(200, 8)
    weight = torch.randn(1, 8) + 1e-7 * torch.randn(40, 8)
    exact = (z.double() @ weight.double().T).argmax(1)
    assert not torch.equal((z @ weight.T).argmax(1), exact)
    assert torch.equal(select_code(z, weight), exact)


def test_lowest_index_on_ties():
    weight = torch.randn(5, 3).repeat(7, 1)
    assert select_code(torch.randn(50, 3), weight).max() < 5
    assert not select_code(torch.zeros(4, 3), weight).any()


def test_the_noise_is_that_of_the_keys():
    z, weight, bias = torch.randn(50, 6), torch.randn(37, 6), torch.randn(37)
    keys = token_keys(torch.tensor(9), 50)
    naive = z @ weight.T + bias + gumbel_noise(keys, torch.arange(37))
    assert torch.equal(select_code(z, weight, bias, keys), naive.argmax(1))


def test_samples_follow_the_softmax(monkeypatch):
    monkeypatch.setattr(score_tiles, "_CPU", (2**14, 64))
    logits = torch.randn(12) * 1.5
    keys = token_keys(torch.tensor(4), 40_000)
    drawn = select_code(torch.zeros(40_000, 2), torch.zeros(12, 2), logits, keys)
    expected = 40_000 * logits.softmax(0)
    chi_square = ((drawn.bincount(minlength=12) - expected).square() / expected).sum()
    assert chi_square < 31.3  # 11 degrees of freedom, once in a thousand seeds


def test_bad_tokens_get_an_index_in_range():
    z = torch.randn(6, 3)
    z[1, 0], z[2, 1], z[3] = math.nan, math.inf, 3e38
    keys = token_keys(torch.tensor(0), 6)
    for index in (
        select_code(z, torch.randn(40, 3)),
        select_code(z, torch.randn(40, 3), keys=keys),
    ):
        assert ((index >= 0) & (index < 40)).all()
        assert index[1] == 0


def test_no_tokens():
    assert select_code(torch.zeros(0, 3), torch.randn(4, 3)).shape == (0,)
