"""Rows of a projected table, with the gradient of the projection and nothing large kept for it."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from vqkit.shapes import Float, Int

__all__ = ["projected_rows"]


class _ProjectedRows(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        table: Tensor,
        indices: Tensor,
        features: Tensor,
        weight: Tensor,
        bias: Tensor | None,
    ) -> Tensor:
        # References alone: the rows of the features are gathered again in backward.
        ctx.save_for_backward(indices, features, weight)
        return table[indices]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        indices, features, weight = ctx.saved_tensors
        (gradient,) = gradients
        of_features = of_weight = of_bias = None
        if ctx.needs_input_grad[2]:
            of_features = torch.zeros_like(features)
            of_features.index_add_(0, indices, gradient @ weight)
        if ctx.needs_input_grad[3]:
            of_weight = gradient.T @ features[indices]
        if ctx.needs_input_grad[4]:
            of_bias = gradient.sum(0)
        return None, None, of_features, of_weight, of_bias


def projected_rows(
    table: Float[Tensor, "codes dim"],
    indices: Int[Tensor, " tokens"],
    features: Float[Tensor, "codes table_dim"],
    weight: Float[Tensor, "dim table_dim"],
    bias: Float[Tensor, " dim"] | None,
) -> Float[Tensor, "tokens dim"]:
    """Return ``table[indices]``, where ``table`` is ``features @ weight.T + bias``.

    The gradient goes to features, weight and bias as if the table had been made from them here, at
    the cost of the rows that were selected: no gradient of all codes is built, and indices are all
    that is kept. The value is a row of the table bit for bit, however many rows are selected.

    Args:
        table: The projected features; no gradient goes to it.
        indices: int64, in ``[0, codes)``.
        features: What is projected.
        weight: The projection.
        bias: Its bias, or None.

    Example:
        >>> features, weight = torch.randn(5, 3), torch.randn(2, 3, requires_grad=True)
        >>> table = (features @ weight.T).detach()
        >>> rows = projected_rows(table, torch.tensor([4, 4]), features, weight, None)
        >>> rows.sum().backward()
        >>> torch.allclose(weight.grad, 2 * features[4].expand(2, 3))
        True
    """
    rows: Tensor = _ProjectedRows.apply(table.detach(), indices, features, weight, bias)
    return rows
