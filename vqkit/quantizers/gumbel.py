"""Codes drawn by learned logits: the discrete VAE's quantizer."""

import math
from typing import final

import torch
from torch import Tensor, nn

from vqkit.errors import ConfigError
from vqkit.ops.assignment_entropy import assignment_entropy
from vqkit.ops.collectives import all_sum
from vqkit.ops.select_code import select_code
from vqkit.ops.soft_code import soft_code
from vqkit.quantizers.base import (
    NO_TOKEN,
    Assignment,
    Quantizer,
    in_backward,
    squares_are_finite,
)
from vqkit.quantizers.schedule import Schedule, check_positive, value_at
from vqkit.quantizers.selection import Choice, draw_keys

__all__ = ["GumbelQuantizer"]


@final
class GumbelQuantizer(Quantizer):
    """A linear layer gives the logits, Gumbel noise draws the code (dVAE, arXiv 2102.12092).

    Training draws ``k ~ softmax(W z + b)`` and gives the code e_k, with the gradient of
    ``softmax((W z + b + noise) / temperature) @ E`` (straight-through Gumbel softmax,
    arXiv 1611.01144). Evaluation takes the largest logit. The loss is ``kl_weight`` times the mean
    over the positions of the divergence from uniform, ``log K - H(softmax(W z + b))``.

    Args:
        dim: Features of an input vector and of a code.
        codebook_size: Number of codes K, at least 2.
        temperature: A number or a schedule over the training steps. dVAE goes from 1 to 1/16.
        kl_weight: Weight of the divergence, or a schedule.

    All passes go through the codes in tiles, and the noise is made again in backward: nothing of
    size tokens x codes is kept or built. ``num_steps`` counts the training passes, for the
    schedules; a batch with a NaN or an infinity on any rank is counted in ``skipped_batches``
    instead.

    Raises:
        ConfigError: ``dim < 1``, ``codebook_size < 2``, a temperature or weight out of range.

    >>> quantizer = GumbelQuantizer(dim=8, codebook_size=64)
    >>> output = quantizer(torch.randn(2, 5, 8))
    >>> output.quantized.shape, output.indices.shape
    (torch.Size([2, 5, 8]), torch.Size([2, 5, 1]))
    """

    codebook: nn.Parameter
    num_steps: Tensor
    skipped_batches: Tensor

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        *,
        temperature: float | Schedule = 1.0,
        kl_weight: float | Schedule = 5e-4,
    ) -> None:
        super().__init__()
        if dim < 1 or codebook_size < 2:
            raise ConfigError(
                f"GumbelQuantizer: expected dim >= 1 and codebook_size >= 2, got {dim} and "
                f"{codebook_size}."
            )
        check_positive("GumbelQuantizer temperature", temperature)
        if not isinstance(kl_weight, Schedule) and not kl_weight >= 0:
            raise ConfigError(f"GumbelQuantizer kl_weight: expected >= 0, got {kl_weight}.")
        self.dim = dim
        self.codebook_size = codebook_size
        self.codebook_sizes = (codebook_size,)
        self.temperature = temperature
        self.kl_weight = kl_weight
        self.logits = nn.Linear(dim, codebook_size)
        self.codebook = nn.Parameter(torch.empty(codebook_size, dim))
        for counter in ("num_steps", "skipped_batches"):
            self.register_buffer(counter, torch.zeros((), dtype=torch.int64))
        # Number of the last training pass, for its recomputation in backward.
        self._step = torch.zeros((), dtype=torch.int64)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw logits and codes anew."""
        self.logits.reset_parameters()
        nn.init.normal_(self.codebook)
        self.num_steps.zero_()
        self.skipped_batches.zero_()

    def extra_repr(self) -> str:
        """Arguments, for ``print(module)``."""
        return (
            f"dim={self.dim}, codebook_size={self.codebook_size}, temperature={self.temperature}, "
            f"kl_weight={self.kl_weight}"
        )

    def _index(self, z: Tensor) -> Tensor:
        return self._select(z, None)

    def _assign(self, z: Tensor, valid: Tensor | None) -> Assignment:
        trains = self.training and torch.is_grad_enabled()
        keys = draw_keys(z, valid) if trains else None
        step = self.num_steps
        if trains:
            step = self._advance(z, valid)
        indices = self._select(z.detach(), keys)
        codes = self.codebook.float()[indices[..., 0]]
        weight, bias = self._linear()
        entropies = assignment_entropy(
            z.reshape(-1, self.dim),
            weight,
            bias,
            valid=None if valid is None else valid.flatten(),
        )
        # Without a valid token there is no divergence, and rounding must not make it negative.
        num_valid = z[..., 0].numel() if valid is None else valid.sum()
        kl = (math.log(self.codebook_size) - entropies.of_tokens).clamp_min(0.0)
        kl = torch.where(z.new_tensor(0.0) < num_valid, kl, 0.0)
        loss = value_at(self.kl_weight, step) * kl
        choice = Choice(keys, step)
        return Assignment(codes.detach(), indices, loss, {"kl": kl.detach()}, choice)

    def _estimate(self, z: Tensor, assignment: Assignment) -> Tensor:
        choice = assignment.choice
        assert choice is not None, "every assignment here has one"
        assert choice.step is not None, "every assignment here has one"
        weight, bias = self._linear()
        soft = soft_code(
            z.reshape(-1, self.dim),
            weight,
            bias,
            self.codebook.float(),
            assignment.indices.flatten(),
            value_at(self.temperature, choice.step),
            choice.keys,
        )
        return soft.reshape(z.shape)

    def _lookup(self, indices: Tensor) -> Tensor:
        index = indices[..., 0]
        codes = self.codebook.float()[index.clamp_min(0)]
        return torch.where((index == NO_TOKEN)[..., None], 0.0, codes)

    def _linear(self) -> tuple[Tensor, Tensor]:
        # fp32 even where the module was cast to half precision.
        return self.logits.weight.float(), self.logits.bias.float()

    def _select(self, z: Tensor, keys: Tensor | None) -> Tensor:
        indices = select_code(z.reshape(-1, self.dim), *self._linear(), keys)
        return indices.reshape(*z.shape[:-1], 1)

    def _advance(self, z: Tensor, valid: Tensor | None) -> Tensor:
        """Count this pass, the same on every rank; return the number of those before it."""
        if in_backward():
            return self._step
        self._step = self.num_steps.clone()
        num_valid = z.new_tensor(z[..., 0].numel()) if valid is None else valid.sum()
        num_bad = (~squares_are_finite(z.detach())).sum()
        bad, some = all_sum(torch.stack([num_bad, num_valid.long()])).unbind()
        self.skipped_batches += bad > 0
        self.num_steps += (bad == 0) & (some > 0)
        return self._step
