"""A codebook that follows mean and deviation of the inputs."""

from collections.abc import Callable, Sequence
from typing import final

import torch
from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.ops.collectives import all_sum
from vqkit.quantizers.base import (
    NO_TOKEN,
    Assignment,
    Quantizer,
    in_backward,
    refuse_grid,
    spread_bad_values,
    squares_are_finite,
)

__all__ = ["Affine"]

# Deviation of a feature that does not vary.
_SMALLEST_STD = 1e-5


@final
class Affine(Quantizer):
    """Standardises the input by running statistics, and scales the codes back.

    The affine re-parameterisation of a codebook (Huh et al., arXiv 2305.08842, section 4.1):
    ``e'_k = mean + std * e_k`` moves all codes with the inputs, those that nobody uses too. Kept
    here as a wrapper, it does so for any quantizer. Features are compared, and the loss is
    measured, in units of their deviation.

    Args:
        inner: Quantizer of standardised vectors.
        decay: Share of the past that mean and variance keep at each training step, in [0, 1).

    The first training batch initialises both. Statistics are those of all ranks' valid vectors; a
    pass uses the ones before it.

    Raises:
        ConfigError: A decay outside [0, 1), or an inner quantizer of whole grids.

    >>> from vqkit.quantizers import VectorQuantizer
    >>> quantizer = Affine(VectorQuantizer(dim=8, codebook_size=16))
    >>> z = 100.0 + torch.randn(2, 50, 8)
    >>> bool((quantizer(z).quantized - z).abs().mean() < 1.0)
    True
    """

    mean: Tensor
    variance: Tensor
    num_batches: Tensor
    skipped_batches: Tensor

    def __init__(self, inner: Quantizer, decay: float = 0.99) -> None:
        super().__init__()
        if not 0.0 <= decay < 1.0:
            raise ConfigError(f"Affine decay: expected 0 <= decay < 1, got {decay}.")
        refuse_grid(inner, "Affine")
        self.inner = inner
        self.decay = decay
        self.dim = inner.dim
        self.codebook_sizes = inner.codebook_sizes
        self.register_buffer("mean", torch.zeros(self.dim))
        self.register_buffer("variance", torch.ones(self.dim))
        for counter in ("num_batches", "skipped_batches"):
            self.register_buffer(counter, torch.zeros((), dtype=torch.int64))
        # Mean and deviation of the last training pass, for its recomputation in backward.
        self._used: tuple[Tensor, Tensor] | None = None

    @property
    def initialized(self) -> bool:
        """Whether a batch was seen, and the inner quantizer is initialised."""
        return bool(self.num_batches > 0) and self.inner.initialized

    @property
    def adds_noise(self) -> bool:
        """Whether the inner quantizer does."""
        return self.inner.adds_noise

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Forget the statistics and draw the inner state anew."""
        self.mean.zero_()
        self.variance.fill_(1.0)
        self.num_batches.zero_()
        self.skipped_batches.zero_()
        self._used = None
        self.inner.reset_parameters()

    def extra_repr(self) -> str:
        """Arguments, for ``print(module)``."""
        return f"decay={self.decay}"

    def _quantize(self, z: Tensor, valid: Tensor | None) -> Assignment:
        return self._standardised(z, valid, self.inner._quantize)

    def _assign(self, z: Tensor, valid: Tensor | None) -> Assignment:
        return self._standardised(z, valid, self.inner._assign)

    def _standardised(
        self,
        z: Tensor,
        valid: Tensor | None,
        quantize: Callable[[Tensor, Tensor | None], Assignment],
    ) -> Assignment:
        trains = self.training and torch.is_grad_enabled()
        moments = None
        if trains:
            z = spread_bad_values(z)
            if not in_backward():
                moments = self._moments(z.detach(), valid)
                if moments is not None and not bool(self.num_batches):
                    self._set_moments(*moments)
                self._used = self._scale()
        mean, std = self._used if trains and self._used is not None else self._scale()
        result = quantize((z - mean) / std, valid)
        if moments is not None:
            self._follow(*moments)
        return result.mapped(lambda codes: codes * std + mean)

    def _lookup(self, indices: Tensor) -> Tensor:
        mean, std = self._scale()
        codes = self.inner._lookup(indices) * std + mean
        # The mean must not turn "no token" into a vector.
        return codes.masked_fill((indices == NO_TOKEN).all(-1, keepdim=True), 0.0)

    @property
    def _decodable(self) -> Sequence[int]:
        return self.inner._decodable

    def _scale(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation in fp32, apart from the buffers that may move meanwhile."""
        return self.mean.float().clone(), self.variance.float().sqrt().clamp_min(_SMALLEST_STD)

    @torch.no_grad()
    def _moments(self, z: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor] | None:
        """Mean and variance of all ranks' vectors; None if there is none, or a bad one."""
        rows = z.reshape(-1, self.dim) if valid is None else z[valid]
        first = z.new_zeros(self.dim + 2)
        first[0] = (~squares_are_finite(z)).sum()
        first[1] = len(rows)
        first[2:] = rows.sum(0)
        num_bad, num_rows, sums = all_sum(first).split([1, 1, self.dim])
        if bool(num_bad):
            self.skipped_batches += 1
            return None
        if not bool(num_rows):
            return None
        mean = sums / num_rows
        # In a second pass: squares about zero lose a small variance beside a large mean.
        return mean, all_sum((rows - mean).square().sum(0)) / num_rows

    @torch.no_grad()
    def _set_moments(self, mean: Tensor, variance: Tensor) -> None:
        self.mean.copy_(mean)
        self.variance.copy_(variance)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        self._set_moments(
            torch.lerp(mean, self.mean.float(), self.decay),
            torch.lerp(variance, self.variance.float(), self.decay),
        )
        self.num_batches += 1
