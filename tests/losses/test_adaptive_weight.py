import pytest
import torch

from vqkit.errors import ConfigError
from vqkit.losses import adaptive_weight


@pytest.fixture
def last() -> torch.Tensor:
    return torch.randn(3, 4, requires_grad=True)


def test_is_the_ratio_of_gradient_norms(last):
    a, b = torch.randn(3, 4), torch.randn(3, 4)
    weight = adaptive_weight((a * last).sum(), (b * last).sum(), last)
    assert weight.item() == pytest.approx((a.norm() / (b.norm() + 1e-4)).item(), rel=1e-6)
    assert weight.dtype == torch.float32
    assert not weight.requires_grad


def test_makes_the_adversarial_gradient_as_large(last):
    reconstruction = last.square().mean()
    generator = 1e-3 * last.sin().sum()
    weight = adaptive_weight(reconstruction, generator, last, eps=0.0)
    norms = [
        torch.autograd.grad(loss, last, retain_graph=True)[0].norm()
        for loss in (reconstruction, weight * generator)
    ]
    torch.testing.assert_close(*norms)


def test_graphs_stay_usable_and_no_gradient_is_left_behind(last):
    reconstruction, generator = last.square().sum(), last.exp().sum()
    weight = adaptive_weight(reconstruction, generator, last)
    assert last.grad is None
    (reconstruction + weight * generator).backward()
    torch.testing.assert_close(last.grad, (2 * last + weight * last.exp()).detach())


def test_vanishing_gradients(last):
    nothing = (0.0 * last).sum()
    assert adaptive_weight(last.sum(), nothing, last).item() == pytest.approx(1e4)
    assert adaptive_weight(last.sum(), nothing, last, maximum=7.0).item() == 7.0
    assert adaptive_weight(nothing, nothing, last).item() == 0.0


def test_a_gradient_that_is_not_finite_is_not_hidden(last):
    broken = (last * float("nan")).sum()
    assert not adaptive_weight(broken, last.sum(), last).isfinite()


def test_names_the_loss_that_is_cut_off(last):
    other = torch.ones(2, requires_grad=True)
    with pytest.raises(ConfigError, match="expected generator_loss to depend on last_layer"):
        adaptive_weight(last.sum(), other.sum(), last)
    with pytest.raises(ConfigError, match="expected reconstruction_loss to depend on last_layer"):
        adaptive_weight(last.detach().sum(), last.sum(), last)
