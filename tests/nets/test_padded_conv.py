"""Padding and trimming against plain loops; what is causal is."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from vqkit.errors import ConfigError
from vqkit.nets import ConvStyle, PaddedConv, PaddedTransposedConv

LENGTHS = (1, 2, 3, 4, 5, 6, 7, 11, 30)
PADDINGS = ("reflect", "zero", "replicate")
SHAPES = ((1, 1, 1), (3, 1, 1), (7, 1, 1), (3, 1, 4), (4, 2, 1), (10, 5, 1), (3, 2, 2))


def beyond(x, position, padding):
    """The value of a row ``x`` at any position; reflecting takes zeros for what is not there."""
    length = len(x)
    if 0 <= position < length:
        return x[position]
    if padding == "zero":
        return torch.zeros(())
    if padding == "replicate":
        return x[min(max(position, 0), length - 1)]
    mirrored = -position if position < 0 else 2 * (length - 1) - position
    return x[mirrored] if 0 <= mirrored < length else None


def naive(conv, x, padding, causal):
    """Frame after frame, for one channel in and out; None where the reference has no rule."""
    kernel = conv.conv.kernel_size[0]
    stride, dilation = conv.conv.stride[0], conv.conv.dilation[0]
    total = (kernel - 1) * dilation + 1 - stride
    left = total if causal else total - total // 2
    frames = []
    for frame in range(-(-len(x) // stride)):
        taps = [beyond(x, frame * stride - left + tap * dilation, padding) for tap in range(kernel)]
        if any(tap is None for tap in taps):
            return None
        frames.append((torch.stack(taps) * conv.conv.weight[0, 0]).sum() + conv.conv.bias[0])
    return torch.stack(frames)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("padding", PADDINGS)
def test_frames_are_those_of_a_loop(causal, padding):
    num_checked = 0
    for (kernel, stride, dilation), length in itertools.product(SHAPES, LENGTHS):
        style = ConvStyle(causal, padding, norm="none")
        conv = PaddedConv(1, 1, kernel, style, stride=stride, dilation=dilation)
        x = torch.randn(length)
        out = conv(x[None, None])[0, 0]
        assert len(out) == -(-length // stride)
        expected = naive(conv, x, padding, causal)
        if expected is not None:
            torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-6)
            num_checked += 1
    assert num_checked > 30


def test_what_is_too_short_to_be_reflected_is_filled_up_with_zeros_on_the_right():
    """As the published code does, tap by tap."""
    conv = PaddedConv(1, 1, 7, ConvStyle(norm="none"))
    x = torch.tensor([1.0, 2.0])
    longer = F.pad(x, (0, 5))
    reflected = torch.cat([longer[1:7].flip(0), x])
    expected = F.conv1d(reflected[None, None], conv.conv.weight, conv.conv.bias)
    torch.testing.assert_close(conv(x[None, None]), expected)


@pytest.mark.parametrize("padding", ["zero", "replicate"])
def test_a_causal_frame_depends_on_nothing_after_it(padding):
    conv = PaddedConv(2, 3, 6, ConvStyle(padding=padding), stride=3)
    x = torch.randn(1, 2, 30)
    other = x.clone()
    other[..., 12:] = torch.randn(1, 2, 18)
    assert torch.equal(conv(x)[..., :4], conv(other)[..., :4])
    assert not torch.equal(conv(x)[..., 4], conv(other)[..., 4])


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("kernel", "stride"), [(4, 2), (10, 5), (6, 3), (2, 2), (3, 1)])
def test_transposed_against_a_loop(causal, kernel, stride):
    conv = PaddedTransposedConv(2, 3, kernel, ConvStyle(causal, norm="none"), stride=stride)
    x = torch.randn(1, 2, 5)
    weight, bias = conv.conv.weight, conv.conv.bias
    whole = bias[:, None].repeat(1, 4 * stride + kernel)
    for frame in range(5):
        added = torch.einsum("i,iok->ok", x[0, :, frame], weight)
        whole[:, frame * stride : frame * stride + kernel] += added
    surplus = kernel - stride
    left = 0 if causal else surplus - surplus // 2
    expected = whole[:, left : left + 5 * stride]
    out = conv(x)
    assert out.shape == (1, 3, 5 * stride)
    torch.testing.assert_close(out[0], expected, rtol=1e-5, atol=1e-6)


def test_weight_norm_of_a_transposed_convolution_is_per_input_channel():
    conv = PaddedTransposedConv(4, 3, 4, ConvStyle(norm="weight"), stride=2)
    assert conv.conv.parametrizations.weight.original0.shape == (4, 1, 1)


@pytest.mark.usefixtures("unchecked_shapes")
def test_wrong_settings():
    with pytest.raises(ConfigError, match="kernel of at least the stride of 4, got 3"):
        PaddedConv(1, 1, 3, ConvStyle(), stride=4)
    with pytest.raises(ConfigError, match="kernel of at least the stride of 4, got 3"):
        PaddedTransposedConv(1, 1, 3, ConvStyle(), stride=4)
    with pytest.raises(ConfigError, match="'mirror'"):
        ConvStyle(padding="mirror")
    with pytest.raises(ConfigError, match="'batch'"):
        ConvStyle(norm="batch")
