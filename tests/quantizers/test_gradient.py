"""The estimators as strategies; their mathematics is tested in tests/ops/test_gradient.py."""

import pytest
import torch

from vqkit.errors import ConfigError
from vqkit.ops import rotation_trick
from vqkit.quantizers import Cosine, RotationTrick, StraightThrough, VectorQuantizer


def trained(**options) -> VectorQuantizer:
    torch.manual_seed(0)
    layer = VectorQuantizer(6, 8, **options)
    layer(torch.randn(4, 32, 6))
    return layer.eval()


def test_straight_through_passes_the_gradient_as_it_is():
    layer = trained(gradient=StraightThrough())
    z, weight = torch.randn(2, 3, 5, 6).requires_grad_(), torch.randn(3, 5, 6)
    (layer(z[0]).quantized * weight).sum().backward()
    assert torch.equal(z.grad[0], weight)


def test_rotation_trick_is_that_of_the_operation_with_its_ratio():
    layer = trained(gradient=RotationTrick(max_ratio=1.5))
    z, weight = (0.3 * torch.randn(3, 5, 6)).requires_grad_(), torch.randn(3, 5, 6)
    output = layer(z)
    (output.quantized * weight).sum().backward()
    naive = z.detach().clone().requires_grad_()
    (rotation_trick(naive, output.quantized.detach(), 1.5) * weight).sum().backward()
    torch.testing.assert_close(z.grad, naive.grad)
    free = rotation_trick(z, output.quantized.detach(), 1e9)
    assert not torch.allclose(torch.autograd.grad((free * weight).sum(), z)[0], z.grad)


@pytest.mark.parametrize("gradient", [StraightThrough(), RotationTrick()])
def test_cosine_differentiates_the_normalisation_too(gradient):
    layer = trained(metric=Cosine(), gradient=gradient)
    z, weight = (5 * torch.randn(3, 5, 6)).requires_grad_(), torch.randn(3, 5, 6)
    output = layer(z)
    (output.quantized * weight).sum().backward()
    naive = z.detach().clone().requires_grad_()
    unit = naive / naive.norm(dim=-1, keepdim=True)
    (gradient(unit, output.quantized.detach()) * weight).sum().backward()
    torch.testing.assert_close(z.grad, naive.grad)
    # The length of z has no say, so the gradient is tangent to the sphere.
    assert (z.grad * z).sum(-1).abs().max() < 1e-6


@pytest.mark.parametrize("max_ratio", [0.0, -1.0, float("nan")])
def test_a_ratio_that_is_not_positive_is_refused(max_ratio):
    with pytest.raises(ConfigError, match="max_ratio"):
        RotationTrick(max_ratio=max_ratio)
