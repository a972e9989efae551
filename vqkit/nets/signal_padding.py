"""What convolutions over time find beyond the ends of a signal."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from vqkit.ops.stft import reflect_pad

__all__ = ["Padding", "pad_signal"]

Padding = Literal["reflect", "zero", "replicate"]

_TORCH_MODES = {"zero": "constant", "replicate": "replicate"}


def pad_signal(x: Tensor, left: int, right: int, padding: Padding) -> Tensor:
    """The signal ``[batch, channels, samples]`` with samples before and behind it."""
    if not left and not right:
        return x
    if padding == "reflect":
        return reflect_pad(x, left, right)
    return F.pad(x, (left, right), mode=_TORCH_MODES[padding])
