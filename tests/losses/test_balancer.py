"""The gradient balancer: shares, averages, state, ranks."""

import pytest
import torch

from tests.spawn import run_ranks
from vqkit.errors import ConfigError
from vqkit.losses import GradientBalancer

WEIGHTS = {"a": 3.0, "b": 1.0}


def orthogonal(output: torch.Tensor, scales: dict[str, float]) -> dict[str, torch.Tensor]:
    """Losses whose gradients point along axes of their own, with the given lengths per item."""
    return {
        name: scale * output.flatten(1)[:, i].mean()
        for i, (name, scale) in enumerate(scales.items())
    }


def balanced(balancer, scales, weights=None, batch: int = 4):
    output = torch.randn(batch, 1, 5, requires_grad=True)
    value = balancer(orthogonal(output, scales), weights or WEIGHTS, output)
    (gradient,) = torch.autograd.grad(value, output)
    return gradient.flatten(1)


@pytest.mark.parametrize("total_norm", [1.0, 7.0])
def test_shares_are_the_weights(total_norm):
    gradient = balanced(GradientBalancer(["a", "b"], total_norm), {"a": 1e-4, "b": 1e3})
    # Each item's own gradient is four times its part of the mean over four items.
    expected = torch.tensor([0.75, 0.25, 0.0, 0.0, 0.0]) * total_norm / 4
    torch.testing.assert_close(gradient, expected.expand(4, 5))


def test_scales_do_not_matter_over_many_steps():
    small, large = (GradientBalancer(["a", "b"], decay=0.9) for _ in range(2))
    for step in range(20):
        factor = 1.0 + step % 3
        first = balanced(small, {"a": factor, "b": 2.0})
        second = balanced(large, {"a": 1e4 * factor, "b": 2e-3})
        torch.testing.assert_close(first, second)


def test_the_average_is_a_weighted_mean_of_what_was_seen():
    balancer = GradientBalancer(["a", "b"], decay=0.5)
    seen: list[float] = []
    for norm in (4.0, 1.0, 10.0, 0.5):
        seen.append(norm)
        gradient = balanced(balancer, {"a": norm, "b": 1.0})
        weights = [0.5 ** (len(seen) - 1 - i) for i in range(len(seen))]
        average = sum(w * n for w, n in zip(weights, seen, strict=True)) / sum(weights)
        assert float(balancer.average_norms()["a"]) == pytest.approx(average)
        assert float(gradient[0, 0]) == pytest.approx(0.75 * norm / average / 4)


def test_per_item_and_per_batch():
    """Items of lengths 1 and 3: their mean is 2, the norm of the batch's gradient sqrt(10) / 2."""
    norms = {}
    for per_item in (True, False):
        output = torch.zeros(2, 3, requires_grad=True)
        loss = (output[:, 0] * torch.tensor([1.0, 3.0])).mean()
        balancer = GradientBalancer(["a"], per_item=per_item)
        balancer({"a": loss}, {"a": 1.0}, output).backward()
        norms[per_item] = float(balancer.average_norms()["a"])
        if not per_item:
            assert float(output.grad.norm()) == pytest.approx(1.0)
        else:
            assert float(output.grad.norm(dim=1).mean()) * 2 == pytest.approx(1.0)
    assert norms[True] == pytest.approx(2.0)
    assert norms[False] == pytest.approx(10**0.5 / 2)


def test_halves_of_a_batch_give_the_mean_of_its_gradient():
    """Accumulation: two halves, each by half, are the whole, once the averages agree."""
    lengths = torch.tensor([1.0, 3.0, 3.0, 1.0])

    def gradient(part: slice) -> torch.Tensor:
        output = torch.zeros(4, 3, requires_grad=True)
        own = output[part]
        losses = {"a": (own[:, 0] * lengths[part]).mean(), "b": 5 * own[:, 1].mean()}
        balancer = GradientBalancer(["a", "b"])
        return torch.autograd.grad(balancer(losses, WEIGHTS, own), output)[0]

    halves = (gradient(slice(0, 2)) + gradient(slice(2, 4))) / 2
    torch.testing.assert_close(halves, gradient(slice(0, 4)))


def test_a_loss_that_comes_later_takes_its_share_from_the_others():
    balancer = GradientBalancer(["a", "b"])
    alone = balanced(balancer, {"a": 5.0})
    assert float(alone[0, 0]) == pytest.approx(1.0 / 4)
    assert balancer.average_norms()["b"].isnan()
    both = balanced(balancer, {"a": 5.0, "b": 0.01})
    torch.testing.assert_close(both[0, :2], torch.tensor([0.75, 0.25]) / 4)


def test_a_loss_without_gradient_and_its_return():
    balancer = GradientBalancer(["a", "b"], decay=0.9)
    for _ in range(3):
        gradient = balanced(balancer, {"a": 0.0, "b": 1.0})
        torch.testing.assert_close(gradient[0], torch.tensor([0.0, 0.25, 0.0, 0.0, 0.0]) / 4)
    back = balanced(balancer, {"a": 2.0, "b": 1.0})
    assert 0.75 < 4 * float(back[0, 0]) <= 0.75 / (1 - 0.9)
    output = torch.zeros(4, 1, 5, requires_grad=True)
    value = balancer(orthogonal(output, {"a": 0.0, "b": 0.0}), WEIGHTS, output)
    assert value.isfinite()


def test_the_value_is_the_sum_of_the_scaled_losses():
    output = torch.full((2, 1, 3), 2.0, requires_grad=True)
    value = GradientBalancer(["a", "b"])(orthogonal(output, {"a": 10.0, "b": 0.1}), WEIGHTS, output)
    assert float(value.detach()) == pytest.approx(0.75 * 2.0 + 0.25 * 2.0)


def test_resumes_from_its_state():
    through, first = (GradientBalancer(["a", "b"], decay=0.9) for _ in range(2))
    steps = [{"a": 1.0 + i % 4, "b": 0.3 * (1 + i % 3)} for i in range(8)]
    whole = [balanced(through, scales) for scales in steps]
    for scales in steps[:5]:
        balanced(first, scales)
    resumed = GradientBalancer(["a", "b"], decay=0.9)
    resumed.load_state_dict(first.state_dict())
    rest = [balanced(resumed, scales) for scales in steps[5:]]
    for one, other in zip(whole[5:], rest, strict=True):
        assert torch.equal(one, other)
    fresh = [balanced(GradientBalancer(["a", "b"], decay=0.9), s) for s in steps[5:]]
    assert not all(torch.allclose(a, b) for a, b in zip(rest, fresh, strict=True))


def test_evaluation_moves_nothing():
    balancer = GradientBalancer(["a", "b"])
    balanced(balancer, {"a": 1.0, "b": 1.0})
    before = {name: value.clone() for name, value in balancer.state_dict().items()}
    balanced(balancer.eval(), {"a": 9.0, "b": 9.0})
    assert all(torch.equal(before[name], value) for name, value in balancer.state_dict().items())


def test_a_gradient_that_is_not_finite_moves_nothing_and_is_not_hidden():
    balancer = GradientBalancer(["a", "b"])
    balanced(balancer, {"a": 1.0, "b": 1.0})
    gradient = balanced(balancer, {"a": float("nan"), "b": 1.0})
    assert not gradient.isfinite().all()
    assert balancer.average_norms()["a"] == 1.0


def test_half_precision_outputs_get_gradients_of_their_dtype():
    output = torch.randn(2, 1, 8, dtype=torch.bfloat16, requires_grad=True)
    GradientBalancer(["a"])({"a": output.float().square().mean()}, {"a": 1.0}, output).backward()
    assert output.grad.dtype == torch.bfloat16
    assert float(output.grad.float().flatten(1).norm(dim=1).mean()) == pytest.approx(0.5, rel=1e-2)


def test_refuses():
    output = torch.zeros(2, 1, 4, requires_grad=True)
    loss = output.mean()
    balancer = GradientBalancer(["a", "b"])
    for losses, weights in (({"c": loss}, {"c": 1.0}), ({"a": loss}, {"b": 1.0}), ({}, {})):
        with pytest.raises(ConfigError, match=r"expected losses of \['a', 'b'\] with weights"):
            balancer(losses, weights, output)
    with pytest.raises(ConfigError, match="weights >= 0, one above"):
        balancer({"a": loss}, {"a": 0.0}, output)
    with pytest.raises(ConfigError, match="expected 'a' to depend on the output"):
        balancer({"a": output.detach().mean()}, {"a": 1.0}, output)
    for arguments in ({"names": []}, {"names": ["a", "a"]}, {"decay": 1.0}, {"total_norm": 0.0}):
        with pytest.raises(ConfigError, match="expected different names"):
            GradientBalancer(**{"names": ["a"], **arguments})


def steps_of(part: slice, per_item: bool) -> list[torch.Tensor]:
    """Gradients of three steps with this part of each batch."""
    generator = torch.Generator().manual_seed(1)
    balancer = GradientBalancer(["a", "b"], decay=0.5, per_item=per_item)
    gradients = []
    for _ in range(3):
        output = torch.randn(4, 1, 6, generator=generator)[part].requires_grad_()
        losses = {"a": output.square().mean(), "b": 100 * output.sin().mean()}
        gradients.append(torch.autograd.grad(balancer(losses, WEIGHTS, output), output)[0])
    return [*gradients, *balancer.state_dict().values()]


def two_ranks(rank, join):
    join()
    part = slice(2 * rank, 2 * rank + 2)
    return {str(per_item): steps_of(part, per_item) for per_item in (True, False)}


def test_two_ranks_equal_one():
    ranks = run_ranks(two_ranks)
    for per_item in (True, False):
        expected = steps_of(slice(0, 4), per_item)
        parts = [found[str(per_item)] for found in ranks]
        for step in range(3):
            # The mean over the ranks of their gradients: half of each belongs to the whole batch.
            together = torch.cat([part[step] for part in parts]) / 2
            torch.testing.assert_close(together, expected[step])
        for part in parts:
            torch.testing.assert_close(part[3:], expected[3:])
        alone = steps_of(slice(0, 2), per_item)
        assert not torch.allclose(alone[0], parts[0][0])
