import copy

import pytest
import torch

from vqkit.errors import ConfigError
from vqkit.quantizers import EMA, FSQ, Affine, GradientUpdate, RandomInit, Residual, VectorQuantizer

DIM = 4
OFFSET, SPREAD = torch.tensor([100.0, -5.0, 0.0, 3.0]), torch.tensor([0.1, 2.0, 30.0, 1.0])


def batch(*shape):
    return torch.randn(*shape, DIM) * SPREAD + OFFSET


def trained(inner=None, steps=3, decay=0.9):
    layer = Affine(inner or VectorQuantizer(DIM, 16, update=EMA(0.5)), decay)
    for _ in range(steps):
        layer(batch(8, 32))
    return layer


@pytest.mark.parametrize("update", [EMA(0.5), GradientUpdate()], ids=["ema", "gradient"])
def test_is_a_quantizer_with_the_codebook_mean_plus_std_times_code(update):
    """Naive: the explicit codebook, features compared in units of their deviation."""
    layer = trained(VectorQuantizer(DIM, 16, update=update, init=RandomInit(1.0)))
    mean, std = layer.mean.clone(), layer.variance.sqrt()
    raw = layer.inner.codebook.detach().clone().requires_grad_()
    codebook = mean + std * raw
    z, weight = batch(2, 9).requires_grad_(), torch.randn(2, 9, DIM)
    output = layer(z)
    ((output.quantized * weight).sum() + output.loss).backward()
    other = z.detach().clone().requires_grad_()
    difference = (other.detach()[:, :, None] - codebook) / std
    indices = difference.square().sum(-1).argmin(-1)
    codes = codebook[indices]
    scaled = ((other - codes.detach()) / std).square().mean()
    loss = 0.25 * scaled
    if isinstance(update, GradientUpdate):
        loss = loss + ((other.detach() - codes) / std).square().mean()
    quantized = other + (codes - other).detach()
    ((quantized * weight).sum() + loss).backward()
    assert torch.equal(output.indices[..., 0], indices)
    torch.testing.assert_close(output.quantized, codes, rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(output.loss, loss, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(z.grad, other.grad, rtol=1e-4, atol=1e-4)
    if isinstance(update, GradientUpdate):
        torch.testing.assert_close(layer.inner.codebook.grad, raw.grad, rtol=1e-3, atol=1e-5)


def test_statistics_are_moving_averages_that_begin_with_the_first_batch():
    layer = Affine(VectorQuantizer(DIM, 16), decay=0.75)
    first, second = batch(8, 32), 2 * batch(8, 32)
    moments = [
        (z.flatten(0, 1).mean(0), z.flatten(0, 1).var(0, correction=0)) for z in (first, second)
    ]
    layer(first)
    torch.testing.assert_close((layer.mean, layer.variance), moments[0], rtol=1e-4, atol=1e-5)
    layer(second)
    for value, a, b in zip((layer.mean, layer.variance), *moments, strict=True):
        torch.testing.assert_close(value, 0.75 * a + 0.25 * b, rtol=1e-4, atol=1e-5)


def test_the_first_batch_initialises_the_codebook_in_standard_units():
    layer = trained(steps=1)
    assert layer.initialized
    assert layer.inner.codebook.abs().max() < 5.0


def test_a_pass_uses_the_statistics_before_it():
    layer = trained()
    frozen = copy.deepcopy(layer).eval()
    z = 2 * batch(2, 9)
    output, expected = layer(z), frozen(z)
    assert torch.equal(output.indices, expected.indices)
    assert torch.equal(output.quantized, expected.quantized)
    assert not torch.equal(layer.mean, frozen.mean)


def test_trap_21_evaluation_moves_nothing_and_a_strict_reload_is_exact():
    layer = trained()
    before = copy.deepcopy(layer.state_dict())
    z = 3 * batch(2, 9)
    with torch.no_grad():
        layer(z)
    layer.encode(z)
    layer.eval()(z)
    for name, value in layer.state_dict().items():
        assert torch.equal(value, before[name]), name
    fresh = Affine(VectorQuantizer(DIM, 16, update=EMA(0.5)), 0.9).eval()
    fresh(z)
    fresh.load_state_dict(before, strict=True)
    assert fresh.initialized
    assert torch.equal(fresh(z).quantized, layer(z).quantized)
    fresh.train()(z)
    layer.train()(z)
    for name, value in layer.state_dict().items():
        assert torch.equal(value, fresh.state_dict()[name]), name


def test_codes_that_nobody_uses_follow_the_inputs():
    layer = trained(VectorQuantizer(DIM, 16, update=EMA(0.5)), decay=0.0)
    every = torch.arange(16)[None, :, None]
    before = layer.decode(every)
    # One vector of the old batch, moved far away: most codes get nothing.
    layer(batch(8, 32) + 1000.0 * SPREAD)
    assert ((layer.decode(every) - before) / SPREAD).min() > 500.0


def test_masked_vectors_are_not_counted():
    layer, other = trained(), trained()
    other.load_state_dict(layer.state_dict())
    z, mask = batch(2, 9), torch.rand(2, 9) < 0.5
    layer(z, mask)
    other(z[mask][None])
    torch.testing.assert_close(layer.mean, other.mean)
    torch.testing.assert_close(layer.variance, other.variance)


def test_trap_29_no_token_is_zero_not_the_mean():
    layer = trained(Residual(VectorQuantizer(DIM, 8), 2), 6)
    assert not layer.decode(torch.full((1, 3, 2), -1)).any()
    indices = layer.encode(batch(1, 3))
    expected = layer.mean + layer.variance.sqrt() * layer.inner.decode(indices[..., :1])
    dropped = indices.clone()
    dropped[..., 1] = -1
    torch.testing.assert_close(layer.decode(dropped), expected)


def test_a_feature_that_does_not_vary():
    layer = Affine(FSQ([5] * DIM))
    z = batch(2, 9)
    z[..., 0] = 7.0
    for _ in range(3):
        output = layer(z)
    assert output.quantized.isfinite().all()
    torch.testing.assert_close(output.quantized[..., 0], z[..., 0])


def test_a_bad_batch_is_counted_and_changes_nothing():
    layer = trained()
    before = copy.deepcopy(layer.state_dict())
    layer(torch.full((1, 4, DIM), 1e30))
    changed = [n for n, v in layer.state_dict().items() if not torch.equal(v, before[n])]
    assert sorted(changed) == ["inner.skipped_batches", "skipped_batches"]


def test_wrong_arguments_are_refused():
    with pytest.raises(ConfigError, match=r"decay < 1, got 1\.0"):
        Affine(VectorQuantizer(DIM, 4), decay=1.0)


def test_levels_of_a_residual_quantizer_inside_decode_alone():
    inner = Residual(VectorQuantizer(4, 16), depth=3)
    layer = Affine(inner)
    z = 5.0 + 2.0 * torch.randn(4, 50, 4)
    for _ in range(4):
        layer(z)
    indices = layer.eval().encode(z)
    errors = [float((layer.decode(indices[..., :n]) - z).square().mean()) for n in (1, 2, 3)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] < float(z.var())
