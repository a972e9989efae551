"""What convolutions over time find beyond the ends of a signal."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.ops.stft import reflect_pad

__all__ = ["Padding", "pad_signal"]

Padding = Literal["reflect", "zero", "replicate"]

_TORCH_MODES = {"zero": "constant", "replicate": "replicate"}


def pad_signal(x: Tensor, left: int, right: int, padding: Padding) -> Tensor:
    """The signal ``[batch, channels, positions, *size]`` with positions before and behind it.

    Reflection is for sounds, which have no further axes.
    """
    if not left and not right:
        return x
    if padding == "reflect":
        return reflect_pad(x, left, right)
    if x.ndim == 3:
        return F.pad(x, (left, right), mode=_TORCH_MODES[padding])
    # Joined, not padded: the frames of a clip keep the order that they have in memory.
    first, last = x[:, :, :1], x[:, :, -1:]
    if padding == "zero":
        first, last = torch.zeros_like(first), torch.zeros_like(last)
    return torch.cat([first] * left + [x] + [last] * right, dim=2)
