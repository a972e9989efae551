"""What the lookup-free quantizers share: one bit per dimension, and no codebook."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.ops.bit_entropy import bit_entropy, even_split
from vqkit.ops.bits import BitOrder, bits_to_index, index_to_bits
from vqkit.ops.radix import MAX_INDEX_BITS
from vqkit.quantizers.base import NO_TOKEN, Assignment, Quantizer, in_backward
from vqkit.quantizers.entropy_penalty import BitEntropy
from vqkit.quantizers.gradient import (
    GradientEstimator,
    StraightThrough,
    check_works_on_vectors,
    estimate,
)
from vqkit.quantizers.loss import VQLoss

__all__ = ["BinaryQuantizer"]


class BinaryQuantizer(Quantizer):
    """Codes ``+-length`` in every dimension; the bit is 1 where the input is above 0.

    Subclasses say where inputs lie and how long a code is, and keep the arguments documented there.
    """

    def __init__(
        self,
        dim: int,
        bits: Sequence[int] | None,
        order: BitOrder,
        entropy: BitEntropy | None,
        loss: VQLoss,
        gradient: GradientEstimator | None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if dim < 1:
            raise ConfigError(f"{name} dim: expected >= 1, got {dim}.")
        if order not in ("little", "big"):
            raise ConfigError(f"{name} order: expected 'little' or 'big', got {order!r}.")
        widths = even_split(dim, MAX_INDEX_BITS) if bits is None else list(bits)
        if sum(widths) != dim or not all(1 <= width <= MAX_INDEX_BITS for width in widths):
            raise ConfigError(
                f"{name} bits: expected numbers from 1 to {MAX_INDEX_BITS} whose sum is dim "
                f"{dim}, got {widths}."
            )
        self.dim = dim
        self.bits = None if bits is None else tuple(bits)
        self.order = order
        self.entropy = entropy
        self.loss = loss
        self.gradient = gradient or StraightThrough()
        check_works_on_vectors(self.gradient, name)
        self._widths = widths
        self.codebook_sizes = tuple(2**width for width in widths)
        # Sums over all ranks of the last training pass, for its recomputation in backward.
        self._statistics: Tensor | None = None

    @property
    def adds_noise(self) -> bool:
        """Whether the estimator does."""
        return self.gradient.adds_noise

    def extra_repr(self) -> str:
        """Arguments, for ``print(module)``."""
        return (
            f"dim={self.dim}, bits={self.bits}, order={self.order!r}, entropy={self.entropy}, "
            f"loss={self.loss}, gradient={self.gradient}"
        )

    @property
    @abstractmethod
    def _length(self) -> float:
        """Absolute value of every coordinate of every code."""

    @abstractmethod
    def _place(self, z: Tensor) -> Tensor:
        """Bring inputs to where they are compared with the codes."""

    def _index(self, z: Tensor) -> Tensor:
        return self._joined(z > 0)

    def _assign(self, z: Tensor, valid: Tensor | None) -> Assignment:
        trains = self.training and torch.is_grad_enabled()
        recomputes = trains and in_backward()
        choice = self._noise(z, valid)
        placed = self._place(z)
        bits = z.detach() > 0
        codes = self._codes(bits)
        loss, terms = self.loss(placed, codes, valid, trains_codebook=False)
        if self.entropy is not None and self.training:
            logits = placed * (4.0 * self._length / self.entropy.temperature)
            entropies = bit_entropy(
                logits.reshape(-1, self.dim),
                even_split(self.dim, self.entropy.group_bits),
                None if valid is None else valid.flatten(),
                across_ranks=trains,
                statistics=self._statistics if recomputes else None,
            )
            if trains:
                self._statistics = entropies.statistics
            penalty, entropy_terms = self.entropy(entropies, 2**self.dim)
            loss, terms = loss + penalty, terms | entropy_terms
        return Assignment(codes, self._joined(bits), loss, terms, choice)

    def _estimate(self, z: Tensor, assignment: Assignment) -> Tensor:
        return estimate(self.gradient, self._place(z), assignment.codes, assignment.choice)

    def _lookup(self, indices: Tensor) -> Tensor:
        parts = []
        for index, width in zip(indices.unbind(-1), self._widths, strict=True):
            bits = index_to_bits(index.clamp_min(0), width, self.order)
            parts.append(torch.where((index == NO_TOKEN)[..., None], 0.0, self._codes(bits)))
        return torch.cat(parts, dim=-1)

    def _joined(self, bits: Tensor) -> Tensor:
        parts = bits.split(self._widths, dim=-1)
        return torch.stack([bits_to_index(part, self.order) for part in parts], dim=-1)

    def _codes(self, bits: Tensor) -> Tensor:
        # A third of the time of torch.where between two numbers, and exact.
        return bits.float().mul_(2.0 * self._length).sub_(self._length)
