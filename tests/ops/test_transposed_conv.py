"""A transposed convolution by another way is the same one."""

import pytest
import torch
import torch.nn.functional as F

from vqkit.ops import transposed_conv
from vqkit.ops.transposed_conv import conv_transpose1d


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "groups", "frames"),
    [
        (2, 1, 0, 1, 130),
        (2, 1, 1, 1, 130),
        (4, 2, 1, 1, 130),
        (10, 5, 3, 1, 64),
        (16, 8, 4, 1, 300),
        (16, 8, 0, 1, 3),
        (7, 3, 0, 1, 130),
        (4, 2, 0, 4, 130),
    ],
)
@pytest.mark.parametrize("has_bias", [True, False])
@torch.no_grad()
def test_it_is_torchs(kernel, stride, padding, groups, frames, has_bias):
    torch.manual_seed(0)
    x = torch.randn(2, 4, frames)
    weight, bias = torch.randn(4, 8 // groups, kernel), torch.randn(8) if has_bias else None
    expected = F.conv_transpose1d(x, weight, bias, stride, padding, groups=groups)
    actual = conv_transpose1d(x, weight, bias, stride, padding, groups)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5)


def test_a_long_input_goes_the_other_way_and_a_gradient_the_plain_one(monkeypatch):
    ways = []
    plain, transposed = F.conv1d, F.conv_transpose1d
    other = transposed_conv.F
    monkeypatch.setattr(other, "conv1d", lambda *a, **k: ways.append("plain") or plain(*a, **k))
    monkeypatch.setattr(
        other, "conv_transpose1d", lambda *a, **k: ways.append("transposed") or transposed(*a, **k)
    )
    weight = torch.randn(2, 3, 4, requires_grad=True)
    for x, mode in (
        (torch.randn(1, 2, 200), torch.no_grad),
        (torch.randn(1, 2, 20), torch.no_grad),
        (torch.randn(1, 2, 200), torch.enable_grad),
    ):
        with mode():
            conv_transpose1d(x, weight, stride=2)
    assert ways == ["plain", "transposed", "transposed"]
