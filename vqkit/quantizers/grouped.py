"""Product quantization: parts of the vector are quantized by themselves."""

import copy
from collections.abc import Callable
from typing import final

import torch
from torch import Tensor, nn

from vqkit.errors import ConfigError
from vqkit.quantizers.base import Assignment, Quantizer, refuse_grid, spread_bad_values

__all__ = ["Grouped"]


@final
class Grouped(Quantizer):
    """Splits the features into groups of equal width, each with a codebook of its own.

    Product quantization (Jegou et al., PAMI 2011, section II.C): G codebooks of K codes act as one
    of K^G, for the memory and search of G K. ``Residual(Grouped(inner, groups), depth)`` is the
    grouped residual quantizer of HiFi-Codec (arXiv 2305.02765): its indices go level by level, so
    that a prefix of the levels decodes, and level dropout takes the same levels from all groups.

    Args:
        inner: Quantizer of one group; the whole has ``groups * inner.dim`` features.
        groups: Number of groups.
        shared: One quantizer for all groups, which learns once per pass from the vectors of all.

    Indices are ``[..., groups * inner codebooks]``, group by group. The loss is the mean over the
    groups: with a loss that averages over features, that of the whole vector.

    Raises:
        ConfigError: ``groups < 1``, or an inner quantizer of whole grids.

    >>> from vqkit.quantizers import VectorQuantizer
    >>> quantizer = Grouped(VectorQuantizer(dim=4, codebook_size=16), groups=3)
    >>> quantizer.encode(torch.randn(2, 10, 12)).shape, quantizer.bits_per_position
    (torch.Size([2, 10, 3]), 12.0)
    """

    def __init__(self, inner: Quantizer, groups: int, *, shared: bool = False) -> None:
        super().__init__()
        if groups < 1:
            raise ConfigError(f"Grouped groups: expected >= 1, got {groups}.")
        refuse_grid(inner, "Grouped")
        self.groups = groups
        self.shared = shared
        self.parts = nn.ModuleList(copy.deepcopy(inner) for _ in range(1 if shared else groups))
        self.dim = groups * inner.dim
        self.codebook_sizes = inner.codebook_sizes * groups
        self.reset_parameters()

    @property
    def inner(self) -> Quantizer:
        """The quantizer of the first group."""
        return self._part(0)

    @property
    def initialized(self) -> bool:
        """Whether every group is initialised."""
        return all(self._part(i).initialized for i in range(len(self.parts)))

    @property
    def adds_noise(self) -> bool:
        """Whether the inner quantizer does."""
        return self.inner.adds_noise

    def reset_parameters(self) -> None:
        """Draw every group anew, each differently."""
        for i in range(len(self.parts)):
            self._part(i).reset_parameters()

    def extra_repr(self) -> str:
        """Arguments, for ``print(module)``."""
        return f"groups={self.groups}, shared={self.shared}"

    def _part(self, i: int) -> Quantizer:
        part = self.parts[i]
        assert isinstance(part, Quantizer)
        return part

    def _quantize(self, z: Tensor, valid: Tensor | None) -> Assignment:
        return self._each(z, valid, lambda part, x, used: part._quantize(x, used))

    def _assign(self, z: Tensor, valid: Tensor | None) -> Assignment:
        return self._each(z, valid, lambda part, x, used: part._assign(x, used))

    def _each(
        self,
        z: Tensor,
        valid: Tensor | None,
        quantize: Callable[[Quantizer, Tensor, Tensor | None], Assignment],
    ) -> Assignment:
        if self.training and torch.is_grad_enabled():
            z = spread_bad_values(z)
        if valid is not None and self.shared:
            valid = valid.repeat_interleave(self.groups, dim=1)
        results = [quantize(self._part(i), part, valid) for i, part in enumerate(self._split(z))]
        return Assignment(
            codes=self._join([result.codes for result in results]),
            indices=self._join([result.indices for result in results]),
            loss=torch.stack([result.loss for result in results]).mean(),
            terms={
                f"{name}_{i}" if len(results) > 1 else name: term
                for i, result in enumerate(results)
                for name, term in result.terms.items()
            },
        )

    def _estimate(self, z: Tensor, assignment: Assignment) -> Tensor:
        parts = zip(
            self._split(z),
            self._split(assignment.codes),
            self._split(assignment.indices),
            strict=True,
        )
        return self._join(
            [
                self._part(i)._estimate(x, assignment._replace(codes=codes, indices=indices))
                for i, (x, codes, indices) in enumerate(parts)
            ]
        )

    def _lookup(self, indices: Tensor) -> Tensor:
        parts = self._split(indices)
        return self._join([self._part(i)._lookup(part) for i, part in enumerate(parts)])

    def _split(self, x: Tensor) -> list[Tensor]:
        """Each part's share of ``[batch, positions, n]``; a shared one gets groups as positions."""
        if not self.shared:
            return list(x.chunk(self.groups, dim=-1))
        batch, positions, width = x.shape
        return [x.reshape(batch, positions * self.groups, width // self.groups)]

    def _join(self, parts: list[Tensor]) -> Tensor:
        if not self.shared:
            return torch.cat(parts, dim=-1)
        (part,) = parts
        batch, rows, width = part.shape
        return part.reshape(batch, rows // self.groups, self.groups * width)
