import pytest
import torch

from vqkit.errors import ConfigError
from vqkit.quantizers import Bypass, Residual, VectorQuantizer


def around(layer: Bypass, z: torch.Tensor) -> torch.Tensor:
    return (layer(z).quantized == z).flatten(1).all(1)


def test_half_of_the_items_go_around_with_their_true_gradient():
    torch.manual_seed(0)
    layer = Bypass(VectorQuantizer(4, 16))
    z = torch.randn(400, 5, 4, requires_grad=True)
    output = layer(z)
    passed = (output.quantized == z).flatten(1).all(1)
    assert float(passed.float().mean()) == pytest.approx(0.5, abs=0.1)
    assert torch.equal(output.quantized[passed], z[passed])
    output.quantized.square().sum().backward()
    torch.testing.assert_close(z.grad[passed], 2 * z.detach()[passed])
    assert (z.grad[~passed] - 2 * z.detach()[~passed]).abs().max() > 0.1


def test_codebook_loss_and_tokens_know_of_no_difference():
    torch.manual_seed(0)
    inner = Residual(VectorQuantizer(4, 16), depth=2)
    for _ in range(3):
        inner(torch.randn(8, 16, 4))
    layer = Bypass(inner, probability=1.0)
    z = torch.randn(6, 7, 4)
    before = [level.codebook.clone() for level in inner.levels]
    output = layer(z)
    assert torch.equal(output.quantized, z)
    assert output.loss > 0
    assert (output.indices >= 0).all()
    moved = [level.codebook for level in inner.levels]
    assert not any(torch.equal(old, new) for old, new in zip(before, moved, strict=True))


def test_in_evaluation_nothing_goes_around():
    layer = Bypass(VectorQuantizer(4, 16), probability=1.0)
    z = torch.randn(6, 7, 4)
    assert around(layer, z).all()
    layer.eval()
    assert not around(layer, z).any()
    assert torch.equal(layer.decode(layer.encode(z)), layer(z).quantized)


def test_bad_arguments():
    with pytest.raises(ConfigError, match="probability"):
        Bypass(VectorQuantizer(4, 16), probability=1.5)
