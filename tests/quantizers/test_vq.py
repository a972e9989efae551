import copy

import pytest
import torch

from vqkit.errors import ConfigError
from vqkit.quantizers import (
    EMA,
    Cosine,
    FromData,
    GradientUpdate,
    RandomInit,
    ReplaceUnused,
    VectorQuantizer,
    VQLoss,
)

DIM = 6


def trained(**options) -> VectorQuantizer:
    layer = VectorQuantizer(DIM, 16, **options)
    for _ in range(3):
        layer(torch.randn(4, 20, DIM))
    return layer


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_indices_are_the_nearest_codes(offset):
    """Trap 17: data far from zero."""
    layer = VectorQuantizer(DIM, 64, init=FromData())
    z = 0.1 * torch.randn(4, 100, DIM) + offset
    layer(z)
    distance = torch.cdist(
        z.double(), layer.codebook.double()[None], compute_mode="donot_use_mm_for_euclid_dist"
    )
    assert torch.equal(layer.encode(z)[..., 0], distance.argmin(-1))


@pytest.mark.parametrize("update", [EMA(), GradientUpdate()])
def test_cosine_indices_are_the_smallest_angles(update):
    layer = trained(metric=Cosine(), update=update)
    z = 5 * torch.randn(4, 100, DIM)
    unit_z, unit_codes = (
        v.double() / v.double().norm(dim=-1, keepdim=True) for v in (z, layer.codebook)
    )
    assert torch.equal(layer.encode(z)[..., 0], (unit_z @ unit_codes.T).argmax(-1))
    torch.testing.assert_close(
        layer(z).quantized.norm(dim=-1), torch.ones(4, 100), rtol=1e-5, atol=0
    )


def test_the_order_is_search_loss_update():
    layer = trained(update=EMA(decay=0.5), revive=ReplaceUnused())
    layer.share[3] = 0.0
    before = copy.deepcopy(layer).eval()
    z = torch.randn(4, 20, DIM)
    output, expected = layer(z), before(z)
    assert torch.equal(output.indices, expected.indices)
    assert torch.equal(output.quantized, expected.quantized)
    assert torch.equal(output.loss, expected.loss)
    assert not torch.equal(layer.codebook, before.codebook)


def test_evaluation_gives_the_loss():
    """Trap 23."""
    layer = trained()
    z = torch.randn(4, 20, DIM)
    expected = 0.25 * (z - layer.decode(layer.encode(z))).square().mean()
    torch.testing.assert_close(layer.eval()(z).loss, expected)


def test_the_optimizer_moves_a_gradient_codebook():
    layer = trained(update=GradientUpdate(), loss=VQLoss(commitment=0.0, codebook=1.0))
    z = torch.randn(4, 20, DIM)
    first = layer(z).loss
    for _ in range(20):
        (gradient,) = torch.autograd.grad(layer(z).loss, layer.codebook)
        with torch.no_grad():
            layer.codebook -= gradient
    assert layer(z).loss < 0.9 * first


def test_an_ema_codebook_is_no_parameter():
    assert list(VectorQuantizer(DIM, 4).parameters()) == []
    assert [
        name for name, _ in VectorQuantizer(DIM, 4, update=GradientUpdate()).named_parameters()
    ] == ["codebook"]


def test_the_output_gives_the_codebook_no_gradient():
    layer = trained(update=GradientUpdate())
    z = torch.randn(4, 20, DIM, requires_grad=True)
    layer(z).quantized.sum().backward()
    assert layer.codebook.grad is None or not layer.codebook.grad.any()
    assert z.grad.any()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 3e38])
def test_a_batch_that_is_not_finite_is_counted_and_moves_nothing(bad):
    """Trap 20: one NaN poisons a codebook for ever. So does a square that overflows."""
    layer = trained(revive=ReplaceUnused())
    layer.share[:] = 0.0  # would all be revived
    before = copy.deepcopy(layer.state_dict())
    z = torch.randn(4, 20, DIM)
    z[2, 3] = bad
    layer(z)
    for name, value in layer.state_dict().items():
        expected = before[name] + 1 if name == "skipped_batches" else before[name]
        assert torch.equal(value, expected), name
    layer(torch.randn(4, 20, DIM))
    assert layer.codebook.isfinite().all()
    assert int(layer.skipped_batches) == 1


def test_a_bad_first_batch_does_not_initialise():
    layer = VectorQuantizer(DIM, 8, init=FromData(batches=2))
    layer(torch.full((1, 20, DIM), float("nan")))
    assert int(layer.num_collected) == 0
    assert len(layer.pending) == 0


def test_bad_sizes_are_refused():
    for dim, codebook_size in ((0, 4), (4, 1), (4, 0)):
        with pytest.raises(ConfigError, match=f"got {dim} and {codebook_size}"):
            VectorQuantizer(dim, codebook_size)


def test_arguments_are_kept():
    options = {
        "metric": Cosine(),
        "update": EMA(0.9),
        "init": RandomInit(),
        "revive": ReplaceUnused(),
        "loss": VQLoss.encodec(),
    }
    layer = VectorQuantizer(DIM, 8, **options)
    for name, value in options.items():
        assert getattr(layer, name) is value
    assert layer.bits_per_position == 3.0
    assert "Cosine" in repr(layer)
