import copy

import pytest
import torch

from vqkit.errors import ConfigError, ShapeError
from vqkit.quantizers import (
    EMA,
    Factorized,
    Grouped,
    MultiScaleResidual,
    RandomInit,
    Residual,
    RotationTrick,
    VectorQuantizer,
)

WIDTH, GROUPS = 3, 4
DIM = WIDTH * GROUPS


def trained(layer, steps=3):
    for _ in range(steps):
        layer(torch.randn(4, 32, layer.dim))
    return layer


@pytest.mark.parametrize(
    "inner",
    [
        VectorQuantizer(WIDTH, 16),
        VectorQuantizer(WIDTH, 16, gradient=RotationTrick()),
        Factorized(VectorQuantizer(2, 16), WIDTH),
    ],
    ids=["vq", "rotation trick", "factorized"],
)
def test_each_group_is_quantized_by_itself(inner):
    """In value, loss, every gradient and state."""
    layer = trained(Grouped(inner, GROUPS))
    parts = copy.deepcopy(layer.parts)
    z, weight = torch.randn(2, 5, DIM, requires_grad=True), torch.randn(2, 5, DIM)
    naive = z.detach().clone().requires_grad_()
    output = layer(z)
    ((output.quantized * weight).sum() + output.loss).backward()
    outputs = [part(x) for part, x in zip(parts, naive.split(WIDTH, -1), strict=True)]
    quantized = torch.cat([o.quantized for o in outputs], -1)
    loss = sum(o.loss for o in outputs) / GROUPS
    ((quantized * weight).sum() + loss).backward()
    assert torch.equal(output.quantized, quantized)
    assert torch.equal(output.indices, torch.cat([o.indices for o in outputs], -1))
    torch.testing.assert_close(output.loss, loss)
    torch.testing.assert_close(z.grad, naive.grad)
    for mine, theirs in zip(layer.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)
    for mine, theirs in zip(layer.buffers(), parts.buffers(), strict=True):
        assert torch.equal(mine, theirs)


def test_the_loss_is_that_of_the_whole_vector():
    layer = trained(Grouped(VectorQuantizer(WIDTH, 16), GROUPS)).eval()
    z = torch.randn(2, 5, DIM)
    output = layer(z)
    torch.testing.assert_close(output.loss, 0.25 * (z - output.quantized).square().mean())


def test_groups_start_differently():
    layer = Grouped(VectorQuantizer(WIDTH, 16, init=RandomInit()), GROUPS)
    assert not torch.equal(layer.parts[0].codebook, layer.parts[1].codebook)


def test_nested_in_factorized_inside_residual_the_gradient_reaches_the_projections():
    layer = trained(Residual(Factorized(Grouped(VectorQuantizer(WIDTH, 8), 2), 8), 2))
    layer(torch.randn(2, 5, 8)).quantized.square().sum().backward()
    assert layer.inner.project_in.weight.grad.any()
    assert layer.inner.project_out.weight.grad.any()


def test_trap_31_a_shared_codebook_learns_once_from_all_groups():
    layer = trained(Grouped(VectorQuantizer(WIDTH, 16, update=EMA(0.5)), GROUPS, shared=True))
    naive = copy.deepcopy(layer.inner)
    frozen = copy.deepcopy(layer).eval()
    z = torch.randn(2, 5, DIM)
    output, expected = layer(z), frozen(z)
    assert torch.equal(output.indices, expected.indices)
    assert torch.equal(output.quantized, expected.quantized)
    rows = naive(z.reshape(2, 5 * GROUPS, WIDTH))
    assert torch.equal(output.indices, rows.indices.reshape(2, 5, GROUPS))
    for mine, theirs in zip(layer.inner.buffers(), naive.buffers(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_shared_codebook_sees_a_mask_once_per_group():
    layer = trained(Grouped(VectorQuantizer(WIDTH, 16), GROUPS, shared=True))
    naive = copy.deepcopy(layer)
    z, mask = torch.randn(2, 5, DIM), torch.rand(2, 5) < 0.5
    output = layer(z, mask)
    naive(z[mask][None])
    torch.testing.assert_close(layer.state_dict(), naive.state_dict())
    assert (output.indices[~mask] == -1).all()
    assert not output.quantized[~mask].any()


def test_grouped_residual_is_residual_grouped():
    """HiFi-Codec's groups of residual quantizers, with the indices level by level."""
    levels = trained(Residual(Grouped(VectorQuantizer(WIDTH, 8), 2), 3), 6).eval()
    groups = Grouped(Residual(VectorQuantizer(WIDTH, 8), 3), 2).eval()
    for g in range(2):
        for i in range(3):
            groups.parts[g].levels[i].load_state_dict(levels.levels[i].parts[g].state_dict())
    z = torch.randn(2, 5, 2 * WIDTH)
    a, b = levels(z), groups(z)
    torch.testing.assert_close(a.quantized, b.quantized)
    assert torch.equal(a.indices, b.indices.reshape(2, 5, 2, 3).movedim(-1, -2).reshape(2, 5, 6))
    errors = [(levels.decode(a.indices[..., :n]) - z).square().mean().item() for n in (2, 4, 6)]
    assert errors == sorted(errors, reverse=True)


def test_trap_28_dropped_levels_are_those_of_all_groups():
    layer = trained(Residual(Grouped(VectorQuantizer(WIDTH, 8), 2), 3, level_dropout=1.0), 6)
    indices = layer(torch.randn(600, 1, 2 * WIDTH)).indices[:, 0] >= 0
    assert torch.equal(indices[:, 0::2], indices[:, 1::2])
    counts = torch.bincount(indices[:, 0::2].sum(-1), minlength=4)
    assert counts[0] == 0
    assert counts[1:].min() > 160


def test_trap_15_layouts_masks_and_projections():
    for shared in (False, True):
        layer = trained(Factorized(Grouped(VectorQuantizer(WIDTH, 8), 2, shared=shared), 8))
        for shape in [(2, 4), (2, 4, 4), (1, 2, 3, 4)]:
            z = torch.randn(*shape, 8)
            output = layer(z, torch.rand(shape) < 0.7)
            assert output.indices.shape == (*shape, 2)
            assert layer.decode(output.indices).shape == z.shape


def test_a_bad_value_in_one_group_stops_all():
    layer = trained(Grouped(VectorQuantizer(WIDTH, 16), GROUPS))
    before = copy.deepcopy(layer.state_dict())
    z = torch.randn(2, 5, DIM)
    z[0, 0, -1] = float("nan")
    layer(z)
    for name, value in layer.state_dict().items():
        if "skipped" in name:
            assert value == before[name] + 1
        else:
            assert torch.equal(value, before[name]), name


def test_wrong_arguments_are_refused():
    with pytest.raises(ConfigError, match="groups: expected >= 1, got 0"):
        Grouped(VectorQuantizer(2, 4), 0)
    with pytest.raises(ConfigError, match="single positions, got MultiScaleResidual"):
        Grouped(MultiScaleResidual(VectorQuantizer(2, 4), [[1], [4]]), 2)
    with pytest.raises(ShapeError, match="4 codebooks"):
        Grouped(VectorQuantizer(2, 4), 4).decode(torch.zeros(1, 2, 3, dtype=torch.int64))
