"""Initial weights of convolutions that keep the variance of what passes through them."""

import math

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

__all__ = ["keep_variance"]


@torch.no_grad()
def keep_variance(network: nn.Module) -> None:
    """Scale PyTorch's initial weights of all convolutions over time; biases become 0.

    PyTorch draws them with a third of the variance that keeps a signal's (LeCun 1998), and those of
    transposed convolutions as if an output had ``kernel`` frames of ``out_channels`` in it and not
    ``kernel / stride`` of ``in_channels``. Behind the thirty layers of a codec next to nothing is
    left of the signal: the latents of all frames are the same, one code stands for all of them,
    and it takes thousands of steps until they part.

    Args:
        network: Freshly made, its ``Conv1d`` and ``ConvTranspose1d`` as PyTorch made them.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> conv = nn.Conv1d(64, 64, 7)
        >>> keep_variance(conv)
        >>> bool(0.9 < conv(torch.randn(1, 64, 1000)).std() < 1.1)
        True
    """
    for layer in network.modules():
        if not isinstance(layer, nn.Conv1d | nn.ConvTranspose1d):
            continue
        gain = 3.0
        if isinstance(layer, nn.ConvTranspose1d):
            gain *= layer.out_channels * layer.stride[0] / layer.in_channels
        _size(layer).mul_(math.sqrt(gain))
        if layer.bias is not None:
            layer.bias.zero_()


def _size(layer: nn.Conv1d | nn.ConvTranspose1d) -> Tensor:
    """What the weight is proportional to: itself, or its norm where that is learned apart."""
    if is_parametrized(layer, "weight"):
        norm: Tensor = layer.parametrizations.weight.original0  # type: ignore[union-attr, assignment]
        return norm
    return layer.weight
