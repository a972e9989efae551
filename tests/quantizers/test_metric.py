import copy

import pytest
import torch
import torch.nn.functional as F

from vqkit.errors import ConfigError
from vqkit.quantizers import (
    EMA,
    CodebookEntropy,
    CosineSearch,
    FromData,
    GradientUpdate,
    GumbelSoftmax,
    IndexBackpropagation,
    ProjectedVQ,
    RandomInit,
    Sampled,
    VectorQuantizer,
    VQLoss,
)
from vqkit.quantizers.table import GaussianTable

DIM = 6


def searched_by_angle(**options) -> VectorQuantizer:
    """Codes of very different lengths, so that angle and distance disagree."""
    layer = VectorQuantizer(DIM, 16, metric=CosineSearch(), init=RandomInit(scale=1.0), **options)
    with torch.no_grad():
        layer.codebook.mul_(torch.linspace(0.2, 5.0, 16)[:, None])
    return layer


def smallest_angle(z, codes):
    return (F.normalize(z.double(), dim=-1) @ F.normalize(codes.double(), dim=-1).T).argmax(-1)


@pytest.mark.parametrize("update", [EMA(), GradientUpdate()])
def test_the_angle_chooses_and_the_raw_code_comes_out(update):
    layer = searched_by_angle(update=update).eval()
    z = 3 * torch.randn(4, 50, DIM)
    output = layer(z)
    index = smallest_angle(z, layer.codebook)
    assert torch.equal(output.indices[..., 0], index)
    assert torch.equal(output.quantized, layer.codebook[index])
    nearest = torch.cdist(z, layer.codebook.detach()).argmin(-1)
    assert (nearest != index).any()
    assert torch.equal(layer.encode(7 * z), layer.encode(z))


def test_loss_and_gradient_are_those_of_raw_vectors():
    loss = VQLoss(commitment=0.25, codebook=1.0)
    layer = searched_by_angle(update=GradientUpdate(), loss=loss)
    z = torch.randn(4, 50, DIM, requires_grad=True)
    codebook = layer.codebook.detach().clone().requires_grad_()
    codes = codebook[smallest_angle(z.detach(), codebook.detach())]
    expected = 0.25 * (z - codes.detach()).square().mean() + (z.detach() - codes).square().mean()
    output = layer(z)
    torch.testing.assert_close(output.loss, expected)
    wanted = torch.autograd.grad(expected, [z, codebook])
    got = torch.autograd.grad(output.loss, [z, layer.codebook])
    torch.testing.assert_close(got, wanted)
    (straight,) = torch.autograd.grad(layer(z).quantized.sum(), z)
    assert torch.equal(straight, torch.ones_like(z))


@pytest.mark.parametrize("update", [EMA(decay=0.5), GradientUpdate()])
def test_it_learns_directions_and_lengths(update):
    directions = F.normalize(torch.randn(4, DIM), dim=-1)
    lengths = torch.tensor([0.5, 1.0, 2.0, 4.0])[:, None]
    z = (directions * lengths)[torch.randint(4, (2, 200))]
    z = z + 0.01 * torch.randn_like(z)
    layer = VectorQuantizer(
        DIM, 4, metric=CosineSearch(), update=update, init=FromData(), loss=VQLoss.dac()
    )
    layer(z)
    with torch.no_grad():
        layer.codebook.copy_(directions + 0.1 * torch.randn(4, DIM))
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1) if list(layer.parameters()) else None
    for _ in range(200):
        loss = layer(z).loss
        if optimizer is not None:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    torch.testing.assert_close(layer.codebook.detach(), directions * lengths, rtol=0.05, atol=0.02)


def test_an_average_step_is_the_mean_of_raw_vectors():
    layer = searched_by_angle(update=EMA(decay=0.0))
    before = copy.deepcopy(layer)
    z = torch.randn(4, 50, DIM)
    index = layer(z).indices.flatten()
    for code in range(16):
        mine = z.reshape(-1, DIM)[index == code]
        expected = mine.mean(0) if len(mine) else before.codebook[code]
        torch.testing.assert_close(layer.codebook[code], expected)


def test_samples_are_drawn_by_angle():
    layer = searched_by_angle(selection=Sampled(temperature=1e-6))
    z = torch.randn(4, 50, DIM)
    expected = smallest_angle(z, layer.codebook)
    assert torch.equal(layer(z).indices[..., 0], expected)


def test_regularizers_see_what_the_search_compares():
    layer = searched_by_angle(update=GradientUpdate(), regularizers=[CodebookEntropy()])
    longer = copy.deepcopy(layer)
    with torch.no_grad():
        longer.codebook.mul_(3.0)
    z = torch.randn(4, 50, DIM)
    name = CodebookEntropy().name
    torch.testing.assert_close(layer(z).terms[name], longer(2 * z).terms[name])


@pytest.mark.parametrize("gradient", [IndexBackpropagation(), GumbelSoftmax()])
def test_estimators_of_all_codes_are_refused(gradient):
    with pytest.raises(ConfigError, match="expected a metric whose output is what it compares"):
        searched_by_angle(gradient=gradient, selection=Sampled())


def test_projected_codebooks_take_it():
    layer = ProjectedVQ(DIM, 16, 4, table=GaussianTable(seed=1), metric=CosineSearch())
    z = torch.randn(4, 50, DIM)
    index = smallest_angle(z, layer.codebook)
    output = layer.eval()(z)
    assert torch.equal(output.indices[..., 0], index)
    assert torch.equal(output.quantized, layer.codebook[index])
