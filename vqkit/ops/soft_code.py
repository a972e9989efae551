"""A code by its index, with the gradient of a soft assignment over the whole codebook."""

from typing import Any

import torch
from torch import Tensor

from vqkit.ops.score_tiles import ScoreTiles, wide_float
from vqkit.shapes import Float, Int

__all__ = ["soft_code"]


def soft_code(
    z: Float[Tensor, "tokens dim"],
    weight: Float[Tensor, "codes dim"],
    bias: Float[Tensor, " codes"] | None,
    values: Float[Tensor, "codes width"],
    indices: Int[Tensor, " tokens"],
    temperature: Float[Tensor, ""] | float = 1.0,
    keys: Int[Tensor, " tokens"] | None = None,
) -> Float[Tensor, "tokens width"]:
    """Return ``values[indices]`` with the gradient of ``a @ values`` (IBQ, arXiv 2412.02692).

    ``a = onehot(indices) + p - sg[p]``, with ``p = softmax((z W^T + bias + noise) / temperature)``:
    the gradient reaches z, W and bias through p, that is through every code, and ``values`` through
    the one-hot. With the noise that drew the indices it is the straight-through Gumbel softmax
    (arXiv 1611.01144). The value is that of ``values``, bit for bit.

    Backward computes p again, tile by tile: nothing of size tokens x codes is kept or built.

    Args:
        z: Tokens.
        weight: One row of scores per code.
        bias: A number per code.
        values: What the codes stand for; ``weight`` itself may be passed, and gets both gradients.
        indices: A code per token.
        temperature: Above 0.
        keys: Gumbel noise, as given to :func:`vqkit.ops.select_code`; None for none.

    >>> table = torch.eye(3, requires_grad=True)
    >>> out = soft_code(torch.ones(1, 3), table, None, table, torch.tensor([2]))
    >>> out.tolist(), torch.autograd.grad(out[0, 2], table)[0].abs().sum(1).count_nonzero().item()
    ([[0.0, 0.0, 1.0]], 3)
    """
    if not isinstance(temperature, Tensor):
        temperature = z.new_tensor(temperature)
    out: Tensor = _soft_code(z, weight, bias, values, indices, temperature, keys)
    return out


@torch.library.custom_op("vqkit::soft_code", mutates_args=())
def _soft_code(
    z: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    values: Tensor,
    indices: Tensor,
    temperature: Tensor,
    keys: Tensor | None,
) -> Tensor:
    return values[indices]


@_soft_code.register_fake
def _(
    z: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    values: Tensor,
    indices: Tensor,
    temperature: Tensor,
    keys: Tensor | None,
) -> Tensor:
    return values.new_empty(indices.shape[0], values.shape[1])


@torch.library.custom_op("vqkit::soft_code_backward", mutates_args=())
def _soft_code_backward(
    gradient: Tensor,
    z: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    values: Tensor,
    indices: Tensor,
    temperature: Tensor,
    keys: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    to_z, to_weight = torch.zeros_like(z), torch.zeros_like(weight)
    to_bias = weight.new_zeros(len(weight))
    to_values = torch.zeros_like(values).index_add_(0, indices, gradient)
    with wide_float(z.device):
        tiles = ScoreTiles(z, weight, bias, temperature, keys)
        for rows in tiles.blocks:
            block, upstream = tiles.block(rows), gradient[rows]

            def to_share(codes: slice, _: Tensor, upstream: Tensor = upstream) -> Tensor:
                return upstream @ values[codes].T

            # d out / d score_k = p_k (g . v_k - sum_j p_j g . v_j) / temperature.
            peak, mass, mean = block.softmax_mean(to_share)
            for codes, scores in block:
                share = (scores - peak).exp_().div_(mass)
                share.mul_(to_share(codes, scores).sub_(mean)).mul_(tiles.inverse)
                to_z[rows].addmm_(share, weight[codes])
                to_weight[codes].addmm_(share.T, block.z)
                if bias is not None:
                    to_bias[codes] += share.sum(0)
    return to_z, to_weight, to_bias, to_values


@_soft_code_backward.register_fake
def _(
    gradient: Tensor,
    z: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    values: Tensor,
    indices: Tensor,
    temperature: Tensor,
    keys: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return (
        torch.empty_like(z),
        torch.empty_like(weight),
        weight.new_empty(weight.shape[0]),
        torch.empty_like(values),
    )


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _differentiate(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    saved = ctx.saved_tensors  # checkpointing lets them be read once
    to_z, to_weight, to_bias, to_values = _soft_code_backward(gradient.contiguous(), *saved)
    bias = saved[2]
    return to_z, to_weight, None if bias is None else to_bias, to_values, None, None, None


_soft_code.register_autograd(_differentiate, setup_context=_keep)
