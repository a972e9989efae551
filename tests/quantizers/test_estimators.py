"""What each gradient estimator claims of itself, measured; and where it is refused."""

import math

import pytest
import torch
from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.quantizers import (
    BSQ,
    FSQ,
    LFQ,
    Annealed,
    DiVeQ,
    GradientUpdate,
    GumbelSoftmax,
    IndexBackpropagation,
    MultiScaleResidual,
    NearestCode,
    NoiseSubstitution,
    PyramidVQ,
    RandomInit,
    Residual,
    Sampled,
    ScalarLatent,
    SimVQ,
    StraightThrough,
    VectorQuantizer,
    VQLoss,
)

DIM, SIZE = 6, 64


def layer(gradient, **options) -> VectorQuantizer:
    torch.manual_seed(3)
    settings = {
        "update": GradientUpdate(),
        "init": RandomInit(1.0),
        "loss": VQLoss(commitment=0.0, codebook=0.0),
        **options,
    }
    return VectorQuantizer(DIM, SIZE, gradient=gradient, **settings)


def pairs() -> tuple[Tensor, Tensor]:
    z = torch.randn(500, DIM, dtype=torch.float64)
    return z.requires_grad_(), (z + 0.5 * torch.randn_like(z)).detach().requires_grad_()


@pytest.mark.parametrize("gradient", [DiVeQ(0.1), NoiseSubstitution()])
def test_noise_keeps_the_distance_to_the_code(gradient):
    z, codes = pairs()
    out = gradient(z, codes)
    torch.testing.assert_close((out - z).norm(dim=-1), (codes - z).norm(dim=-1))
    assert not torch.allclose(out, codes)


def test_diveq_gradient_is_that_of_its_formula():
    z, codes = pairs()
    upstream = torch.randn_like(codes)
    for variance in (0.0, 0.05):
        torch.manual_seed(5)
        gradient = DiVeQ(variance)
        out = gradient(z, codes)
        if variance == 0.0:
            assert torch.equal(out, codes)
        unit = ((out - z) / (out - z).norm(dim=-1, keepdim=True)).detach()
        found = torch.autograd.grad((out * upstream).sum(), (z, codes))
        naive = z + (codes - z).norm(dim=-1, keepdim=True) * unit
        expected = torch.autograd.grad((naive * upstream).sum(), (z, codes))
        for mine, wanted in zip(found, expected, strict=True):
            torch.testing.assert_close(mine, wanted)


def test_diveq_noise_has_its_variance():
    z, codes = pairs()
    torch.manual_seed(6)
    small, large = (DiVeQ(variance)(z, codes) for variance in (1e-4, 1.0))
    spread = [(out - codes).norm(dim=-1).mean().item() for out in (small, large)]
    # A step of noise n turns the unit vector by about |n| across it over the length of the error.
    error = (codes - z).norm(dim=-1)
    expected = (1e-4 * (DIM - 1)) ** 0.5
    assert spread[0] == pytest.approx(expected, rel=0.15)
    assert spread[1] > 0.5 * error.mean().item()


def test_noise_substitution_is_uniform_over_directions():
    z = torch.zeros(20_000, DIM)
    codes = torch.zeros_like(z)
    codes[:, 0] = 2.0
    error = NoiseSubstitution()(z, codes) / 2.0
    assert error.mean(0).abs().max() < 0.02
    covariance = error.T @ error / len(error)
    torch.testing.assert_close(covariance, torch.eye(DIM) / DIM, rtol=0, atol=0.01)


@pytest.mark.parametrize(
    "gradient", [DiVeQ(), NoiseSubstitution(), IndexBackpropagation()], ids=lambda g: str(g)[:12]
)
def test_the_output_moves_the_codebook_without_a_loss_of_its_own(gradient):
    quantizer = layer(gradient)
    output = quantizer(torch.randn(2, 9, DIM))
    output.quantized.square().sum().backward()
    assert quantizer.codebook.grad is not None
    used = output.indices.unique()
    moved = quantizer.codebook.grad.any(-1)
    assert moved[used].all()
    if isinstance(gradient, IndexBackpropagation):
        assert int(moved.sum()) == SIZE > len(used)
    else:
        assert int(moved.sum()) == len(used)


def test_straight_through_leaves_the_codebook_alone():
    quantizer = layer(StraightThrough())
    quantizer(torch.randn(2, 9, DIM, requires_grad=True)).quantized.sum().backward()
    assert quantizer.codebook.grad is None


@pytest.mark.parametrize("gradient", [DiVeQ(), NoiseSubstitution()])
def test_evaluation_and_no_grad_give_the_code(gradient):
    quantizer = layer(gradient)
    z = torch.randn(2, 9, DIM)
    assert quantizer.adds_noise
    for run in (quantizer.eval(), quantizer.train()):
        with torch.no_grad():
            output = run(z)
        assert torch.equal(output.quantized, quantizer.decode(output.indices))


def test_index_backpropagation_is_the_gradient_of_the_soft_assignment():
    quantizer = layer(IndexBackpropagation(temperature=0.7))
    z, upstream = torch.randn(1, 30, DIM, requires_grad=True), torch.randn(1, 30, DIM)
    output = quantizer(z)
    (output.quantized * upstream).sum().backward()
    table = quantizer.codebook.detach().clone().requires_grad_()
    x = z.detach().clone().requires_grad_()
    p = torch.softmax(-torch.cdist(x[0], table).square() / 0.7, dim=-1)
    chosen = torch.nn.functional.one_hot(output.indices[0, :, 0], SIZE)
    soft = (chosen + p - p.detach()) @ table
    (soft * upstream[0]).sum().backward()
    torch.testing.assert_close(z.grad, x.grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(quantizer.codebook.grad, table.grad, rtol=1e-4, atol=1e-5)


def test_samples_follow_the_softmax_of_the_distances():
    quantizer = VectorQuantizer(
        2, 4, update=GradientUpdate(), init=RandomInit(1.0), selection=Sampled(temperature=0.5)
    )
    z = torch.tensor([0.2, -0.1]).expand(1, 40_000, 2)
    indices = quantizer(z).indices.flatten()
    found = torch.bincount(indices, minlength=4) / len(indices)
    expected = torch.softmax(-(quantizer.codebook - z[0, 0]).square().sum(-1) / 0.5, dim=0)
    # Five standard errors of a share.
    assert (found - expected).abs().max() < 5 * math.sqrt(0.25 / len(indices))
    nearest = int((quantizer.codebook - z[0, 0]).square().sum(-1).argmin())
    assert (quantizer.eval()(z).indices == nearest).all()


def test_the_draw_gets_surer_and_ends():
    schedule = Annealed(start=100.0, end=1e-6, steps=3)
    quantizer = layer(StraightThrough(), selection=Sampled(schedule, last_step=4))
    z = torch.randn(1, 400, DIM)
    wrong = []
    for _ in range(6):
        nearest = quantizer.encode(z)
        wrong.append(int((quantizer(z).indices != nearest).sum()))
    assert wrong[0] > 300
    assert wrong[0] > wrong[1] > wrong[3] == wrong[4] == wrong[5] == 0
    assert int(quantizer.num_steps) == 6


def test_steps_count_good_batches_alone():
    quantizer = layer(StraightThrough())
    z = torch.randn(1, 4, DIM)
    quantizer(z)
    quantizer(torch.full_like(z, torch.nan))
    quantizer(z, torch.zeros(1, 4, dtype=torch.bool))
    quantizer.eval()(z)
    assert (int(quantizer.num_steps), int(quantizer.skipped_batches)) == (1, 1)


def test_what_does_not_fit_together_is_refused():
    with pytest.raises(ConfigError, match="expected selection=Sampled"):
        layer(GumbelSoftmax(), selection=NearestCode())
    with pytest.raises(ConfigError, match="needs the codebook"):
        Residual(FSQ([5, 5]), 2, gradient=IndexBackpropagation())
    for wrong in (
        lambda: DiVeQ(-1.0),
        lambda: Sampled(0.0),
        lambda: IndexBackpropagation(0.0),
        lambda: Annealed(1.0, 0.0, 5),
    ):
        with pytest.raises(ConfigError, match="expected"):
            wrong()


@pytest.mark.parametrize("estimator", [DiVeQ(), NoiseSubstitution()], ids=str)
@pytest.mark.parametrize(
    "build",
    [
        lambda gradient: SimVQ(4, 16, gradient=gradient),
        lambda gradient: PyramidVQ(4, 4, gradient=gradient),
        lambda gradient: ScalarLatent(4, gradient=gradient),
        lambda gradient: MultiScaleResidual(
            VectorQuantizer(4, 16, init=RandomInit()), [[1, 1], [2, 2]], gradient=gradient
        ),
        lambda gradient: LFQ(4, gradient=gradient),
        lambda gradient: BSQ(4, gradient=gradient),
    ],
    ids=["simvq", "pyramid", "scalar_latent", "multiscale", "lfq", "bsq"],
)
def test_noise_is_of_training_alone_in_every_quantizer(build, estimator):
    torch.manual_seed(0)
    layer = build(estimator)
    assert layer.adds_noise
    z = torch.randn(2, 2, 2, 4, requires_grad=True)
    output = layer(z)
    assert not torch.equal(output.quantized, layer.decode(output.indices))
    output.quantized.square().sum().backward()
    assert z.grad.isfinite().all()
    assert z.grad.any()
    layer.eval()
    assert torch.equal(layer(z).quantized, layer.decode(layer.encode(z)))


@pytest.mark.parametrize(
    "build", [SimVQ, PyramidVQ, lambda dim, _, gradient: ScalarLatent(dim, gradient=gradient)]
)
def test_layers_without_a_searched_codebook_refuse_estimators_that_need_one(build):
    with pytest.raises(ConfigError, match="needs the codebook"):
        build(4, 16, gradient=IndexBackpropagation())
