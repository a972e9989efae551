import pytest
import torch

from vqkit.errors import ConfigError
from vqkit.losses import LeCAM


def test_equals_a_naive_account_of_averages_and_penalty():
    lecam = LeCAM(decay=0.9)
    real_mean = fake_mean = None
    for _ in range(4):
        real = torch.randn(2, 1, 3, 3) + 0.5
        fake = torch.randn(2, 1, 4, 4) - 0.5
        value = lecam(real, fake)
        if real_mean is None:
            real_mean, fake_mean = real.mean().item(), fake.mean().item()
        else:
            real_mean = 0.9 * real_mean + 0.1 * real.mean().item()
            fake_mean = 0.9 * fake_mean + 0.1 * fake.mean().item()
        too_real = [max(0.0, logit - fake_mean) ** 2 for logit in real.flatten().tolist()]
        too_fake = [max(0.0, real_mean - logit) ** 2 for logit in fake.flatten().tolist()]
        expected = sum(too_real) / len(too_real) + sum(too_fake) / len(too_fake)
        assert value.item() == pytest.approx(expected, rel=1e-5)
    assert lecam.num_updates.item() == 4


def test_gradient_draws_the_two_together():
    real = torch.tensor([2.0], requires_grad=True)
    fake = torch.tensor([-2.0], requires_grad=True)
    to_real, to_fake = torch.autograd.grad(LeCAM()(real, fake), (real, fake))
    assert (to_real.item(), to_fake.item()) == (8.0, -8.0)


def test_no_penalty_where_real_ranks_below_fake():
    assert LeCAM()(torch.tensor([-1.0]), torch.tensor([1.0])).item() == 0.0


def test_state_survives_a_checkpoint(tmp_path):
    """VidTok and SEED-Voken keep the averages in Python floats and lose them on resume."""
    batches = [(torch.randn(3), torch.randn(3)) for _ in range(6)]
    unbroken, before, after = LeCAM(), LeCAM(), LeCAM()
    for real, fake in batches[:3]:
        unbroken(real, fake)
        before(real, fake)
    torch.save(before.state_dict(), tmp_path / "state.pt")
    after.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for real, fake in batches[3:]:
        assert torch.equal(after(real, fake), unbroken(real, fake))
    for name, value in unbroken.state_dict().items():
        assert torch.equal(after.state_dict()[name], value)


def test_evaluation_and_no_grad_change_nothing():
    lecam = LeCAM()
    lecam(torch.ones(2), -torch.ones(2))
    state = {name: value.clone() for name, value in lecam.state_dict().items()}
    with torch.no_grad():
        lecam(torch.full((2,), 9.0), torch.zeros(2))
    lecam.eval()(torch.full((2,), 9.0), torch.zeros(2))
    assert all(torch.equal(lecam.state_dict()[name], value) for name, value in state.items())


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_batch_that_is_not_finite_moves_nothing(poison: float):
    lecam = LeCAM(decay=0.5)
    lecam(torch.ones(2), -torch.ones(2))
    lecam(torch.tensor([poison, 1.0]), torch.zeros(2))
    lecam(torch.zeros(2), torch.tensor([poison, 1.0]))
    assert (lecam.real_mean.item(), lecam.fake_mean.item()) == (1.0, -1.0)
    assert lecam.num_updates.item() == 1


def test_several_batches_before_one_backward():
    lecam = LeCAM(decay=0.5)
    logit = torch.tensor([1.0], requires_grad=True)
    total = lecam(logit, -logit) + lecam(3 * logit, -logit)
    total.backward()
    # d/dx (x + 1)^2 + (1 + x)^2 + (3x + 1)^2 + (2 + x)^2 with the averages held fixed, at x = 1.
    assert logit.grad.item() == pytest.approx(4 + 4 + 24 + 6)


def test_bf16_logits_are_averaged_in_fp32():
    lecam = LeCAM()
    value = lecam(torch.ones(1000, dtype=torch.bfloat16), torch.zeros(1000, dtype=torch.bfloat16))
    assert value.dtype == torch.float32
    assert lecam.real_mean.item() == 1.0


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_refuses_decay(decay: float):
    with pytest.raises(ConfigError, match="0 <= decay < 1"):
        LeCAM(decay)
