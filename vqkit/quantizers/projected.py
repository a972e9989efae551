"""Large codebooks that move as a whole: a table of vectors and one trained projection of it."""

from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqkit.errors import ConfigError
from vqkit.ops.projection import projected_rows
from vqkit.quantizers.base import NO_TOKEN, Assignment, Quantizer
from vqkit.quantizers.codebook import GradientUpdate
from vqkit.quantizers.gradient import (
    GradientEstimator,
    StraightThrough,
    check_works_on_vectors,
    estimate,
)
from vqkit.quantizers.loss import VQLoss
from vqkit.quantizers.metric import Euclidean, Metric
from vqkit.quantizers.table import Table, read_table

__all__ = ["ProjectedCodebook", "ProjectedVQ"]


class ProjectedCodebook(Quantizer):
    """Nearest code of ``E = F P^T``: what :class:`ProjectedVQ` and :class:`SimVQ` share.

    ``F [K, table_dim]`` are the features, a buffer or a parameter; P is a trained linear layer.
    Whenever P moves, all codes move, used or not, so none is left behind. E is made anew in every
    pass and never kept, so it cannot be stale; the outputs are its rows bit for bit.
    """

    features: Tensor

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        table_dim: int,
        *,
        bias: bool,
        metric: Metric | None,
        trains_features: bool,
        gradient: GradientEstimator | None,
        loss: VQLoss,
    ) -> None:
        super().__init__()
        if dim < 1 or codebook_size < 2 or table_dim < 1:
            raise ConfigError(
                f"{type(self).__name__}: expected dim >= 1, codebook_size >= 2 and table_dim >= 1, "
                f"got {dim}, {codebook_size} and {table_dim}."
            )
        self.dim = dim
        self.codebook_size = codebook_size
        self.codebook_sizes = (codebook_size,)
        self.bias = bias
        self.metric = metric or Euclidean()
        self.gradient = gradient or StraightThrough()
        check_works_on_vectors(self.gradient, type(self).__name__)
        self.loss = loss
        # NaN until the table is read or a state is loaded.
        features = torch.full((codebook_size, table_dim), torch.nan)
        if trains_features:
            self.features = nn.Parameter(features)
        else:
            self.register_buffer("features", features)
        self.projection = nn.Linear(table_dim, dim, bias=bias)
        self._has_features = False

    @property
    def initialized(self) -> bool:
        """Whether the table has values."""
        return not bool(self.features[0, 0].isnan())

    @property
    def codebook(self) -> Tensor:
        """The codes ``[K, dim]`` as they are searched and decoded, fp32, without gradient."""
        return self.metric.place(self._project())

    @property
    def adds_noise(self) -> bool:
        """Whether the estimator does."""
        return self.gradient.adds_noise

    def extra_repr(self) -> str:
        """Arguments, for ``print(module)``."""
        return (
            f"dim={self.dim}, codebook_size={self.codebook_size}, metric={self.metric}, "
            f"gradient={self.gradient}"
        )

    def _assign(self, z: Tensor, valid: Tensor | None) -> Assignment:
        noise = self._noise(z, valid)
        self._check_features()
        z = self.metric.place(z)
        table = self._project()
        rows = z.detach().reshape(-1, self.dim)
        indices = self.metric.nearest(rows, table)
        weight, bias = self._weights()
        codes = projected_rows(table, indices, self.features.float(), weight, bias)
        codes = self.metric.place(codes.reshape(z.shape))
        loss, terms = self.loss(z, codes, valid, trains_codebook=True)
        codes = codes if self.gradient.trains_codes else codes.detach()
        return Assignment(codes, indices.reshape(*z.shape[:-1], 1), loss, terms, noise)

    def _estimate(self, z: Tensor, assignment: Assignment) -> Tensor:
        return estimate(self.gradient, self.metric.place(z), assignment.codes, assignment.choice)

    def _lookup(self, indices: Tensor) -> Tensor:
        self._check_features()
        index = indices[..., 0]
        # All codes, not only those asked for: a product of fewer rows may round otherwise.
        codes = self.metric.place(self._project()[index.clamp_min(0)])
        return torch.where((index == NO_TOKEN)[..., None], 0.0, codes)

    @torch.no_grad()
    def _project(self) -> Tensor:
        return F.linear(self.features.float(), *self._weights())

    def _weights(self) -> tuple[Tensor, Tensor | None]:
        # fp32 even where the module was cast to half precision.
        bias = self.projection.bias
        return self.projection.weight.float(), None if bias is None else bias.float()

    def _check_features(self) -> None:
        # Asked until the answer is yes: reading it back stalls a device.
        if self._has_features or torch.compiler.is_compiling():
            return
        if not self.initialized:
            raise ConfigError(
                f"{type(self).__name__}: expected a table of {self.codebook_size} vectors, got "
                "none. Pass table=..., or load a state that holds one."
            )
        self._has_features = True


@final
class ProjectedVQ(ProjectedCodebook):
    """A frozen table of features seen through one trained projection (VQGAN-LC, arXiv 2406.11837).

    Args:
        dim: Features of an input vector; 8 in the paper.
        codebook_size: Number of codes K, at least 2; 100,000 in the paper.
        table_dim: Features of a row of the table.
        table: Where its rows come from. Read once and then None: a stored model holds the rows and
            needs no file. Built with None, the quantizer has no codes until a state is loaded.
        update: None freezes the table; ``GradientUpdate()`` trains it together with the projection.
        bias: Whether the projection has a bias.
        metric: How inputs and codes are compared.
        gradient: How the gradient passes.
        loss: Weights of commitment and codebook term; ``VQLoss.vqgan_lc()`` by default, 1 and 0.33.

    Raises:
        ConfigError: A size too small, a table of another shape, or a use before there is one.

    ``E = F P^T``, the nearest row of E; P starts at N(0, 1/dim). Every code moves at every step.
    The same table without projection, moved by EMA, is
    ``VectorQuantizer(init=FromTable(table), update=EMA())``.

    >>> from vqkit.quantizers import GaussianTable
    >>> quantizer = ProjectedVQ(dim=8, codebook_size=1000, table_dim=32, table=GaussianTable())
    >>> quantizer(torch.randn(2, 5, 5, 8)).indices.shape, quantizer.codebook.shape
    (torch.Size([2, 5, 5, 1]), torch.Size([1000, 8]))
    """

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        table_dim: int,
        *,
        table: Table | None = None,
        update: GradientUpdate | None = None,
        bias: bool = False,
        metric: Metric | None = None,
        gradient: GradientEstimator | None = None,
        loss: VQLoss | None = None,
    ) -> None:
        if update is not None and not isinstance(update, GradientUpdate):
            raise ConfigError(
                f"ProjectedVQ update: expected None or GradientUpdate, got {update}. For an EMA "
                "use VectorQuantizer(init=FromTable(table))."
            )
        super().__init__(
            dim,
            codebook_size,
            table_dim,
            bias=bias,
            metric=metric,
            trains_features=update is not None,
            gradient=gradient,
            loss=loss or VQLoss.vqgan_lc(),
        )
        self.table_dim = table_dim
        self.update = update
        if table is not None:
            with torch.no_grad():
                self.features.copy_(read_table(table, codebook_size, table_dim))
        self.table: Table | None = None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the projection anew; the table stays."""
        nn.init.normal_(self.projection.weight, std=self.dim**-0.5)
        if self.projection.bias is not None:
            nn.init.zeros_(self.projection.bias)
