"""Finite scalar quantization."""

import math
from collections.abc import Sequence
from typing import Literal, final

import torch
from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.ops.counter_noise import uniform_noise
from vqkit.ops.gradient import straight_through
from vqkit.ops.radix import check_bases, digits_to_index, index_to_digits
from vqkit.quantizers.base import NO_TOKEN, Assignment, Quantizer

__all__ = ["FSQ"]

# The bound reaches this much past the outermost level (paper, appendix A.1, where it is a
# shrinkage; growing it instead keeps the outermost levels reachable).
_MARGIN = 1e-3
_MAX_LEVELS = 2**24


@final
class FSQ(Quantizer):
    """Rounds each dimension to one of a few levels; no codebook (arXiv 2309.15505).

    Args:
        levels: Number of levels per dimension, each at least 2; ``dim`` is their number. The
            choices of the paper: [8, 6, 5] for 2^8 codes, [8, 5, 5, 5] for 2^10,
            [7, 5, 5, 5, 5] for 2^12.
        symmetric: False is the paper's rounding: levels ``-L/2 ... L/2 - 1`` over ``L/2``, zero is
            a level. True spreads the levels evenly over [-1, 1] (arXiv 2411.19842, eq. 4): zero is
            no level for an even L. Needed for residuals and for L = 2.
        bound: "tanh" squashes the input as in the paper; "clamp" cuts it at [-1, 1], which a
            residual needs and an already bounded input likes.
        noise_probability: That of a number to get noise instead of rounding, in training: uniform
            over one step, half of it to either side, so that its standard deviation is the step
            over sqrt(12) as that of rounding is (arXiv 2411.19842, section 3: 0.5). Indices are
            those of rounding, and evaluation rounds always.

    The index is the digits in mixed radix, first dimension fastest, in integers throughout.

    Raises:
        ConfigError: Levels below 2 or above 2^24, more than 2^62 codes, or no probability.

    >>> quantizer = FSQ([8, 5, 5])
    >>> quantizer.codebook_sizes, quantizer.decode(torch.tensor([[[100]]])).tolist()
    ((200,), [[[0.0, 0.0, 0.0]]])
    """

    _level_counts: Tensor

    def __init__(
        self,
        levels: Sequence[int],
        symmetric: bool = False,
        bound: Literal["tanh", "clamp"] = "tanh",
        noise_probability: float = 0.0,
    ) -> None:
        super().__init__()
        check_bases(levels)
        if max(levels) > _MAX_LEVELS:
            raise ConfigError(
                f"FSQ levels: expected at most 2^24 per dimension, got {max(levels)}. Float32 does "
                "not tell more apart: use more dimensions."
            )
        if bound not in ("tanh", "clamp"):
            raise ConfigError(f"FSQ bound: expected 'tanh' or 'clamp', got {bound!r}.")
        if not 0.0 <= noise_probability <= 1.0:
            raise ConfigError(f"FSQ noise_probability: expected 0 to 1, got {noise_probability}.")
        self.levels = tuple(levels)
        self.symmetric = symmetric
        self.bound = bound
        self.noise_probability = noise_probability
        self.dim = len(self.levels)
        self.codebook_sizes = (math.prod(self.levels),)
        # Integers, which a cast of the module to half precision leaves alone.
        self.register_buffer("_level_counts", torch.tensor(self.levels), persistent=False)

    def extra_repr(self) -> str:
        """Arguments, for ``print(module)``."""
        return (
            f"levels={self.levels}, symmetric={self.symmetric}, bound={self.bound!r}, "
            f"noise_probability={self.noise_probability}"
        )

    @property
    def adds_noise(self) -> bool:
        """Whether some numbers are not rounded in training."""
        return self.noise_probability > 0.0

    def _quantize(self, z: Tensor, valid: Tensor | None) -> Assignment:
        # Squashed once, for the rounding and for the gradient.
        squashed = self._squash(z)
        result = self._round(squashed.detach(), z, valid)
        return result._replace(codes=self._through(squashed, result))

    def _assign(self, z: Tensor, valid: Tensor | None) -> Assignment:
        return self._round(self._squash(z.detach()), z, valid)

    def _estimate(self, z: Tensor, assignment: Assignment) -> Tensor:
        return self._through(self._squash(z), assignment)

    def _round(self, squashed: Tensor, z: Tensor, valid: Tensor | None) -> Assignment:
        # The digits stay float32: an int64 is twice the memory, and slower. A NaN has no level: it
        # takes the middle one and its gradient stays NaN. Halves go up, as in the symmetric
        # formula: torch.round sends them to the even neighbour.
        digits = torch.nan_to_num(squashed, nan=0.0).mul_(self._reach)
        digits = digits.add_(self._step - self._shift + 0.5).floor_()
        digits = digits.clamp_min_(0.0).clamp_max_(self._level_counts - 1.0)
        indices = digits_to_index(digits, self.levels)[..., None]
        noise = self._noise(z, valid)
        return Assignment(self._codes(digits), indices, z.new_zeros(()), {}, noise)

    def _through(self, squashed: Tensor, assignment: Assignment) -> Tensor:
        # The gradient passes the rounding, not the bound.
        codes = assignment.codes
        if not squashed.requires_grad and assignment.choice is None:
            return codes
        if assignment.choice is not None:
            codes = self._with_noise(squashed.detach(), codes, assignment.choice.keys)
        # The shift has no gradient, and the value is that of the codes.
        return straight_through(squashed * (self._reach / self._step), codes)

    def _with_noise(self, squashed: Tensor, codes: Tensor, keys: Tensor | None) -> Tensor:
        assert keys is not None
        bounded = self._grid(squashed) / self._step
        noise = uniform_noise(keys, 2 * self.dim).reshape(*codes.shape[:-1], 2, self.dim)
        shifted = bounded + (noise[..., 0, :] - 0.5) / self._step
        return torch.where(noise[..., 1, :] < self.noise_probability, shifted, codes)

    def _lookup(self, indices: Tensor) -> Tensor:
        index = indices[..., 0]
        codes = self._codes(index_to_digits(index.clamp_min(0), self.levels))
        return torch.where((index == NO_TOKEN)[..., None], 0.0, codes)

    # The grid has a unit per level: ``grid = squashed reach - shift`` with squashed in [-1, 1]. Its
    # rounding is the digit less the step, and the code is that over the step.

    def _squash(self, z: Tensor) -> Tensor:
        if self.bound == "clamp":
            return z.clamp(-1.0, 1.0)
        if self.symmetric:
            return torch.tanh(z)
        return (z + torch.atanh(self._shift / self._reach)).tanh_()

    def _grid(self, squashed: Tensor) -> Tensor:
        return squashed * self._reach - self._shift

    @property
    def _reach(self) -> Tensor:
        """Grid units from the middle of the grid to its bounds."""
        if self.bound == "clamp":
            return self._step
        half = (self._level_counts.float() - 1.0) / 2.0
        return half if self.symmetric else half * (1.0 + _MARGIN)

    @property
    def _shift(self) -> Tensor:
        """Grid units from the middle of the grid to zero, which is a level."""
        if self.symmetric or self.bound == "clamp":
            return torch.zeros_like(self._step)
        return torch.where(self._level_counts % 2 == 0, 0.5, 0.0)

    @property
    def _step(self) -> Tensor:
        """Grid units from 0 to 1; also the digit of code 0."""
        levels = self._level_counts.float()
        return (levels - 1.0) / 2.0 if self.symmetric else torch.floor(levels / 2.0)

    def _codes(self, digits: Tensor) -> Tensor:
        return (digits - self._step).div_(self._step)
