"""The streamed soft assignment against the one that builds tokens x codes."""

import importlib

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from vqkit.ops import (
    assignment_entropy,
    gumbel_noise,
    score_tiles,
    select_code,
    soft_code,
    token_keys,
)

N, K, DIM, WIDTH = 50, 37, 6, 5


@pytest.fixture(params=["one tile", "many tiles"])
def _tiles(request, monkeypatch):
    if request.param == "many tiles":
        monkeypatch.setattr(score_tiles, "_CPU", (64, 4))


def inputs(dtype=torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    shapes = ((N, DIM), (K, DIM), (K,), (K, WIDTH))
    return tuple(torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes)


def naive_soft_code(z, weight, bias, values, indices, temperature, keys) -> Tensor:
    logits = z @ weight.T + bias
    if keys is not None:
        logits = logits + gumbel_noise(keys, torch.arange(len(weight)))
    p = torch.softmax(logits / temperature, dim=1)
    return (F.one_hot(indices, len(weight)) + p - p.detach()) @ values


@pytest.mark.usefixtures("_tiles")
@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("temperature", [0.05, 1.0, torch.tensor(3.0)])
def test_soft_code_in_value_and_gradient(noisy, temperature):
    arguments = inputs()
    keys = token_keys(torch.tensor(2), N) if noisy else None
    indices = select_code(*arguments[:3], keys)
    out = soft_code(*arguments, indices, temperature, keys)
    naive = naive_soft_code(*arguments, indices, temperature, keys)
    assert torch.equal(out, arguments[3][indices])
    torch.testing.assert_close(out, naive)
    upstream = torch.randn(N, WIDTH, dtype=torch.float64)
    for got, expected in zip(
        torch.autograd.grad((out * upstream).sum(), arguments),
        torch.autograd.grad((naive * upstream).sum(), arguments),
        strict=True,
    ):
        torch.testing.assert_close(got, expected)


@pytest.mark.usefixtures("_tiles")
def test_one_table_for_scores_and_values_gets_both_gradients():
    z, table, *_ = inputs()
    indices = select_code(z, table)
    weight = torch.randn(N, DIM, dtype=torch.float64)
    out = (soft_code(z, table, None, table, indices) * weight).sum()
    naive = (naive_soft_code(z, table, 0.0, table, indices, 1.0, None) * weight).sum()
    for got, expected in zip(
        torch.autograd.grad(out, (z, table)), torch.autograd.grad(naive, (z, table)), strict=True
    ):
        torch.testing.assert_close(got, expected)


def test_gumbel_softmax_of_torch_given_the_same_noise(monkeypatch):
    z, weight, bias, values = inputs(torch.float32)
    keys = token_keys(torch.tensor(2), N)
    noise = gumbel_noise(keys, torch.arange(K))

    def exponential_(tensor: Tensor) -> Tensor:
        return tensor.copy_(torch.exp(-noise))

    monkeypatch.setattr(Tensor, "exponential_", exponential_)
    one_hot = F.gumbel_softmax(z @ weight.T + bias, tau=0.7, hard=True)
    indices = select_code(z, weight, bias, keys)
    assert torch.equal(indices, one_hot.argmax(1))
    upstream = torch.randn(N, WIDTH)
    out = soft_code(z, weight, bias, values, indices, 0.7, keys)
    for got, expected in zip(
        torch.autograd.grad((out * upstream).sum(), (z, weight, bias, values)),
        torch.autograd.grad((one_hot @ values * upstream).sum(), (z, weight, bias, values)),
        strict=True,
    ):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def naive_entropies(z, weight, bias, temperature, valid) -> tuple[Tensor, Tensor]:
    p = torch.softmax((z @ weight.T + bias) / temperature, dim=1)[valid]
    mean = p.mean(0)
    return -(p * p.clamp_min(1e-300).log()).sum(1).mean(), -(mean * mean.log()).sum()


@pytest.mark.usefixtures("_tiles")
@pytest.mark.parametrize("temperature", [0.1, 1.0, torch.tensor(2.0)])
def test_entropies_in_value_and_gradient(temperature):
    arguments = inputs()[:3]
    valid = torch.rand(N) > 0.3
    got = assignment_entropy(*arguments, temperature, valid)
    expected = naive_entropies(*arguments, temperature, valid)
    for weights in ((1.0, 0.0), (0.0, 1.0), (1.3, -0.4)):
        ours = weights[0] * got.of_tokens + weights[1] * got.of_mean
        naive = weights[0] * expected[0] + weights[1] * expected[1]
        torch.testing.assert_close(ours, naive)
        for a, b in zip(
            torch.autograd.grad(ours, arguments, retain_graph=True),
            torch.autograd.grad(naive, arguments, retain_graph=True),
            strict=True,
        ):
            torch.testing.assert_close(a, b)


def test_trap_30_entropies_of_two_codes():
    sure, unsure = 50 * torch.eye(2), torch.zeros(2, 2)
    log_2 = torch.tensor(2.0).log()
    for z, of_tokens, of_mean in ((sure, 0.0, log_2), (sure[:1], 0.0, 0.0), (unsure, log_2, log_2)):
        got = assignment_entropy(z, torch.eye(2))
        torch.testing.assert_close(got.of_tokens, torch.as_tensor(of_tokens), atol=1e-6, rtol=0)
        torch.testing.assert_close(got.of_mean, torch.as_tensor(of_mean), atol=1e-6, rtol=0)


def test_a_code_that_no_token_wants_gives_finite_gradients():
    z, weight = torch.randn(8, 2, requires_grad=True), torch.randn(5, 2)
    bias = torch.tensor([0.0, 0.0, -1e4, 0.0, -1e30])
    got = assignment_entropy(z, weight, bias, 0.01)
    (got.of_tokens - got.of_mean).backward()
    assert z.grad.isfinite().all()


def test_statistics_of_an_earlier_call_replace_those_of_this_one():
    z, weight, bias, _ = inputs()
    first = assignment_entropy(z, weight, bias)
    again = assignment_entropy(z, weight, bias, statistics=first.statistics)
    assert torch.equal(first.of_mean, again.of_mean)
    other = assignment_entropy(z, weight, bias, statistics=2 * first.statistics)
    torch.testing.assert_close(first.of_tokens, other.of_tokens)


def test_no_valid_token():
    z, weight, bias, values = inputs(torch.float32)
    got = assignment_entropy(z, weight, bias, 1.0, torch.zeros(N, dtype=torch.bool))
    (got.of_tokens + got.of_mean).backward()
    assert got.of_tokens == got.of_mean == 0.0
    assert not z.grad.any()
    empty = torch.zeros(0, DIM, requires_grad=True)
    soft_code(empty, weight, bias, values, torch.zeros(0, dtype=torch.int64)).sum().backward()
    assert assignment_entropy(empty, weight, bias).of_mean == 0.0


class Largest(TorchDispatchMode):
    """The largest tensor that any operation makes."""

    def __init__(self):
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, Tensor):
                self.numel = max(self.numel, tensor.numel())
        return out


def test_trap_22_nothing_of_tokens_times_codes_is_kept_or_built(monkeypatch):
    monkeypatch.setattr(score_tiles, "_CPU", (2**12, 16))
    # A mode does not look into an operator: the functions behind the operators are called as such.
    for module, name in (
        ("select_code", "_select_code"),
        ("soft_code", "_soft_code_backward"),
        ("assignment_entropy", "_token_entropy"),
        ("assignment_entropy", "_entropies_backward"),
    ):
        module = importlib.import_module(f"vqkit.ops.{module}")
        monkeypatch.setattr(module, name, getattr(module, name)._init_fn)
    num_tokens, num_codes = 400, 600
    z = torch.randn(num_tokens, DIM, requires_grad=True)
    table = torch.randn(num_codes, DIM, requires_grad=True)
    keys = token_keys(torch.tensor(0), num_tokens)
    made, saved = Largest(), 0

    def note(tensor: Tensor) -> Tensor:
        nonlocal saved
        saved = max(saved, tensor.numel())
        return tensor

    with made, torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        indices = select_code(z, table, None, keys)
        out = soft_code(z, table, None, table, indices, 1.0, keys)
        entropies = assignment_entropy(z, table)
        (out.sum() + entropies.of_tokens - entropies.of_mean).backward()
    assert saved <= num_codes * DIM
    assert 2**11 < made.numel <= max(num_codes * DIM, 16 * num_codes) < num_tokens * num_codes / 20
