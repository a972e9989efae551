"""Residual quantization: each level quantizes what the levels before left over."""

import copy
from collections.abc import Sequence
from typing import Literal, final, get_args

import torch
from torch import Tensor, nn

from vqkit.errors import ConfigError, ShapeError
from vqkit.quantizers.base import (
    NO_TOKEN,
    Assignment,
    Quantizer,
    in_backward,
    squares_are_finite,
)
from vqkit.quantizers.gradient import (
    GradientEstimator,
    StraightThrough,
    check_works_on_vectors,
)
from vqkit.quantizers.level_dropout import LevelDropout, LevelsPerItem
from vqkit.quantizers.selection import Choice, draw_keys
from vqkit.shapes import Float, Int

__all__ = ["Residual"]

Commitment = Literal["all", "first"]


@final
class Residual(Quantizer):
    """``depth`` levels of one kind (SoundStream, arXiv 2107.03312, algorithm 1; arXiv 2203.01941).

    Level i quantizes ``r_i``, with ``r_0 = z`` and ``r_(i+1) = r_i - sg[q_i]``, and has its own
    commitment on ``r_i``. The output is the sum of the codes, with one gradient estimator on the
    sum: estimators and noise of ``inner`` are not used. A prefix of the levels decodes to a coarser
    vector.

    Args:
        inner: The quantizer that every level copies, with weights of its own.
        depth: Number of levels.
        level_dropout: Probability that an item of a training batch uses only its first n levels,
            n uniform in 1 ... depth (SoundStream: 1, DAC: 0.5), or another rule; its other indices
            are -1.
        level_scale: Level i quantizes ``r_i / level_scale^i``. Below 1 for quantizers of a fixed
            range: FSQ with L symmetric levels leaves residuals of 1/(L-1). One number, or one per
            feature where their levels differ.
        gradient: How the gradient passes the sum.
        commitment: Which levels pull the input to their codes. EnCodec's code subtracts the
            straight-through output, whose gradient is the input's, so that nothing is left of it
            from the second level on ("first"); here each level has its own ("all").

    In the first training steps, levels that need data to initialise do so one per step, because the
    residual of the batch that made the level before is untypically small; until then a level
    contributes nothing and its index is -1.

    Raises:
        ConfigError: A depth below 1, a probability outside [0, 1], more levels than there are, a
            scale that is not positive, an estimator that needs a codebook.

    >>> from vqkit.quantizers import FSQ
    >>> quantizer = Residual(FSQ([5, 5], symmetric=True, bound="clamp"), depth=3, level_scale=0.25)
    >>> indices = quantizer.encode(torch.rand(1, 4, 2))
    >>> indices.shape, quantizer.decode(indices[..., :2]).shape
    (torch.Size([1, 4, 3]), torch.Size([1, 4, 2]))
    """

    def __init__(
        self,
        inner: Quantizer,
        depth: int,
        level_dropout: float | LevelDropout = 0.0,
        level_scale: float | Sequence[float] = 1.0,
        gradient: GradientEstimator | None = None,
        commitment: Commitment = "all",
    ) -> None:
        super().__init__()
        scales = (level_scale,) if isinstance(level_scale, float | int) else tuple(level_scale)
        if (
            depth < 1
            or not all(scale > 0.0 for scale in scales)
            or len(scales) not in (1, inner.dim)
        ):
            raise ConfigError(
                "Residual: expected depth >= 1 and level_scale > 0, one or "
                f"{inner.dim} of them, got {depth} and {level_scale}."
            )
        if commitment not in get_args(Commitment):
            raise ConfigError(
                f"Residual commitment: expected one of {get_args(Commitment)}, got {commitment!r}."
            )
        self.depth = depth
        self.level_dropout = level_dropout
        self.commitment = commitment
        self._dropout = (
            level_dropout
            if isinstance(level_dropout, LevelDropout)
            else LevelsPerItem(level_dropout)
        )
        if self._dropout.largest > depth:
            raise ConfigError(
                f"Residual level_dropout: expected at most {depth} levels, which there are, got "
                f"{self._dropout.largest}."
            )
        self.level_scale = level_scale if isinstance(level_scale, float | int) else scales
        self._scales = scales
        self.gradient = gradient or StraightThrough()
        check_works_on_vectors(self.gradient, "Residual")
        self.levels = nn.ModuleList(copy.deepcopy(inner) for _ in range(depth))
        self.dim = inner.dim
        self.codebook_sizes = inner.codebook_sizes * depth
        # Levels of the last training pass, for its recomputation in backward.
        self._num_ran = depth
        self.reset_parameters()

    @property
    def inner(self) -> Quantizer:
        """The first level."""
        return self._level(0)

    @property
    def initialized(self) -> bool:
        """Whether every level is initialised."""
        return all(self._level(i).initialized for i in range(self.depth))

    @property
    def adds_noise(self) -> bool:
        """Whether the estimator of the sum does."""
        return self.gradient.adds_noise

    def reset_parameters(self) -> None:
        """Draw every level anew, each differently."""
        for i in range(self.depth):
            self._level(i).reset_parameters()

    def encode(
        self, z: Float[Tensor, "batch *positions dim"], num_levels: int | None = None
    ) -> Int[Tensor, "batch *positions codebooks"]:
        """Indices of the first ``num_levels`` levels, all by default.

        Raises:
            ShapeError: Wrong ``dim`` or dtype, or no such number of levels.
        """
        if num_levels is not None and not 1 <= num_levels <= self.depth:
            raise ShapeError(f"Residual num_levels: expected 1 to {self.depth}, got {num_levels}.")
        indices = super().encode(z)
        if num_levels is None:
            return indices
        return indices[..., : num_levels * self.inner.num_codebooks]

    def extra_repr(self) -> str:
        """Arguments, for ``print(module)``."""
        return (
            f"depth={self.depth}, level_dropout={self.level_dropout}, "
            f"level_scale={self.level_scale}, gradient={self.gradient}, "
            f"commitment={self.commitment!r}"
        )

    def _level(self, i: int) -> Quantizer:
        level = self.levels[i]
        assert isinstance(level, Quantizer)
        return level

    def _scaled(self, codes: Tensor, i: int) -> Tensor:
        scale = self._scale(i, codes)
        return codes if scale is None else codes * scale

    def _scale(self, i: int, like: Tensor) -> Tensor | None:
        """Scale of a level; None is one, for which an operation on all tokens would be wasted."""
        scales = [scale**i for scale in self._scales]
        return None if scales == [1.0] else like.new_tensor(scales)

    def _assign(self, z: Tensor, valid: Tensor | None) -> Assignment:
        trains = self.training and torch.is_grad_enabled()
        num_levels = self._draw_num_levels(z) if trains else None
        keys = draw_keys(z, valid) if trains and self.adds_noise else None
        if trains and not in_backward():
            # Asked before any level runs: a level initialised in this pass ends the pass.
            self._num_ran = self._num_ready()
        num_ready = self._num_ran if trains else self.depth
        residual, total = z, torch.zeros_like(z)
        first: Tensor | None = None
        indices, losses, weights, terms = [], [], [], {}
        for i in range(self.depth):
            level, scale = self._level(i), self._scale(i, z)
            if i >= num_ready:
                shape = (*z.shape[:-1], level.num_codebooks)
                indices.append(torch.full(shape, NO_TOKEN, device=z.device))
                continue
            used = valid
            if num_levels is not None:
                kept = (num_levels > i)[:, None].expand(z.shape[:-1])
                used = kept if valid is None else kept & valid
            level_input = residual if scale is None else residual / scale
            if i and self.commitment == "first":
                level_input = level_input.detach()
            if used is not None:
                level_input = torch.where(used[..., None], level_input, 0.0)
            result = level._assign(level_input, used)
            codes = self._scaled(result.codes, i)
            level_indices = result.indices
            if used is not None:
                codes = torch.where(used[..., None], codes, 0.0)
                level_indices = torch.where(used[..., None], level_indices, NO_TOKEN)
            total = total + codes
            first = total if first is None else first
            residual = residual - codes.detach()
            indices.append(level_indices)
            losses.append(result.loss)
            # A level that no item used says nothing.
            weights.append(z.new_ones(()) if used is None else used.any().to(z.dtype))
            terms.update({f"{name}_{i}": term for name, term in result.terms.items()})
        weight = torch.stack(weights)
        loss = (torch.stack(losses) * weight).sum() / weight.sum().clamp_min(1.0)
        return Assignment(total, torch.cat(indices, dim=-1), loss, terms, Choice(keys), first)

    def _index(self, z: Tensor) -> Tensor:
        residual, indices = z, []
        for i in range(self.depth):
            level, scale = self._level(i), self._scale(i, z)
            indices.append(level._index(residual if scale is None else residual / scale))
            if i + 1 < self.depth:
                residual = residual - self._scaled(level._lookup(indices[-1]), i)
        return torch.cat(indices, dim=-1)

    def _estimate(self, z: Tensor, assignment: Assignment) -> Tensor:
        trains = self.training and torch.is_grad_enabled()
        estimator = self.gradient if trains else self.gradient.without_noise
        return estimator(z, assignment.codes, assignment.choice)

    def _lookup(self, indices: Tensor) -> Tensor:
        # Summed in the order of _assign, from zero: equal bits.
        total = torch.zeros(*indices.shape[:-1], self.dim, device=indices.device)
        for i, part in enumerate(indices.split(self.inner.num_codebooks, dim=-1)):
            total = total + self._scaled(self._level(i)._lookup(part), i)
        return total

    @property
    def _decodable(self) -> range:
        step = self.inner.num_codebooks
        return range(step, step * self.depth + 1, step)

    def _num_ready(self) -> int:
        """Levels that may run in this pass: the initialised ones and the first that is not."""
        for i in range(self.depth):
            if not self._level(i).initialized:
                return i + 1
        return self.depth

    def _draw_num_levels(self, z: Tensor) -> Tensor | None:
        drawn = self._dropout.draw(len(z), self.depth, z.device)
        # A bad item goes through every level, so that none learns from this batch.
        return None if drawn is None else torch.where(squares_are_finite(z), drawn, self.depth)
