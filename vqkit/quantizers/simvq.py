"""A random table and one linear layer."""

from typing import final

import torch

from vqkit.quantizers.gradient import GradientEstimator
from vqkit.quantizers.loss import VQLoss
from vqkit.quantizers.metric import Metric
from vqkit.quantizers.projected import ProjectedCodebook
from vqkit.quantizers.table import GaussianTable

__all__ = ["SimVQ"]


@final
class SimVQ(ProjectedCodebook):
    """Nearest code of ``C W``: C is random and frozen, W is trained (SimVQ, arXiv 2411.02038).

    Args:
        dim: Features of an input vector.
        codebook_size: Number of codes K, at least 2.
        table_dim: Features of a row of C; None means ``dim``, as in the paper.
        bias: Whether W has a bias: the authors' code has one, the paper's equation does not.
        metric: How inputs and codes are compared.
        gradient: How the gradient passes.
        loss: Weights of commitment and codebook term. ``VQLoss()`` by default, the order of the
            VQ-VAE paper, 0.25 on the commitment, as vector-quantize-pytorch has it;
            ``VQLoss.taming()``, 0.25 on the codebook term, is the authors'.

    Raises:
        ConfigError: A size too small.

    Entries of C are N(0, 1/table_dim), W starts as ``nn.Linear`` does. Every code moves whenever W
    moves, used or not.

    >>> quantizer = SimVQ(dim=8, codebook_size=1000)
    >>> quantizer(torch.randn(2, 5, 5, 8)).indices.shape, quantizer.codebook.shape
    (torch.Size([2, 5, 5, 1]), torch.Size([1000, 8]))
    """

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        *,
        table_dim: int | None = None,
        bias: bool = False,
        metric: Metric | None = None,
        gradient: GradientEstimator | None = None,
        loss: VQLoss | None = None,
    ) -> None:
        super().__init__(
            dim,
            codebook_size,
            dim if table_dim is None else table_dim,
            bias=bias,
            metric=metric,
            trains_features=False,
            gradient=gradient,
            loss=loss or VQLoss(),
        )
        self.table_dim = table_dim
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw C and W anew."""
        self.features.copy_(GaussianTable()(*self.features.shape))
        self.projection.reset_parameters()
