import pytest
import torch

from vqkit.errors import ShapeError
from vqkit.losses import L1, L2


@pytest.mark.parametrize(("loss", "power"), [(L1(), 1), (L2(), 2)])
def test_equals_a_loop_in_values_and_gradients(loss, power):
    ours = torch.randn(2, 3, 4, requires_grad=True)
    target = torch.randn(2, 3, 4)
    pairs = zip(ours.flatten().tolist(), target.flatten().tolist(), strict=True)
    expected = sum(abs(a - b) ** power for a, b in pairs) / 24
    value = loss(ours, target)
    assert value.item() == pytest.approx(expected, rel=1e-6)
    (gradient,) = torch.autograd.grad(value, ours)
    difference = (ours - target).detach()
    slope = difference.sign() if power == 1 else 2 * difference
    torch.testing.assert_close(gradient, slope / 24)


@pytest.mark.parametrize("loss", [L1(), L2()])
def test_half_precision_is_summed_in_fp32(loss):
    # 70 000 terms of 1 overflow fp16, and bf16 stops counting at 256.
    for dtype in (torch.float16, torch.bfloat16):
        value = loss(torch.ones(70_000, dtype=dtype), torch.zeros(70_000, dtype=dtype))
        assert value.dtype == torch.float32
        assert value.item() == 1.0


@pytest.mark.parametrize("loss", [L1(), L2()])
def test_refuses_broadcasting_and_emptiness(loss):
    with pytest.raises(ShapeError, match=r"\[2, 1, 4\] and \[2, 3, 4\]"):
        loss(torch.zeros(2, 1, 4), torch.zeros(2, 3, 4))
    with pytest.raises(ShapeError, match=r"expected elements, got \[0, 3\]"):
        loss(torch.zeros(0, 3), torch.zeros(0, 3))
