import copy
import math

import pytest
import torch
from torch.nn import functional as F

from vqkit.errors import ConfigError
from vqkit.quantizers import (
    FSQ,
    NO_TOKEN,
    Cosine,
    Factorized,
    GradientUpdate,
    Residual,
    RotationTrick,
    VectorQuantizer,
)

DIM = 12


def inner_quantizers():
    return {
        "fsq": FSQ([5, 4, 3]),
        "vq": VectorQuantizer(3, 16),
        "cosine": VectorQuantizer(3, 16, metric=Cosine(), update=GradientUpdate()),
        "rotation": VectorQuantizer(3, 16, gradient=RotationTrick()),
        "residual": Residual(VectorQuantizer(3, 8), 2),
    }


@pytest.fixture(params=inner_quantizers().keys())
def layer(request) -> Factorized:
    torch.manual_seed(0)
    layer = Factorized(inner_quantizers()[request.param], DIM)
    for _ in range(3):
        layer(torch.randn(4, 32, DIM))
    return layer


def linear(layer, x):
    return F.linear(x, layer.weight, layer.bias)


def test_is_the_inner_quantizer_between_two_projections(layer):
    """In value, indices, loss and every gradient."""
    z, weight = torch.randn(2, 7, DIM, requires_grad=True), torch.randn(2, 7, DIM)
    naive, naive_z = copy.deepcopy(layer), z.detach().clone().requires_grad_()
    output = layer(z)
    ((output.quantized * weight).sum() + output.loss).backward()
    inner = naive.inner(linear(naive.project_in, naive_z))
    quantized = linear(naive.project_out, inner.quantized)
    ((quantized * weight).sum() + inner.loss).backward()
    assert torch.equal(output.quantized, quantized)
    assert torch.equal(output.indices, inner.indices)
    assert torch.equal(output.loss, inner.loss)
    torch.testing.assert_close(z.grad, naive_z.grad)
    for (name, mine), theirs in zip(layer.named_parameters(), naive.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, msg=name)


def test_decode_goes_through_the_projection(layer):
    """Trap 14: a lookup in the table before the projection is off by its own size."""
    z = torch.randn(2, 7, DIM)
    indices = layer.encode(z)
    assert layer.decode(indices).shape == (2, 7, DIM)
    assert torch.equal(layer.decode(indices), layer.eval()(z).quantized)
    expected = linear(layer.project_out, layer.inner.decode(indices))
    torch.testing.assert_close(layer.decode(indices), expected)


def test_any_grid(layer):
    """Trap 15: a projection and an image layout together."""
    z = torch.randn(2, 3, 5, DIM)
    flat = layer.eval()(z.reshape(2, 15, DIM))
    grid = layer(z)
    assert grid.indices.shape[:3] == (2, 3, 5)
    assert torch.equal(grid.quantized.reshape(2, 15, DIM), flat.quantized)
    assert torch.equal(layer.decode(grid.indices), grid.quantized)


def test_no_token_gives_zero_despite_the_bias(layer):
    indices = layer.encode(torch.randn(1, 4, DIM))
    indices[0, 1] = NO_TOKEN
    decoded = layer.decode(indices)
    assert not decoded[0, 1].any()
    assert decoded[0, 0].any()
    assert layer.project_out.bias.any()


def test_a_nan_changes_nothing_inside(layer):
    before = copy.deepcopy(layer.state_dict())
    z = torch.randn(2, 7, DIM)
    z[0, 0, 0] = math.nan
    layer(z)
    for name, value in layer.state_dict().items():
        if "skipped" not in name:
            assert torch.equal(value, before[name]), name


def test_reset_draws_the_projections_anew():
    layer = Factorized(FSQ([4, 4]), DIM)
    before = layer.project_in.weight.clone()
    layer.reset_parameters()
    assert not torch.equal(layer.project_in.weight, before)


def test_a_bad_dim_is_refused():
    with pytest.raises(ConfigError, match="expected >= 1, got 0"):
        Factorized(FSQ([4]), 0)


def test_projections_without_bias():
    layer = Factorized(VectorQuantizer(3, 16), DIM, bias=False)
    assert [name for name, _ in layer.named_parameters()] == [
        "project_in.weight",
        "project_out.weight",
    ]
    layer(torch.randn(4, 32, DIM))
    z = torch.randn(4, 32, DIM)
    low = z @ layer.project_in.weight.T
    index = torch.cdist(low, layer.inner.codebook).argmin(-1)
    output = layer.eval()(z)
    assert torch.equal(output.indices[..., 0], index)
    expected = layer.inner.codebook[index] @ layer.project_out.weight.T
    torch.testing.assert_close(output.quantized, expected)
    assert not layer.decode(torch.full((1, 5, 1), NO_TOKEN)).any()
