"""Scalar latent quantization: every dimension has a few learned values of its own."""

from typing import final

import torch
from torch import Tensor, nn

from vqkit.errors import ConfigError
from vqkit.quantizers.base import NO_TOKEN, Assignment, Quantizer
from vqkit.quantizers.gradient import (
    GradientEstimator,
    StraightThrough,
    check_works_on_vectors,
    estimate,
)
from vqkit.quantizers.loss import VQLoss

__all__ = ["ScalarLatent"]


@final
class ScalarLatent(Quantizer):
    """Nearest of a few learned values, dimension by dimension (QLAE, arXiv 2305.18378, eq. 2-4).

    Few values for each of few latents, under strong weight decay of the networks around them, make
    an autoencoder give each factor of variation latents of its own. ``vqkit.metrics.info_mec``
    measures that. The values start evenly spread over [-0.5, 0.5]; they learn from the codebook
    term of the loss alone. Weight decay must spare them: ``vqkit.training.parameter_groups`` does.

    Args:
        dim: Number of latents; the paper takes twice the number of factors.
        num_values: Values of each latent, at least 2.
        loss: Weights of the term that moves the values ("codebook") and of the commitment. None is
            the paper's: 0.01 each.
        gradient: How the gradient passes to the input.

    Raises:
        ConfigError: ``dim < 1`` or ``num_values < 2``.

    >>> quantizer = ScalarLatent(dim=3, num_values=5)
    >>> quantizer.codebook_sizes
    (5, 5, 5)
    >>> indices = quantizer.encode(torch.tensor([[[-7.0, 0.02, 0.19]]]))
    >>> indices.tolist(), quantizer.decode(indices).tolist()
    ([[[0, 2, 3]]], [[[-0.5, 0.0, 0.25]]])
    """

    def __init__(
        self,
        dim: int,
        num_values: int = 10,
        *,
        loss: VQLoss | None = None,
        gradient: GradientEstimator | None = None,
    ) -> None:
        super().__init__()
        if dim < 1 or num_values < 2:
            raise ConfigError(
                f"ScalarLatent: expected dim >= 1 and num_values >= 2, got {dim} and {num_values}."
            )
        self.dim = dim
        self.num_values = num_values
        self.codebook_sizes = (num_values,) * dim
        self.loss = loss or VQLoss(commitment=0.01, codebook=0.01)
        self.gradient = gradient or StraightThrough()
        check_works_on_vectors(self.gradient, "ScalarLatent")
        self.values = nn.Parameter(torch.empty(dim, num_values))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Spread the values evenly over [-0.5, 0.5]."""
        self.values.copy_(torch.linspace(-0.5, 0.5, self.num_values).expand_as(self.values))

    @property
    def adds_noise(self) -> bool:
        """Whether the estimator does."""
        return self.gradient.adds_noise

    def extra_repr(self) -> str:
        """Arguments, for ``print(module)``."""
        return (
            f"dim={self.dim}, num_values={self.num_values}, loss={self.loss}, "
            f"gradient={self.gradient}"
        )

    def _assign(self, z: Tensor, valid: Tensor | None) -> Assignment:
        noise = self._noise(z, valid)
        indices = self._nearest(z.detach())
        codes = self._pick(indices)
        loss, terms = self.loss(z, codes, valid, trains_codebook=True)
        codes = codes if self.gradient.trains_codes else codes.detach()
        return Assignment(codes, indices, loss, terms, noise)

    def _estimate(self, z: Tensor, assignment: Assignment) -> Tensor:
        return estimate(self.gradient, z, assignment.codes, assignment.choice)

    def _lookup(self, indices: Tensor) -> Tensor:
        return torch.where(indices == NO_TOKEN, 0.0, self._pick(indices.clamp_min(0)))

    def _nearest(self, z: Tensor) -> Tensor:
        # Value by value: what is held is of the input's size, however many values there are. They
        # move, so that no order may be assumed. A NaN is never nearer and stays at index 0.
        values = self.values.detach().float()
        # Beyond the outermost values all distances round to the same number.
        z = z.clamp(values.amin(1), values.amax(1))
        nearest = (z - values[:, 0]).abs()
        indices = torch.zeros_like(z, dtype=torch.int64)
        for i in range(1, self.num_values):
            distance = (z - values[:, i]).abs()
            indices = torch.where(distance < nearest, i, indices)
            nearest = torch.minimum(distance, nearest)
        return indices

    def _pick(self, indices: Tensor) -> Tensor:
        return self.values.float()[torch.arange(self.dim, device=indices.device), indices]
