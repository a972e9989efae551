"""Exponential moving average of a model's weights."""

import copy

import torch
from torch import nn

from vqkit.errors import ConfigError

__all__ = ["WeightAverage"]


class WeightAverage(nn.Module):
    """A copy of a model whose parameters follow slowly; its buffers follow at once.

    The copy is a module of its own: nothing is renamed, it goes into checkpoints as it is, and it
    is what gets exported. Early on the average forgets faster, with decay ``(1 + n) / (10 + n)``.

    Args:
        model: The model to follow.
        decay: Share of the past kept at each step.

    Raises:
        ConfigError: A decay outside [0, 1).
    """

    def __init__(self, model: nn.Module, decay: float = 0.999) -> None:
        super().__init__()
        if not 0.0 <= decay < 1.0:
            raise ConfigError(f"WeightAverage: expected 0 <= decay < 1, got {decay}.")
        self.decay = decay
        self.model = copy.deepcopy(model).requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after generator step ``step``, counted from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        ours = [p.detach() for p in self.model.parameters()]
        torch._foreach_lerp_(ours, [p.detach() for p in model.parameters()], 1.0 - decay)
        # By loading, because a buffer may have grown. Parameters are absent, hence not strict.
        saved = model.state_dict()
        buffers = {name: saved[name] for name, _ in model.named_buffers() if name in saved}
        self.model.load_state_dict(buffers, strict=False)
