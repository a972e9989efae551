"""The weight that keeps the adversarial gradient as large as the reconstruction's."""

import torch
from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.ops.collectives import all_sum, world_size
from vqkit.shapes import Float

__all__ = ["adaptive_weight"]


def _gradient_norm(loss: Tensor, parameter: Tensor, name: str) -> Tensor:
    gradient: Tensor | None = None
    if loss.requires_grad:
        (gradient,) = torch.autograd.grad(loss, parameter, retain_graph=True, allow_unused=True)
    if gradient is None:
        raise ConfigError(
            f"Adaptive weight: expected {name} to depend on last_layer, got no gradient. "
            f"Pass the decoder's last_layer and losses of its undetached output."
        )
    # Norm of the mean, not mean of the norms: ranks with parts of a batch give the batch's weight.
    return (all_sum(gradient.detach().float()) / world_size()).norm()


def adaptive_weight(
    reconstruction_loss: Float[Tensor, ""],
    generator_loss: Float[Tensor, ""],
    last_layer: Float[Tensor, "..."],
    *,
    maximum: float = 1e4,
    eps: float = 1e-4,
) -> Float[Tensor, ""]:
    """``|d reconstruction / d last| / (|d generator / d last| + eps)``, within [0, maximum].

    Esser et al. 2021, eq. 7 (VQGAN multiplies it by 0.8). Detached, fp32. With a process group the
    gradients are averaged over the ranks first; every rank must call. Both graphs stay usable. A
    gradient that is not finite gives a weight that is not, for the training to skip the step.

    Args:
        reconstruction_loss: Everything but the adversarial term: pixel and perceptual losses.
        generator_loss: The adversarial term.
        last_layer: Weight of the decoder's last layer.
        maximum: Upper bound, which a vanishing generator gradient reaches.
        eps: Added to the generator's norm.

    Raises:
        ConfigError: If a loss does not depend on ``last_layer``.

    Example:
        >>> last = torch.tensor([1.0], requires_grad=True)
        >>> adaptive_weight((6 * last).sum(), (2 * last).sum(), last, eps=0.0)
        tensor(3.)
    """
    reconstruction = _gradient_norm(reconstruction_loss, last_layer, "reconstruction_loss")
    generator = _gradient_norm(generator_loss, last_layer, "generator_loss")
    return (reconstruction / (generator + eps)).clamp(0.0, maximum)
