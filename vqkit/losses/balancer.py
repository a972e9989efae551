"""Losses balanced by their gradients at the model's output."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from vqkit.errors import ConfigError
from vqkit.ops.collectives import all_sum, world_size
from vqkit.shapes import Float

__all__ = ["GradientBalancer"]


class GradientBalancer(nn.Module):
    """Gives each loss a share of the output's gradient, whatever the loss's own scale.

    EnCodec (arXiv 2210.13438, section 3.4, eq. 6): with ``g_i`` the gradient of loss i at the
    output and ``n_i`` the average of its norm over the steps, the output's gradient is
    ``total_norm * sum_i (weight_i / sum_j weight_j) g_i / n_i``. Weights are then shares, and a
    loss times ten is the same training. The weights are summed over the losses that are there: one
    which comes in later takes its share from the others.

    The averages are exponential without a start at zero (a weighted mean of what was seen), of all
    ranks, and buffers, so that a resumed run goes on with them. They move in training with
    gradients enabled only, before they are used; norms that are not finite move nothing. Per item
    the norm is that of the item's own loss, and the result is the mean over the items: ranks with
    parts of a batch give the batch's. (audiocraft's result is larger by the batch size, which Adam
    does not notice and clipping does.)

    A loss whose gradient was zero for long and comes back is divided by an average near zero: it
    may have up to ``1 / (1 - decay)`` times its share for a while.

    Args:
        names: Of all losses that there may be.
        total_norm: Norm of the output's gradient, if all gradients pointed in one direction.
        decay: Share of the past in each update of the averages.
        per_item: Average the norms over the items of a batch, not the norm of the whole batch.

    Raises:
        ConfigError: No name or one twice, a norm that is not positive, a decay outside [0, 1).

    Example:
        >>> output = torch.tensor([[3.0]], requires_grad=True)
        >>> losses = {"small": 0.001 * output.mean(), "large": -100 * output.mean()}
        >>> balancer = GradientBalancer(["small", "large"])
        >>> balancer(losses, {"small": 3.0, "large": 1.0}, output).backward()
        >>> output.grad  # 3/4 up and 1/4 down
        tensor([[0.5000]])
    """

    norm_sums: Tensor
    norm_weights: Tensor

    def __init__(
        self,
        names: Sequence[str],
        total_norm: float = 1.0,
        decay: float = 0.999,
        per_item: bool = True,
    ) -> None:
        super().__init__()
        if not names or len(set(names)) != len(names) or total_norm <= 0 or not 0.0 <= decay < 1.0:
            raise ConfigError(
                f"GradientBalancer: expected different names, total_norm > 0 and 0 <= decay < 1, "
                f"got {list(names)}, {total_norm} and {decay}."
            )
        self.names = tuple(names)
        self.total_norm = total_norm
        self.decay = decay
        self.per_item = per_item
        self.register_buffer("norm_sums", torch.zeros(len(names)))
        self.register_buffer("norm_weights", torch.zeros(len(names)))

    def average_norms(self) -> dict[str, Tensor]:
        """Average norm of each loss's gradient; NaN where none was seen."""
        return dict(zip(self.names, (self.norm_sums / self.norm_weights).unbind(), strict=True))

    def forward(
        self,
        losses: Mapping[str, Float[Tensor, ""]],
        weights: Mapping[str, float],
        output: Float[Tensor, "batch *shape"],
    ) -> Float[Tensor, ""]:
        """A scalar whose gradient at the output is the balanced one, to add and to go back from.

        Its value is the sum of the losses with the factors that balance them. With a process group
        every rank must call, with the same losses.

        Args:
            losses: Scalars, means over the batch, that depend on the model by way of ``output``
                alone. Their graphs stay usable.
            weights: Shares, for these losses at least.
            output: What the model gave, with its graph.

        Raises:
            ConfigError: An unknown name, no weight above 0, or a loss without the output.
        """
        unknown = set(losses) - set(self.names) or set(losses) - set(weights)
        if unknown or not losses:
            raise ConfigError(
                f"GradientBalancer: expected losses of {list(self.names)} with weights, got "
                f"{sorted(losses)} and weights of {sorted(weights)}."
            )
        total_weight = sum(weights[name] for name in losses)
        if total_weight <= 0 or min(weights[name] for name in losses) < 0:
            raise ConfigError(
                f"GradientBalancer: expected weights >= 0, one above, got {dict(weights)}."
            )
        gradients = {name: _gradient(loss, output, name) for name, loss in losses.items()}
        norms = self._average(list(gradients), self._norms(list(gradients.values())))
        balanced = torch.zeros_like(output, dtype=torch.float32)
        value = torch.zeros((), device=output.device)
        for name, norm in zip(gradients, norms.unbind(), strict=True):
            share = weights[name] / total_weight * self.total_norm
            # Without a gradient there is nothing to scale, and no number to scale the value by.
            factor = torch.where(norm > 0, share / norm, 0.0)
            balanced = balanced + factor * gradients[name]
            value = value + factor * losses[name].detach()
        result: Tensor = _WithGradient.apply(output, balanced, value)
        return result

    def _norms(self, gradients: Sequence[Tensor]) -> Tensor:
        """Norm of each loss's gradient over the batch of all ranks, fp32 ``[losses]``."""
        if self.per_item:
            # Each loss is a mean over the items: without their number, it is an item's own.
            of_items = [g.flatten(1).norm(dim=1).sum() * len(g) for g in gradients]
            count = gradients[0].new_tensor(float(len(gradients[0])))
            sums = all_sum(torch.stack([*of_items, count]))
            return sums[:-1] / sums[-1]
        squares = all_sum(torch.stack([g.square().sum() for g in gradients]))
        return squares.sqrt() / world_size()

    def _average(self, names: Sequence[str], norms: Tensor) -> Tensor:
        """Average norms of these losses, this batch's taken in if it is to be."""
        index = torch.tensor([self.names.index(name) for name in names], device=norms.device)
        sums, weights = self.norm_sums[index], self.norm_weights[index]
        if self.training and torch.is_grad_enabled():
            finite = norms.isfinite()
            sums = torch.where(finite, self.decay * sums + norms, sums)
            weights = torch.where(finite, self.decay * weights + 1.0, weights)
            self.norm_sums[index] = sums
            self.norm_weights[index] = weights
        return torch.where(weights > 0, sums / weights, norms)


class _WithGradient(torch.autograd.Function):
    """The value, with the given gradient at the output."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, gradient: Tensor, value: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        ctx.dtype = output.dtype
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return (gradients[0] * gradient).to(ctx.dtype), None, None


def _gradient(loss: Tensor, output: Tensor, name: str) -> Tensor:
    gradient: Tensor | None = None
    if loss.requires_grad and output.requires_grad:
        (gradient,) = torch.autograd.grad(loss, output, retain_graph=True, allow_unused=True)
    if gradient is None:
        raise ConfigError(
            f"GradientBalancer: expected {name!r} to depend on the output, got no gradient. "
            f"Compute the losses of the undetached output."
        )
    return gradient.detach().float()
