"""Outlines of drawn shapes, by signed distances, and their colours.

Half lengths are those at scale 1 in a picture that spans [-1, 1]. Each shape is longer than wide,
so that its rotation shows.
"""

import math

import torch
from torch import Tensor

__all__ = ["box", "ellipse", "full_colour", "triangle"]

_LENGTH, _WIDTH = 0.4, 0.2


def ellipse(u: Tensor, v: Tensor) -> Tensor:
    """Signed distance to an ellipse that points along u; negative inside."""
    # First-order distance: the implicit function over its gradient.
    radius = torch.sqrt((u / _LENGTH) ** 2 + (v / _WIDTH) ** 2)
    slope = torch.sqrt((u / _LENGTH**2) ** 2 + (v / _WIDTH**2) ** 2)
    return torch.where(slope > 0, (radius - 1) * radius / slope.clamp_min(1e-6), -_WIDTH)


def box(u: Tensor, v: Tensor) -> Tensor:
    """Signed distance to a box, near it."""
    return torch.maximum(u.abs() - _LENGTH, v.abs() - _WIDTH)


def triangle(u: Tensor, v: Tensor) -> Tensor:
    """Signed distance to a triangle whose tip points against u, near it."""
    # Isosceles, its tip at (-length, 0), its base of 2 x 1.5 width at u = length.
    base = 1.5 * _WIDTH
    norm = math.hypot(base, 2 * _LENGTH)
    flank = (2 * _LENGTH * v.abs() - base * (u + _LENGTH)) / norm
    return torch.maximum(u - _LENGTH, flank)


def full_colour(hue: Tensor, value: float) -> Tensor:
    """RGB in [0, 1] of full saturation, ``[images, 3]``; hue in turns."""
    offsets = torch.tensor([5.0, 3.0, 1.0])
    k = (offsets + 6.0 * hue[:, None]) % 6.0
    return value * (1 - torch.minimum(k, 4 - k).clamp(0, 1))
