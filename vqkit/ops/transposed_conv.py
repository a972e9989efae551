"""Transposed convolutions over time, on a CPU as plain ones."""

import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.shapes import Float

__all__ = ["conv_transpose1d"]

# Frames from which it pays to lay the weights out anew.
_MANY_FRAMES = 128


def conv_transpose1d(
    x: Float[Tensor, "batch channels frames"],
    weight: Float[Tensor, "channels group_channels kernel"],
    bias: Float[Tensor, " out_channels"] | None = None,
    stride: int = 1,
    padding: int = 0,
    groups: int = 1,
) -> Float[Tensor, "batch out_channels samples"]:
    """As :func:`torch.nn.functional.conv_transpose1d`, up to rounding.

    With a kernel of twice the stride, as all codecs have it, every sample is the sum over two
    frames: a convolution of width 2 that makes ``stride`` samples of each, which then are laid one
    after the other. Torch has fast kernels for that on a CPU, half as fast ones for the other, so
    that is done there where no gradient is asked for.

    >>> x, weight = torch.randn(1, 4, 200), torch.randn(4, 3, 8)
    >>> expected = torch.nn.functional.conv_transpose1d(x, weight, stride=4)
    >>> bool((conv_transpose1d(x, weight, stride=4) - expected).abs().max() < 1e-5)
    True
    """
    if not _is_faster_as_plain(x, weight, stride, groups):
        return F.conv_transpose1d(x, weight, bias, stride, padding, groups=groups)
    out_channels = weight.shape[1]
    batch, _, frames = x.shape
    # The later half of a frame's samples falls on the first of the next one.
    first, second = (half.permute(1, 2, 0) for half in weight.split(stride, dim=2))
    taps = torch.stack([second, first], dim=-1).flatten(0, 1)
    biases = None if bias is None else bias.repeat_interleave(stride)
    parts = F.conv1d(x, taps, biases, padding=1)
    out = parts.view(batch, out_channels, stride, frames + 1).transpose(2, 3).flatten(2)
    return out[..., padding : out.shape[-1] - padding]


def _is_faster_as_plain(x: Tensor, weight: Tensor, stride: int, groups: int) -> bool:
    return (
        x.device.type == "cpu"
        and groups == 1
        and weight.shape[2] == 2 * stride
        and x.shape[0] * x.shape[2] >= _MANY_FRAMES
        and not (torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad))
        and not torch.compiler.is_compiling()
    )
