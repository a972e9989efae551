"""Pyramid vector quantization, gain and shape."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.ops.hadamard import hadamard
from vqkit.ops.pyramid import project_to_pyramid
from vqkit.ops.pyramid_index import index_to_pyramid, pyramid_to_index
from vqkit.ops.pyramid_table import pyramid_word_sizes
from vqkit.quantizers.base import NO_TOKEN, Assignment, Quantizer
from vqkit.quantizers.gain import Gain, LogUniformGain
from vqkit.quantizers.gradient import (
    GradientEstimator,
    StraightThrough,
    check_works_on_vectors,
    estimate,
)
from vqkit.quantizers.loss import VQLoss
from vqkit.quantizers.pyramid_rate import split_bits

__all__ = ["HadamardRotation", "PyramidVQ"]


@dataclass(frozen=True)
class HadamardRotation:
    """Random signs and a Walsh-Hadamard transform: spreads a vector evenly over its features.

    Attributes:
        seed: Seed of the signs.
    """

    seed: int = 0

    def signs(self, dim: int) -> Tensor:
        """int8 ``[dim]`` of -1 and 1."""
        generator = torch.Generator().manual_seed(self.seed)
        return (torch.randint(2, (dim,), generator=generator) * 2 - 1).to(torch.int8)


@final
class PyramidVQ(Quantizer):
    """Direction on a pyramid of integers, and length (Fischer 1986, IEEE Trans. IT-32, p. 568).

    ``x' = g' y / |y|_2`` with an integer vector y of ``sum |y_i| = pulses`` and a level g' of the
    gain. y has (nearly, see :func:`~vqkit.ops.pyramid.project_to_pyramid`) the largest cosine to x;
    g' is the level nearest to ``x.y / |y|_2``, which beside that direction gives the least squared
    error (``|x|_2`` would be too long). There is no codebook to learn or to store: a code of 37 or
    800 bits costs the same few operations per feature.

    The indices of a group are its gain level, if the gain has levels, and the words of the shape
    in Fischer's order, lowest first: one word up to 2^62 shapes, else as few as hold them.

    Args:
        dim: Features of an input vector.
        pulses: K, more for a finer direction; 1 to 2^22. :meth:`for_bits` finds it from a rate.
        gain: Levels of the length.
        group_dim: Features of a group; each group has a shape and a gain of its own. None is one
            group of all.
        rotation: Rotates the input, and the output back; None leaves it. The blocks of
            :func:`~vqkit.ops.hadamard.hadamard` mix.
        gradient: How the gradient passes.
        loss: Only its commitment counts, there is no codebook to train.

    Raises:
        ConfigError: ``dim`` or ``pulses`` below 1, a ``group_dim`` that does not divide ``dim``, a
            gain that does not suit the groups, a rotation of an odd ``dim``.

    ``decode`` refuses words that are together no index (of several words not every combination
    is one) by a ``ShapeError``; on a GPU an assertion of the device fails. A vector with a NaN or
    an infinity gets the lowest gain and the shape (K, 0, ..., 0).

    >>> quantizer = PyramidVQ(dim=16, pulses=16)
    >>> quantizer.codebook_sizes, quantizer(torch.randn(2, 5, 16)).indices.shape
    ((64, 148348809216), torch.Size([2, 5, 2]))
    """

    signs: Tensor
    _level_bits: Tensor
    _norm_bits: Tensor

    def __init__(
        self,
        dim: int,
        pulses: int,
        gain: Gain | None = None,
        group_dim: int | None = None,
        rotation: HadamardRotation | None = None,
        gradient: GradientEstimator | None = None,
        loss: VQLoss | None = None,
    ) -> None:
        super().__init__()
        self.dim = dim
        self.pulses = pulses
        self.gain = gain or LogUniformGain()
        self.group_dim = dim if group_dim is None else group_dim
        self.rotation = rotation
        self.gradient = gradient or StraightThrough()
        check_works_on_vectors(self.gradient, "PyramidVQ")
        self.loss = loss or VQLoss(commitment=0.25, codebook=0.0)
        if dim < 1 or self.group_dim < 1 or dim % self.group_dim:
            raise ConfigError(
                f"PyramidVQ: expected dim >= 1 and a group_dim that divides it, got {dim} and "
                f"{group_dim}."
            )
        if not 1 <= pulses <= 2**22:
            raise ConfigError(f"PyramidVQ pulses: expected 1 to 2^22, got {pulses}.")
        if rotation is not None and dim % 2:
            raise ConfigError(f"PyramidVQ rotation: expected an even dim, got {dim}.")
        self.num_groups = dim // self.group_dim
        whole = self.gain.whole()
        shape_sizes = pyramid_word_sizes(self.group_dim, pulses)
        self._num_words = len(shape_sizes)
        self._group_sizes = _sizes(self.gain) + shape_sizes
        self._norm_sizes = () if whole is None else _sizes(whole)
        self.codebook_sizes = self._norm_sizes + self._group_sizes * self.num_groups
        # Floats as bits, which a cast of the module to half precision leaves alone.
        levels = self.gain.levels(self.group_dim, dim)
        norms = (1.0,) if whole is None else whole.levels(dim, dim)
        self.register_buffer("_level_bits", _as_bits(levels), persistent=False)
        self.register_buffer("_norm_bits", _as_bits(norms), persistent=False)
        if rotation is not None:
            # Saved with the model: another version of torch may draw others.
            self.register_buffer("signs", rotation.signs(dim))

    @classmethod
    def for_bits(
        cls,
        dim: int,
        bits_per_vector: int,
        gain: Gain | None = None,
        group_dim: int | None = None,
        rotation: HadamardRotation | None = None,
        gradient: GradientEstimator | None = None,
        loss: VQLoss | None = None,
    ) -> "PyramidVQ":
        """Build the layer whose packed indices take at most so many bits.

        Args:
            dim: Features of an input vector.
            bits_per_vector: Upper bound of ``packed_bits_per_position``.
            gain: As in the constructor, but for its number of levels (of ``BetaGain``: of the
                shares), which becomes the power of two that suits the rate: where length and
                direction have the least error together. Each group then has the most pulses that
                fit, at most 1024.
            group_dim: As in the constructor.
            rotation: As in the constructor.
            gradient: As in the constructor.
            loss: As in the constructor.

        Raises:
            ConfigError: Too few bits for one pulse per group and two levels of gain.

        >>> quantizer = PyramidVQ.for_bits(dim=16, bits_per_vector=48)
        >>> quantizer.pulses, quantizer.gain.num_levels, quantizer.packed_bits_per_position
        (21, 32, 48)
        """
        size = dim if group_dim is None else group_dim
        pulses, gain = split_bits(dim, size, bits_per_vector, gain or LogUniformGain())
        return cls(dim, pulses, gain, group_dim, rotation, gradient, loss)

    @property
    def packed_bits_per_position(self) -> int:
        """Bits of one position in fixed-width packing: sum of ``ceil(log2 K)``.

        ``bits_per_position`` is the information, up to one bit per gain and shape less.
        """
        return sum((size - 1).bit_length() for size in self.codebook_sizes)

    @property
    def adds_noise(self) -> bool:
        """Whether the estimator does."""
        return self.gradient.adds_noise

    def extra_repr(self) -> str:
        """Arguments, for ``print(module)``."""
        return (
            f"dim={self.dim}, pulses={self.pulses}, gain={self.gain}, group_dim={self.group_dim}, "
            f"rotation={self.rotation}, gradient={self.gradient}, loss={self.loss}"
        )

    def _assign(self, z: Tensor, valid: Tensor | None) -> Assignment:
        noise = self._noise(z, valid)
        x = z.detach()
        if self.rotation is not None:
            x = hadamard(x * self.signs)
        x = x.unflatten(-1, (self.num_groups, self.group_dim))
        y = project_to_pyramid(x, self.pulses)
        # float64: neither the square of a float32 overflows nor does the order of a sum matter.
        wide = x.double()
        length = (wide * y).sum(-1) / y.square().sum(-1).double().sqrt()
        norm = _nearest_level(wide.square().sum((-1, -2)).sqrt(), self._norms)
        level = _nearest_level(length / self._norms[norm][..., None], self._levels)
        codes = self._codes(y, level, norm)
        parts = pyramid_to_index(y, self.pulses)
        if len(self._group_sizes) > self._num_words:
            parts = torch.cat([level[..., None], parts], -1)
        indices = parts.flatten(-2)
        if self._norm_sizes:
            indices = torch.cat([norm[..., None], indices], -1)
        loss, terms = self.loss(z, codes, valid, False)
        return Assignment(codes, indices, loss, terms, noise)

    def _estimate(self, z: Tensor, assignment: Assignment) -> Tensor:
        return estimate(self.gradient, z, assignment.codes, assignment.choice)

    def _lookup(self, indices: Tensor) -> Tensor:
        num_norms = len(self._norm_sizes)
        norm = indices[..., 0] if num_norms else torch.zeros_like(indices[..., 0])
        parts = indices[..., num_norms:].unflatten(-1, (self.num_groups, len(self._group_sizes)))
        absent = (parts == NO_TOKEN).any(-1) | (norm == NO_TOKEN)[..., None]
        parts = torch.where(absent[..., None], 0, parts)
        has_level = len(self._group_sizes) > self._num_words
        level = parts[..., 0] if has_level else torch.zeros_like(parts[..., 0])
        words = parts[..., 1:] if has_level else parts
        y = index_to_pyramid(words, self.group_dim, self.pulses)
        return self._codes(y, level, norm.clamp_min(0), absent)

    def _codes(
        self, y: Tensor, level: Tensor, norm: Tensor, absent: Tensor | None = None
    ) -> Tensor:
        """Vectors of shapes ``[batch, positions, groups, group_dim]`` and their gains."""
        gain = self._levels[level] * self._norms[norm][..., None]
        scale = gain / y.square().sum(-1).float().sqrt()
        if absent is not None:
            scale = torch.where(absent, 0.0, scale)
        codes = (y.float() * scale[..., None]).flatten(-2)
        if self.rotation is not None:
            codes = hadamard(codes) * self.signs
        return codes

    @property
    def _levels(self) -> Tensor:
        return self._level_bits.view(torch.float32)

    @property
    def _norms(self) -> Tensor:
        return self._norm_bits.view(torch.float32)


def _sizes(gain: Gain) -> tuple[int, ...]:
    """A gain without a choice has no codebook."""
    return (gain.num_levels,) if gain.num_levels > 1 else ()


def _as_bits(levels: tuple[float, ...]) -> Tensor:
    return torch.tensor(levels, dtype=torch.float32).view(torch.int32)


def _nearest_level(length: Tensor, levels: Tensor) -> Tensor:
    wide = levels.double()
    middles = (wide[1:] + wide[:-1]) / 2
    # A NaN or an infinity has no level: it takes the lowest.
    return torch.bucketize(torch.nan_to_num(length, nan=0.0, posinf=0.0, neginf=0.0), middles)
