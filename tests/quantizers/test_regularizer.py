"""Penalties on a codebook against their formulas on whole matrices, in value and gradient."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from vqkit.errors import ConfigError
from vqkit.quantizers import (
    BSQ,
    IBQ,
    LFQ,
    AssignmentEntropy,
    CodebookEntropy,
    Diversity,
    GradientUpdate,
    Orthogonality,
    RandomInit,
    VectorQuantizer,
)


def naive_orthogonality(z: Tensor, codebook: Tensor) -> Tensor:
    codes = F.normalize(codebook, dim=-1)
    return (codes @ codes.T - torch.eye(len(codes))).square().sum() / len(codes) ** 2


def naive_entropies(z: Tensor, codebook: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    p = torch.softmax(-(torch.cdist(z.double(), codebook.double()) ** 2) / temperature, dim=-1)
    mean = p.mean(0)
    each = torch.special.entr(p).sum(-1).mean()
    return each, math.log(len(codebook)) - torch.special.entr(mean).sum()


def naive_diversity(z: Tensor, codebook: Tensor) -> Tensor:
    return naive_entropies(z, codebook, 0.5)[1].float()


def naive_codebook_entropy(z: Tensor, codebook: Tensor) -> Tensor:
    each, spread = naive_entropies(z, codebook, 0.5)
    return (each + 0.7 * spread).float()


CASES = {
    "orthogonality": (Orthogonality(), naive_orthogonality),
    "diversity": (Diversity(temperature=0.5), naive_diversity),
    "entropy": (CodebookEntropy(temperature=0.5, gamma=0.7), naive_codebook_entropy),
}


@pytest.mark.parametrize("name", CASES)
def test_equals_the_formula(name):
    penalty, naive = CASES[name]
    z, codebook = torch.randn(50, 6), 0.7 * torch.randn(20, 6)
    results = []
    for function in (penalty, naive):
        a, b = z.clone().requires_grad_(), codebook.clone().requires_grad_()
        value = function(a, b)
        gradients = torch.autograd.grad(value, (a, b), allow_unused=True)
        results.append((value.detach(), *(g for g in gradients if g is not None)))
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_is_zero_at_its_best_and_never_negative(name):
    penalty, _ = CASES[name]
    codes = 30 * torch.eye(6)  # each token on a code, all codes alike
    assert 0 <= float(penalty(codes.repeat(5, 1), codes)) < 1e-5
    assert float(penalty(torch.randn(9, 6), torch.randn(40, 6))) > 0


@pytest.mark.parametrize("name", CASES)
def test_no_token_is_no_division_by_zero(name):
    penalty, _ = CASES[name]
    codebook = torch.randn(8, 3, requires_grad=True)
    value = penalty(torch.zeros(0, 3), codebook)
    value.backward()
    assert value.isfinite()
    assert codebook.grad.isfinite().all()


def test_the_layer_adds_it_to_its_loss():
    def layer(*regularizers) -> VectorQuantizer:
        torch.manual_seed(1)
        return VectorQuantizer(
            4, 16, update=GradientUpdate(), init=RandomInit(1.0), regularizers=regularizers
        )

    z = torch.randn(2, 9, 4)
    plain, both = layer()(z), layer(Orthogonality(weight=2.0), Diversity(weight=0.5))(z)
    expected = plain.loss + 2.0 * both.terms["orthogonality"] + 0.5 * both.terms["diversity"]
    torch.testing.assert_close(both.loss, expected)


@pytest.mark.parametrize(
    ("layer", "penalties"),
    [
        (LFQ(4), {"token_entropy", "mean_entropy"}),
        (BSQ(4), {"token_entropy", "mean_entropy"}),
        (IBQ(4, 16, entropy=AssignmentEntropy()), {"token_entropy", "mean_entropy"}),
        (
            VectorQuantizer(4, 16, update=GradientUpdate(), regularizers=[Diversity()]),
            {"diversity"},
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_evaluation_does_not_pay_for_penalties(layer, penalties):
    z = torch.randn(2, 9, 4)
    layer(z)  # initialises
    trained, evaluated = layer.train()(z), layer.eval()(z)
    assert trained.terms.keys() - evaluated.terms.keys() == penalties
    assert 0 < evaluated.loss < trained.loss
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    with torch.no_grad():
        measured = layer.train()(z)
    torch.testing.assert_close(measured.loss, trained.loss.detach())
    assert all(torch.equal(before[name], value) for name, value in layer.state_dict().items())


def test_pushes_codes_apart():
    torch.manual_seed(2)
    layer = VectorQuantizer(
        8, 8, update=GradientUpdate(), init=RandomInit(1.0), regularizers=[Orthogonality(10.0)]
    )
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.05)
    first = float(layer(torch.randn(1, 4, 8)).terms["orthogonality"])
    for _ in range(100):
        optimizer.zero_grad()
        layer(torch.randn(1, 4, 8)).loss.backward()
        optimizer.step()
    assert float(layer(torch.randn(1, 4, 8)).terms["orthogonality"]) < 0.1 * first


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ConfigError, match="follows an average"):
        VectorQuantizer(4, 16, regularizers=[Orthogonality()])
    for wrong in (
        lambda: Orthogonality(-1.0),
        lambda: Diversity(temperature=0.0),
        lambda: CodebookEntropy(gamma=-0.1),
    ):
        with pytest.raises(ConfigError, match="expected"):
            wrong()
