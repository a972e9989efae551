"""Quantization in a rotated space; the rotation is learned."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.ops.collectives import all_sum, broadcast_first, rank
from vqkit.quantizers.base import (
    Assignment,
    Quantizer,
    in_backward,
    refuse_grid,
    spread_bad_values,
    squares_are_finite,
)

__all__ = ["IdentityRotation", "RandomRotation", "Rotated", "RotationInit"]


class RotationInit(ABC):
    """First rotation."""

    @abstractmethod
    def __call__(self, dim: int) -> Tensor:
        """Return an orthogonal matrix ``[dim, dim]``."""


@dataclass(frozen=True)
class IdentityRotation(RotationInit):
    """Starts with the features as they are."""

    def __call__(self, dim: int) -> Tensor:
        """Identity."""
        return torch.eye(dim)


@dataclass(frozen=True)
class RandomRotation(RotationInit):
    """Starts anywhere: spreads the variance over the groups, whatever the features mean."""

    def __call__(self, dim: int) -> Tensor:
        """Uniform over all orthogonal matrices."""
        q, r = torch.linalg.qr(torch.randn(dim, dim))
        # The signs that QR leaves open would favour some matrices.
        return q * r.diagonal().sign()


@final
class Rotated(Quantizer):
    """Quantizes ``z R`` and turns the codes back by ``R^T`` (OPQ, Ge et al., CVPR 2013).

    A product quantizer wants groups of equal information that know nothing of each other; an
    orthogonal R brings them there without changing any distance. Given the codes q of the inputs z,
    ``sum |z R - q|^2`` is least for ``R = U V^T``, where ``U S V^T`` is the singular value
    decomposition of ``sum z^T q`` (orthogonal Procrustes, section 3.1 of the paper).

    Args:
        inner: Quantizer of the rotated vectors, usually ``Grouped``.
        every: Training steps from one update of R to the next; 0 keeps the first R.
        decay: Share of the past that the average of ``z^T q`` keeps at each step, in [0, 1).
        init: First rotation.

    The average is over all ranks' valid vectors, and all ranks get the same R bit for bit.

    Raises:
        ConfigError: ``every < 0``, a decay outside [0, 1), or an inner quantizer of whole grids.

    >>> from vqkit.quantizers import Grouped, VectorQuantizer
    >>> quantizer = Rotated(Grouped(VectorQuantizer(dim=4, codebook_size=16), groups=3))
    >>> quantizer.decode(quantizer.encode(torch.randn(2, 10, 12))).shape
    torch.Size([2, 10, 12])
    """

    rotation: Tensor
    covariance: Tensor
    num_steps: Tensor
    skipped_batches: Tensor

    def __init__(
        self,
        inner: Quantizer,
        every: int = 20,
        decay: float = 0.95,
        init: RotationInit | None = None,
    ) -> None:
        super().__init__()
        if every < 0 or not 0.0 <= decay < 1.0:
            raise ConfigError(
                f"Rotated: expected every >= 0 and 0 <= decay < 1, got {every} and {decay}."
            )
        refuse_grid(inner, "Rotated")
        self.inner = inner
        self.every = every
        self.decay = decay
        self.init = init or IdentityRotation()
        self.dim = inner.dim
        self.codebook_sizes = inner.codebook_sizes
        self.register_buffer("rotation", self.init(self.dim))
        self.register_buffer("covariance", torch.zeros(self.dim, self.dim))
        for counter in ("num_steps", "skipped_batches"):
            self.register_buffer(counter, torch.zeros((), dtype=torch.int64))
        # The rotation of the last training pass, for its recomputation in backward.
        self._used: Tensor | None = None

    @property
    def initialized(self) -> bool:
        """Whether the inner quantizer is initialised."""
        return self.inner.initialized

    @property
    def adds_noise(self) -> bool:
        """Whether the inner quantizer does."""
        return self.inner.adds_noise

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw the first rotation and the inner state anew."""
        self.rotation.copy_(self.init(self.dim))
        self.covariance.zero_()
        self.num_steps.zero_()
        self.skipped_batches.zero_()
        self._used = None
        self.inner.reset_parameters()

    def extra_repr(self) -> str:
        """Arguments, for ``print(module)``."""
        return f"every={self.every}, decay={self.decay}, init={self.init}"

    def _quantize(self, z: Tensor, valid: Tensor | None) -> Assignment:
        return self._turned(z, valid, self.inner._quantize)

    def _assign(self, z: Tensor, valid: Tensor | None) -> Assignment:
        return self._turned(z, valid, self.inner._assign)

    def _turned(
        self,
        z: Tensor,
        valid: Tensor | None,
        quantize: Callable[[Tensor, Tensor | None], Assignment],
    ) -> Assignment:
        trains = self.training and torch.is_grad_enabled()
        recomputes = trains and in_backward()
        # Apart from the buffer, which may move before backward.
        rotation = self.rotation.float().clone()
        if recomputes and self._used is not None:
            rotation = self._used
        if trains:
            z = spread_bad_values(z)
            self._used = rotation
        result = quantize(z @ rotation, valid)
        if trains and not recomputes and self.every > 0:
            self._learn(z.detach(), result.codes.detach(), valid)
        return result.mapped(lambda codes: codes @ rotation.T)

    def _lookup(self, indices: Tensor) -> Tensor:
        return self.inner._lookup(indices) @ self.rotation.float().T

    @property
    def _decodable(self) -> Sequence[int]:
        return self.inner._decodable

    @torch.no_grad()
    def _learn(self, z: Tensor, codes: Tensor, valid: Tensor | None) -> None:
        rows = z.reshape(-1, self.dim) if valid is None else z[valid]
        targets = codes.reshape(-1, self.dim) if valid is None else codes[valid]
        # One collective: bad items, vectors, and their products with their codes.
        statistics = z.new_zeros(self.dim**2 + 2)
        statistics[0] = (~squares_are_finite(z)).sum()
        statistics[1] = len(rows)
        statistics[2:] = (rows.T @ targets).flatten()
        num_bad, num_rows, products = all_sum(statistics).split([1, 1, self.dim**2])
        if bool(num_bad):
            self.skipped_batches += 1
            return
        if not bool(num_rows) or not self.inner.initialized:
            return
        mean = products.reshape(self.dim, self.dim) / num_rows
        self.covariance.copy_(torch.lerp(mean, self.covariance.float(), self.decay))
        self.num_steps += 1
        if int(self.num_steps) % self.every == 0:
            rotation = torch.empty_like(mean)
            if rank() == 0:
                rotation.copy_(procrustes(self.covariance))
            self.rotation.copy_(broadcast_first(rotation))


def procrustes(products: Tensor) -> Tensor:
    """Orthogonal R that makes ``sum |x R - y|^2`` least, given ``sum x^T y [dim, dim]``."""
    u, _, v_transposed = torch.linalg.svd(products.double())
    rotation: Tensor = u @ v_transposed
    return rotation
