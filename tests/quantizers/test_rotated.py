import copy

import pytest
import torch

from vqkit.errors import ConfigError
from vqkit.quantizers import (
    EMA,
    FSQ,
    Grouped,
    RandomRotation,
    Residual,
    Rotated,
    VectorQuantizer,
)
from vqkit.quantizers.rotated import procrustes

DIM = 8


def product(decay=0.8):
    return Grouped(VectorQuantizer(2, 16, update=EMA(decay)), 4)


def correlated(seed):
    """Feature i + 4 nearly repeats feature i: of eight dimensions four carry the variance."""
    generator = torch.Generator().manual_seed(seed)
    half = torch.randn(4, 128, DIM // 2, generator=generator)
    return torch.cat([half, half], -1) + 0.05 * torch.randn(4, 128, DIM, generator=generator)


def distortion(layer, steps):
    for step in range(steps):
        layer(correlated(step))
    z = correlated(10**6)
    return float((layer.eval()(z).quantized - z).square().mean())


@pytest.mark.slow
def test_on_correlated_data_the_rotation_lowers_the_distortion():
    plain = distortion(product(), 100)
    fixed = distortion(Rotated(product(), every=0, init=RandomRotation()), 100)
    learned = distortion(Rotated(product(), every=5, init=RandomRotation()), 100)
    assert learned < 0.6 * plain
    assert learned < 0.8 * fixed


def test_the_rotation_stays_orthogonal():
    layer = Rotated(product(), every=2)
    for step in range(20):
        layer(correlated(step))
    assert not torch.allclose(layer.rotation, torch.eye(DIM), atol=1e-2)
    torch.testing.assert_close(layer.rotation @ layer.rotation.T, torch.eye(DIM), rtol=0, atol=2e-6)


def test_random_rotations_are_orthogonal_and_of_both_signs():
    signs = set()
    for _ in range(20):
        rotation = RandomRotation()(4)
        torch.testing.assert_close(rotation @ rotation.T, torch.eye(4), rtol=0, atol=1e-5)
        signs.add(round(float(torch.linalg.det(rotation))))
    assert signs == {-1, 1}


def test_procrustes_never_increases_the_error_and_finds_a_known_rotation():
    for _ in range(10):
        x, y = torch.randn(50, 5).double(), torch.randn(50, 5).double()
        best = procrustes(x.T @ y)
        error = (x @ best - y).square().sum()
        for _ in range(20):
            other = torch.linalg.qr(torch.randn(5, 5).double())[0]
            assert error <= (x @ other - y).square().sum() + 1e-9
    turn = torch.linalg.qr(torch.randn(5, 5).double())[0]
    torch.testing.assert_close(procrustes(x.T @ (x @ turn)), turn)


def test_a_step_is_procrustes_on_the_codes_of_the_pass():
    """Naive: all inputs and their codes, weighted as the moving average does."""
    layer = Rotated(product(), every=3, decay=0.5)
    layer(correlated(0))
    layer.num_steps.zero_()
    layer.covariance.zero_()
    pairs = []
    for step in range(3):
        before = copy.deepcopy(layer)
        z = correlated(step)
        output = layer(z)
        pairs.append((z.flatten(0, 1), before.inner.decode(output.indices).flatten(0, 1)))
    total = sum(0.5 ** (2 - i) * x.T @ q for i, (x, q) in enumerate(pairs))
    torch.testing.assert_close(layer.rotation, procrustes(total).float(), rtol=1e-4, atol=1e-4)
    new = sum(
        ((x @ layer.rotation - q) ** 2).sum() * 0.5 ** (2 - i) for i, (x, q) in enumerate(pairs)
    )
    old = sum(((x - q) ** 2).sum() * 0.5 ** (2 - i) for i, (x, q) in enumerate(pairs))
    assert new <= old


def test_is_the_inner_quantizer_of_the_turned_input():
    layer = Rotated(product(), every=0, init=RandomRotation())
    layer(correlated(0))
    naive = copy.deepcopy(layer.inner)
    z, weight = torch.randn(2, 5, DIM, requires_grad=True), torch.randn(2, 5, DIM)
    other = z.detach().clone().requires_grad_()
    output = layer(z)
    ((output.quantized * weight).sum() + output.loss).backward()
    inner = naive(other @ layer.rotation)
    quantized = inner.quantized @ layer.rotation.T
    ((quantized * weight).sum() + inner.loss).backward()
    assert torch.equal(output.quantized, quantized)
    assert torch.equal(output.indices, inner.indices)
    torch.testing.assert_close(z.grad, other.grad)


def test_a_pass_uses_the_rotation_before_it():
    layer = Rotated(product(), every=1)
    layer(correlated(0))
    before = copy.deepcopy(layer).eval()
    output = layer(correlated(1))
    assert not torch.equal(layer.rotation, before.rotation)
    assert torch.equal(output.quantized, before(correlated(1)).quantized)


def test_a_bad_batch_does_not_turn():
    layer = Rotated(product(), every=1)
    layer(correlated(0))
    rotation = layer.rotation.clone()
    z = correlated(1)
    z[0, 0, 0] = float("inf")
    layer(z)
    assert torch.equal(layer.rotation, rotation)
    assert layer.skipped_batches == 1


def test_masked_vectors_do_not_turn():
    layer = Rotated(product(), every=1)
    layer(correlated(0))
    other = copy.deepcopy(layer)
    z, mask = correlated(1), torch.ones(4, 128, dtype=torch.bool)
    mask[:, 100:] = False
    layer(z, mask)
    other(z[:, :100])
    torch.testing.assert_close(layer.rotation, other.rotation)


def test_wrong_arguments_are_refused():
    with pytest.raises(ConfigError, match="every >= 0 and 0 <= decay < 1, got -1"):
        Rotated(product(), every=-1)


def test_levels_of_a_residual_quantizer_inside_decode_alone():
    torch.manual_seed(0)
    layer = Rotated(Residual(FSQ([5, 5], symmetric=True, bound="clamp"), 3, level_scale=0.25))
    z = 0.9 * (2 * torch.rand(4, 50, 2) - 1)
    indices = layer.eval().encode(z)
    errors = [float((layer.decode(indices[..., :n]) - z).square().mean()) for n in (1, 2, 3)]
    assert errors == sorted(errors, reverse=True)
