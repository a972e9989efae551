"""Walsh-Hadamard transform: an orthogonal mixture of all features with additions alone."""

import torch
from torch import Tensor

from vqkit.shapes import Float

__all__ = ["hadamard"]


def hadamard(x: Float[Tensor, "*positions dim"]) -> Float[Tensor, "*positions dim"]:
    """Orthonormal Walsh-Hadamard transform of the last axis, its own inverse.

    ``H_2m = [[H_m, H_m], [H_m, -H_m]] / sqrt 2``, in m log2 m additions. A dimension that is no
    power of two is transformed in blocks of the largest power of two that divides it: 24 features
    are three blocks of 8, an odd number stays as it is.

    >>> hadamard(torch.tensor([1.0, 0.0, 0.0, 0.0])).tolist()
    [0.5, 0.5, 0.5, 0.5]
    """
    dim = x.shape[-1]
    block = dim & -dim  # the lowest bit that is set
    y = x.reshape(*x.shape[:-1], dim // block, block)
    step = 1
    while step < block:
        a, b = y.unflatten(-1, (block // (2 * step), 2, step)).unbind(-2)
        y = torch.stack([a + b, a - b], -2).flatten(-3)
        step *= 2
    return y.reshape(x.shape) * block**-0.5
