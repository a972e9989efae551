"""Gradient estimators: the value is the code, bit for bit; only the gradient is invented.

Written as ``z + (q - z).detach()`` the forward value is not the code (in bfloat16 it misses by up
to one per cent), so that a decoder would see other vectors in training than in use. Here the
forward returns the code itself.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from vqkit.shapes import Float

__all__ = ["directional", "rotation_trick", "straight_through"]


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, quantized: Tensor) -> Tensor:
        return quantized.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        return gradients[0], gradients[0]


class _RotationTrick(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, quantized: Tensor, max_ratio: float) -> Tensor:
        ctx.save_for_backward(z, quantized)
        ctx.max_ratio = max_ratio
        return quantized.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        z, quantized = ctx.saved_tensors
        (gradient,) = gradients
        z_norm = z.norm(dim=-1, keepdim=True)
        quantized_norm = quantized.norm(dim=-1, keepdim=True)
        tiny = torch.finfo(z.dtype).tiny
        ratio = (quantized_norm / z_norm.clamp_min(tiny)).clamp(max=ctx.max_ratio)
        # With u = z/|z| and v = q/|q|: R = I - 2 r r^T + 2 v u^T, where r = (u + v)/|u + v|, hence
        # R^T g = g - 2 r (r.g) + 2 u (v.g), a combination of g, z and q. Their factors are numbers
        # per vector: written in u, v and r it would take twice as many passes over memory.
        # Below this length, whose reciprocal is still far from infinity, a vector counts as zero.
        shortest = tiny**0.5
        u = torch.where(z_norm > shortest, 1 / z_norm.clamp_min(shortest), 0.0)
        v = torch.where(quantized_norm > shortest, 1 / quantized_norm.clamp_min(shortest), 0.0)
        square = torch.addcmul(z * u, quantized, v).square_().sum(-1, keepdim=True)
        # Antiparallel vectors have no plane to rotate in: r = 0 leaves I + 2 v u^T. Nor has z = 0 a
        # direction: there R = I.
        twice = torch.where((u > 0) & (square > 0), 2 / square.clamp_min(tiny), 0.0)
        u_gradient = u * (z * gradient).sum(-1, keepdim=True)
        v_gradient = v * (quantized * gradient).sum(-1, keepdim=True)
        mirrored = twice * (u_gradient + v_gradient)
        turned = torch.addcmul(gradient, z, u * (2 * v_gradient - mirrored))
        turned.addcmul_(quantized, v * mirrored, value=-1).mul_(ratio)
        return turned, gradient, None


class _Directional(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, quantized: Tensor, direction: Tensor | None) -> Tensor:
        error = quantized - z
        length = error.norm(dim=-1, keepdim=True)
        radial = error / length.clamp_min(torch.finfo(z.dtype).tiny)
        if direction is None:
            ctx.save_for_backward(radial)
            return quantized.clone()
        ctx.save_for_backward(radial, direction)
        return z + length * direction

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        radial, *rest = ctx.saved_tensors
        (gradient,) = gradients
        direction = rest[0] if rest else radial
        to_quantized = radial * (direction * gradient).sum(-1, keepdim=True)
        return gradient - to_quantized, to_quantized, None


def straight_through(
    z: Float[Tensor, "*positions dim"], quantized: Float[Tensor, "*positions dim"]
) -> Float[Tensor, "*positions dim"]:
    """Return ``quantized``; its gradient goes to ``z`` unchanged (Bengio et al., arXiv 1308.3432).

    Args:
        z: What was quantized.
        quantized: The codes. A gradient path behind them (a projection, say) gets the gradient too.

    >>> z = torch.tensor([0.3, 0.8], requires_grad=True)
    >>> out = straight_through(z, torch.tensor([0.0, 1.0]))
    >>> out.sum().backward()
    >>> out.tolist(), z.grad.tolist()
    ([0.0, 1.0], [1.0, 1.0])
    """
    result: Tensor = _StraightThrough.apply(z, quantized)
    return result


def rotation_trick(
    z: Float[Tensor, "*positions dim"],
    quantized: Float[Tensor, "*positions dim"],
    max_ratio: float = 10.0,
) -> Float[Tensor, "*positions dim"]:
    """Return ``quantized`` as if rotated and scaled from ``z`` (arXiv 2410.06424, eq. 4).

    The gradient at ``z`` is ``|q|/|z| R^T g``, where R turns z onto q and is held constant: it
    keeps the angle between gradient and vector. The ratio explodes for short z (20,000 was seen),
    hence ``max_ratio``.

    Args:
        z: What was quantized.
        quantized: The codes.
        max_ratio: Upper bound of ``|q|/|z|`` in the gradient.
    """
    result: Tensor = _RotationTrick.apply(z, quantized, max_ratio)
    return result


def directional(
    z: Float[Tensor, "*positions dim"],
    quantized: Float[Tensor, "*positions dim"],
    direction: Float[Tensor, "*positions dim"] | None = None,
) -> Float[Tensor, "*positions dim"]:
    """Return ``z + |q - z| w``: as far from z as the code, with gradient to z and to the code.

    With w held constant and ``u = (q - z) / |q - z|``, a gradient g gives ``(w . g) u`` to the code
    and ``g - (w . g) u`` to z: the code learns without a loss of its own (DiVeQ, arXiv 2509.26469;
    NSVQ, Vali and Backstrom 2022).

    Args:
        z: What was quantized.
        quantized: The codes.
        direction: Vectors w of length 1. None is the direction of the code: the value is then
            ``quantized``, bit for bit.

    >>> z, code = torch.zeros(2), torch.tensor([3.0, 4.0], requires_grad=True)
    >>> directional(z, code, torch.tensor([0.0, 1.0])).tolist()
    [0.0, 5.0]
    """
    result: Tensor = _Directional.apply(z, quantized, direction)
    return result
