"""InfoMEC on latents whose answer is known, and its parts against naive counts and scikit-learn."""

import math

import pytest
import torch
from sklearn.feature_selection import mutual_info_classif
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, mutual_info_score

from vqkit.errors import ShapeError
from vqkit.metrics import info_mec
from vqkit.metrics.disentanglement import (
    _log_loss,
    _mutual_information,
    _mutual_information_by_neighbours,
    _one_hot,
)

FACTORS = torch.cartesian_prod(torch.arange(3), torch.arange(4), torch.arange(5)).repeat(40, 1)


def scores(latents, factors=FACTORS, *, discrete=True) -> tuple[float, float, float]:
    result = info_mec(latents, factors, discrete_latents=discrete)
    return result.modularity, result.explicitness, result.compactness


def test_perfect_latents_score_one():
    assert scores(FACTORS) == pytest.approx((1, 1, 1), abs=0.01)
    noisy = FACTORS.double() + 1e-3 * torch.randn(FACTORS.shape, dtype=torch.float64)
    assert scores(noisy, discrete=False) == pytest.approx((1, 1, 1), abs=0.03)


def test_order_and_names_of_values_do_not_matter():
    permuted = (4 - FACTORS)[:, [2, 0, 1]] * 7
    assert scores(permuted) == pytest.approx((1, 1, 1), abs=0.01)


def test_random_latents_explain_nothing():
    latents = torch.randint(0, 4, FACTORS.shape)
    modularity, explicitness, compactness = scores(latents)
    assert explicitness < 0.02
    result = info_mec(latents, FACTORS, discrete_latents=True)
    assert result.mutual_information.max() < 0.01
    assert 0 <= modularity <= 1
    assert 0 <= compactness <= 1
    real = torch.randn(len(FACTORS), 3)
    assert scores(real, discrete=False)[1] < 0.02


def test_a_rotation_mixes_factors():
    real = FACTORS.double() - FACTORS.double().mean(0)
    mixed = real @ torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64)).Q
    modularity, explicitness, compactness = scores(mixed, discrete=False)
    assert modularity < 0.6
    assert compactness < 0.6
    assert explicitness > 0.5  # linearly decodable all the same


def test_a_factor_over_two_latents_is_modular_and_not_compact():
    split = torch.stack([FACTORS[:, 1] % 2, FACTORS[:, 1] // 2], 1)
    modularity, explicitness, compactness = scores(split, FACTORS[:, 1:2])
    assert (modularity, compactness) == pytest.approx((1, 0), abs=0.01)
    assert explicitness > 0.99


def test_trap_27_nothing_is_divided_by_zero():
    constant = torch.zeros(len(FACTORS), 2, dtype=torch.int64)
    assert scores(constant) == (0.0, 0.0, 0.0)
    assert all(map(math.isnan, scores(FACTORS, constant)))
    one_factor = FACTORS[:, :1]
    assert scores(FACTORS, one_factor)[0] == pytest.approx(1 / 3, abs=0.01)  # two say nothing
    one_latent = torch.cat([FACTORS[:, :1], constant], 1)
    assert scores(one_latent)[2] == pytest.approx(1 / 3, abs=0.01)
    assert scores(one_latent)[0] == pytest.approx(1, abs=0.01)
    with_constant_factor = torch.cat([FACTORS, constant[:, :1]], 1)
    assert scores(FACTORS, with_constant_factor) == pytest.approx((1, 1, 1), abs=0.01)
    assert scores(constant.double(), discrete=False) == (0.0, 0.0, 0.0)


def test_inactive_latents_are_left_out():
    noise = 0.01 * torch.randn(len(FACTORS), 1, dtype=torch.float64)
    latents = torch.cat([FACTORS.double(), noise], 1)
    result = info_mec(latents, FACTORS, discrete_latents=False)
    assert result.active.tolist() == [True, True, True, False]
    assert result.modularity > 0.95


def test_mutual_information_equals_that_of_scikit_learn():
    a, b = torch.randint(0, 6, (2000,)), torch.randint(0, 5, (2000,))
    b = (a + (b > 2) * b) % 5
    assert _mutual_information(a, b) == pytest.approx(mutual_info_score(a, b), rel=1e-9)


def test_neighbours_equal_those_of_scikit_learn():
    labels = torch.randint(0, 3, (600,))
    values = labels + 0.8 * torch.randn(600)
    values = ((values - values.mean()) / values.std(correction=0)).double()
    peer = mutual_info_classif(
        values[:, None].numpy(), labels.numpy(), n_neighbors=10, discrete_features=False,
        random_state=0,
    )  # fmt: skip
    assert _mutual_information_by_neighbours(labels, values) == pytest.approx(peer[0], abs=0.01)


def test_log_loss_is_that_of_an_unpenalised_logistic_regression():
    codes = torch.randint(0, 4, (800, 2))
    labels = ((codes.sum(1) + (torch.rand(800) < 0.3)) % 3).long()
    features = _one_hot(codes)
    peer = LogisticRegression(C=1e6, max_iter=5000, tol=1e-8).fit(features, labels)
    expected = log_loss(labels, peer.predict_proba(features))
    assert _log_loss(features, labels) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    "latents",
    [torch.zeros(4, 2, 1), torch.zeros(5, 2), torch.zeros(0, 2), torch.full((4, 2), math.nan)],
)
def test_wrong_input_is_refused(latents):
    factors = torch.zeros(len(latents) - (len(latents) == 5), 1, dtype=torch.int64)
    with pytest.raises(ShapeError, match="info_mec"):
        info_mec(latents, factors, discrete_latents=False)
