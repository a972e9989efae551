import copy

import pytest
import torch

from vqkit.errors import ConfigError, ShapeError
from vqkit.quantizers import EMA, DualCodebook, Factorized, Residual, VectorQuantizer

DIM, VISIBLE, HIDDEN = 4, 16, 6


def dual():
    return DualCodebook(
        VectorQuantizer(DIM, VISIBLE, update=EMA(0.5)),
        VectorQuantizer(DIM, HIDDEN, update=EMA(0.5)),
    )


def trained(layer, steps=3):
    for _ in range(steps):
        layer(torch.randn(4, 32, layer.dim), hidden=torch.rand(4, 32) < 0.4)
    return layer


def test_indices_tell_the_codebook():
    layer = trained(dual())
    assert layer.codebook_sizes == (VISIBLE + HIDDEN,)
    z, hidden = torch.randn(2, 3, 4, DIM), torch.rand(2, 3, 4) < 0.5
    for indices in (layer.encode(z, hidden=hidden), layer(z, hidden=hidden).indices):
        assert torch.equal(indices[..., 0] >= VISIBLE, hidden)
    assert (layer.encode(z) < VISIBLE).all()


def test_hidden_positions_do_not_change_visible_indices():
    layer = trained(dual())
    z, hidden = torch.randn(2, 9, DIM), torch.rand(2, 9) < 0.5
    other = torch.where(hidden[..., None], torch.randn_like(z) * 5, z)
    a, b = layer.encode(z, hidden=hidden), layer.encode(other, hidden=hidden)
    assert torch.equal(a[~hidden], b[~hidden])
    assert not torch.equal(a[hidden], b[hidden])


@pytest.mark.parametrize("masked", [False, True])
def test_each_codebook_is_a_quantizer_of_its_own_positions(masked):
    """In value, loss, gradient and state."""
    layer = trained(dual())
    parts = copy.deepcopy(layer.visible), copy.deepcopy(layer.hidden)
    z, weight = torch.randn(2, 9, DIM, requires_grad=True), torch.randn(2, 9, DIM)
    hidden = torch.rand(2, 9) < 0.5
    mask = torch.rand(2, 9) < 0.7 if masked else torch.ones(2, 9, dtype=torch.bool)
    output = layer(z, mask if masked else None, hidden)
    ((output.quantized * weight).sum() + output.loss).backward()
    total, num = 0.0, 0
    other = z.detach().clone().requires_grad_()
    for part, own, offset in zip(parts, (mask & ~hidden, mask & hidden), (0, VISIBLE), strict=True):
        expected = part(other[own][None])
        assert torch.equal(output.quantized[own], expected.quantized[0])
        assert torch.equal(output.indices[own], expected.indices[0] + offset)
        total = total + (expected.quantized[0] * weight[own]).sum()
        total = total + expected.loss * own.sum() / mask.sum()
        num += int(own.sum())
    assert num == int(mask.sum())
    total.backward()
    torch.testing.assert_close(z.grad, other.grad)
    for part, mine in zip(parts, (layer.visible, layer.hidden), strict=True):
        torch.testing.assert_close(mine.state_dict(), part.state_dict())


def test_decode_needs_no_mask():
    for layer in (
        dual(),
        DualCodebook(Factorized(VectorQuantizer(2, 8), DIM), Residual(VectorQuantizer(DIM, 4), 1)),
    ):
        trained(layer).eval()
        z, hidden = torch.randn(2, 9, DIM), torch.rand(2, 9) < 0.5
        assert torch.equal(
            layer.decode(layer.encode(z, hidden=hidden)), layer(z, hidden=hidden).quantized
        )


def test_the_hidden_codebook_waits_for_its_first_positions():
    layer = dual()
    layer(torch.randn(4, 32, DIM))
    assert layer.initialized
    assert not layer.hidden.initialized
    layer(torch.randn(4, 32, DIM), hidden=torch.ones(4, 32, dtype=torch.bool))
    assert layer.hidden.initialized


def test_a_bad_hidden_position_stops_both():
    layer = trained(dual())
    before = copy.deepcopy(layer.state_dict())
    z, hidden = torch.randn(2, 9, DIM), torch.zeros(2, 9, dtype=torch.bool)
    z[0, 0, 0], hidden[0, 0] = float("nan"), True
    layer(z, hidden=hidden)
    changed = [n for n, v in layer.state_dict().items() if not torch.equal(v, before[n])]
    assert sorted(changed) == ["hidden.skipped_batches", "visible.skipped_batches"]


def test_wrong_arguments_are_refused():
    with pytest.raises(ConfigError, match="dim 4 and 3"):
        DualCodebook(VectorQuantizer(4, 4), VectorQuantizer(3, 4))


@pytest.mark.usefixtures("unchecked_shapes")
def test_a_wrong_hidden_mask_is_refused():
    layer = dual()
    for wrong in (torch.ones(1, 3, dtype=torch.bool), torch.ones(1, 2)):
        with pytest.raises(ShapeError, match="hidden: expected a boolean"):
            layer(torch.zeros(1, 2, DIM), hidden=wrong)
        with pytest.raises(ShapeError, match="hidden: expected a boolean"):
            layer.encode(torch.zeros(1, 2, DIM), hidden=wrong)
