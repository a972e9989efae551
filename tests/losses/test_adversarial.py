"""Adversarial losses: closed forms, and the right way round (real up, fake down)."""

import math

import pytest
import torch

from vqkit.errors import ShapeError
from vqkit.losses import Hinge, LeastSquares, Mixed, NonSaturating

LOSSES = [Hinge(), NonSaturating(), LeastSquares()]
REAL = [-2.0, 0.25, 0.5, 3.0]
FAKE = [-3.0, -0.5, 0.5, 2.0]


def softplus(value: float) -> float:
    return math.log1p(math.exp(value))


DISCRIMINATOR = {
    Hinge: (lambda real: max(0.0, 1 - real), lambda fake: max(0.0, 1 + fake)),
    NonSaturating: (lambda real: softplus(-real), softplus),
    LeastSquares: (lambda real: (real - 1) ** 2, lambda fake: fake**2),
}
GENERATOR = {
    Hinge: lambda fake: -fake,
    NonSaturating: lambda fake: softplus(-fake),
    LeastSquares: lambda fake: 0.5 * (fake - 1) ** 2,
}


def mean(values) -> float:
    values = list(values)
    return sum(values) / len(values)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_closed_forms(loss):
    on_real, on_fake = DISCRIMINATOR[type(loss)]
    expected = 0.5 * mean(map(on_real, REAL)) + 0.5 * mean(map(on_fake, FAKE))
    value = loss.discriminator(torch.tensor(REAL), torch.tensor(FAKE))
    assert value.item() == pytest.approx(expected, rel=1e-6)
    expected = mean(map(GENERATOR[type(loss)], FAKE))
    assert loss.generator(torch.tensor(FAKE)).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_trap_38_gradients_point_the_right_way(loss):
    """LlamaGen's non-saturating losses swap prediction and target: both signs were wrong."""
    real = torch.tensor([-0.5, 0.0, 0.5], requires_grad=True)
    fake = torch.tensor([-0.5, 0.25, 0.5], requires_grad=True)
    to_real, to_fake = torch.autograd.grad(loss.discriminator(real, fake), (real, fake))
    assert (to_real < 0).all(), "descent raises the logits of real images"
    rising = fake > 0 if isinstance(loss, LeastSquares) else fake > -1
    assert (to_fake[rising] > 0).all(), "descent lowers the logits of fake images"
    (to_generator,) = torch.autograd.grad(loss.generator(fake), fake)
    assert (to_generator < 0).all(), "the generator raises the logits of its images"


def test_hinge_leaves_logits_beyond_the_margin():
    real = torch.tensor([1.5, 0.5], requires_grad=True)
    fake = torch.tensor([-1.5, -0.5], requires_grad=True)
    to_real, to_fake = torch.autograd.grad(Hinge().discriminator(real, fake), (real, fake))
    assert to_real.tolist() == [0.0, -0.25]
    assert to_fake.tolist() == [0.0, 0.25]


def test_non_saturating_generator_learns_where_it_loses():
    fake = torch.tensor([-50.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(NonSaturating().generator(fake), fake)
    assert gradient.item() == pytest.approx(-1.0)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_fp32_inside_and_any_shapes(loss):
    real = torch.full((2, 1, 3, 3), 0.3, dtype=torch.bfloat16)
    fake = torch.full((5, 1, 2, 4), -0.3, dtype=torch.bfloat16)
    value = loss.discriminator(real, fake)
    assert value.dtype == loss.generator(fake).dtype == torch.float32
    torch.testing.assert_close(value, loss.discriminator(real.float(), fake.float()))


def test_extreme_logits_stay_finite():
    huge = torch.tensor([-1e4, 1e4], requires_grad=True)
    for loss in LOSSES:
        total = loss.discriminator(huge, huge) + loss.generator(huge)
        assert total.isfinite()
        assert torch.autograd.grad(total, huge)[0].isfinite().all()


def test_they_are_values():
    assert Hinge() == Hinge()
    assert len({Hinge(), NonSaturating(), LeastSquares()}) == 3


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_several_discriminators_are_averaged_whatever_their_size(loss):
    real = [torch.randn(2, 1, 5), torch.randn(2, 1, 300), torch.randn(2, 7)]
    fake = [torch.randn(2, 1, 5), torch.randn(2, 1, 300), torch.randn(2, 7)]
    each = torch.stack([loss.discriminator(r, f) for r, f in zip(real, fake, strict=True)])
    torch.testing.assert_close(loss.discriminator(tuple(real), fake), each.mean())
    each = torch.stack([loss.generator(f) for f in fake])
    torch.testing.assert_close(loss.generator(fake), each.mean())


def test_refuses_other_numbers_of_logits():
    logits = torch.zeros(2)
    with pytest.raises(ShapeError, match="got 2 and 1"):
        Hinge().discriminator([logits, logits], [logits])
    with pytest.raises(ShapeError, match="at least one discriminator"):
        Hinge().generator([])


def test_the_mean_logit_of_an_image():
    """As Open-MAGVIT2 has it: a sure patch may make up for an unsure one of the same image."""
    logits = torch.tensor([[4.0, -2.0], [0.0, 1.0]]).reshape(2, 1, 1, 2)
    loss = NonSaturating(per_image=True)
    expected = mean([softplus(-1.0), softplus(-0.5)])
    assert loss.generator(logits).item() == pytest.approx(expected)
    expected = 0.5 * (expected + mean([softplus(1.0), softplus(0.5)]))
    assert loss.discriminator(logits, logits).item() == pytest.approx(expected)
    assert NonSaturating().generator(logits) > loss.generator(logits)


def test_the_loss_of_each_side_from_another_pair():
    real, fake = torch.tensor(REAL), torch.tensor(FAKE)
    mixed = Mixed(Hinge(), NonSaturating())
    assert torch.equal(mixed.discriminator(real, fake), Hinge().discriminator(real, fake))
    assert torch.equal(mixed.generator(fake), NonSaturating().generator(fake))
    assert not torch.equal(mixed.generator(fake), Hinge().generator(fake))
