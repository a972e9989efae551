import copy

import pytest
import torch

from vqkit.errors import ConfigError, ShapeError
from vqkit.quantizers import FSQ, Factorized, Residual, Split, VectorQuantizer

DIM = 6


def split(level_dropout=0.0, depth=3):
    return Split(
        Factorized(VectorQuantizer(3, 8), DIM),
        Factorized(Residual(VectorQuantizer(3, 8), depth, level_dropout), DIM),
    )


def trained(layer):
    for _ in range(6):
        layer(torch.randn(4, 32, DIM))
    return layer


def test_is_the_sum_of_two_quantizers_of_the_same_input():
    """In value, loss and every gradient."""
    layer = trained(split())
    naive = copy.deepcopy(layer)
    z, weight = torch.randn(2, 5, DIM, requires_grad=True), torch.randn(2, 5, DIM)
    other = z.detach().clone().requires_grad_()
    output = layer(z)
    ((output.quantized * weight).sum() + output.loss).backward()
    semantic, acoustic = naive.semantic(other), naive.acoustic(other)
    quantized = semantic.quantized + acoustic.quantized
    # One codebook against three.
    loss = (semantic.loss + 3 * acoustic.loss) / 4
    ((quantized * weight).sum() + loss).backward()
    assert torch.equal(output.quantized, quantized)
    assert torch.equal(output.indices, torch.cat([semantic.indices, acoustic.indices], -1))
    torch.testing.assert_close(output.loss, loss)
    torch.testing.assert_close(z.grad, other.grad)
    for mine, theirs in zip(layer.parameters(), naive.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)


def test_prefixes_decode_from_the_semantic_token_on():
    layer = trained(split())
    indices = layer.encode(torch.randn(2, 5, DIM))
    semantic = layer.semantic.decode(indices[..., :1])
    assert torch.equal(layer.decode(indices[..., :1]), semantic)
    for num in (1, 2, 3):
        acoustic = layer.acoustic.decode(indices[..., 1 : 1 + num])
        assert torch.equal(layer.decode(indices[..., : 1 + num]), semantic + acoustic)
    with pytest.raises(ShapeError):
        layer.decode(indices[..., :0])


def test_level_dropout_leaves_the_semantic_token():
    layer = trained(split(level_dropout=1.0))
    output = layer(torch.randn(300, 1, DIM))
    used = output.indices[:, 0] >= 0
    assert used[:, :2].all()
    assert {int(n) for n in used.sum(-1)} == {2, 3, 4}


def test_trap_4_every_level_has_a_commitment_gradient():
    layer = trained(split())
    z = torch.randn(2, 5, DIM, requires_grad=True)
    output = layer(z)
    assert {name for name in output.terms if "commitment" in name} == {
        "semantic_commitment",
        *(f"acoustic_commitment_{i}" for i in range(3)),
    }
    (gradient,) = torch.autograd.grad(output.loss, layer.acoustic.project_in.weight)
    alone = copy.deepcopy(layer)
    (first,) = torch.autograd.grad(
        alone.acoustic.inner.levels[0](alone.acoustic.project_in(z)).loss / 4,
        alone.acoustic.project_in.weight,
    )
    assert not torch.allclose(gradient, first, rtol=1e-3)


def test_trap_29_minus_one_adds_nothing():
    layer = trained(split())
    indices = layer.encode(torch.randn(2, 5, DIM))
    semantic = layer.decode(indices[..., :1])
    indices[..., 1:] = -1
    assert torch.equal(layer.decode(indices), semantic)
    assert not layer.decode(torch.full_like(indices, -1)).any()


def test_a_square_that_overflows_for_one_part_stops_both():
    layer = Split(VectorQuantizer(DIM, 4), Factorized(VectorQuantizer(3, 4), DIM))
    trained(layer)
    with torch.no_grad():
        layer.acoustic.project_in.weight.mul_(1e-20)
    before = copy.deepcopy(layer.state_dict())
    layer(torch.full((1, 4, DIM), 1e20))
    changed = [n for n, v in layer.state_dict().items() if not torch.equal(v, before[n])]
    assert sorted(changed) == ["acoustic.inner.skipped_batches", "semantic.skipped_batches"]


def test_parts_of_different_width_are_refused():
    with pytest.raises(ConfigError, match="one dim, got 2 and 3"):
        Split(FSQ([5, 5]), FSQ([5, 5, 5]))
