"""What every quantizer is: one layout, one result, one pair of verbs."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from vqkit.errors import ConfigError, ShapeError
from vqkit.ops.gradient import straight_through
from vqkit.quantizers.selection import Choice, draw_keys
from vqkit.shapes import Bool, Float, Int

__all__ = [
    "NO_TOKEN",
    "Assignment",
    "Quantizer",
    "QuantizerOutput",
    "in_backward",
    "refuse_grid",
    "spread_bad_values",
    "squares_are_finite",
]

# The index of a masked position or a dropped level. It decodes to a contribution of zero.
NO_TOKEN = -1


@dataclass(frozen=True)
class QuantizerOutput:
    """What a quantizer returns in training and evaluation alike.

    Attributes:
        quantized: Input's shape and dtype; zero where masked.
        indices: int64 ``[batch, *positions, codebooks]``; -1 where masked or dropped.
        loss: fp32 scalar, weighted, ready to add to the training loss. Evaluation gives it without
            the penalties on how codes are used, which cost more than the quantizer itself.
        terms: Unweighted scalars for logs.
        first: What the first level of ``Residual``, or the semantic part of ``Split``, gives alone,
            with a gradient of its own: semantic distillation acts on it. Of others ``quantized``.
    """

    quantized: Tensor
    indices: Tensor
    loss: Tensor
    terms: dict[str, Tensor]
    first: Tensor


class Assignment(NamedTuple):
    """Codes chosen for ``[batch, positions, dim]``, before any gradient estimator.

    ``codes`` carry gradient to the quantizer's own parameters at most, never to the input.
    ``choice`` says how they were chosen, for estimators that must know. ``first`` are the codes of
    the first of several levels that add up, None where there is one.
    """

    codes: Tensor
    indices: Tensor
    loss: Tensor
    terms: dict[str, Tensor]
    choice: Choice | None = None
    first: Tensor | None = None

    def mapped(self, function: Callable[[Tensor], Tensor]) -> "Assignment":
        """The same, its vectors as a function has them."""
        first = None if self.first is None else function(self.first)
        return self._replace(codes=function(self.codes), first=first)


class Quantizer(nn.Module, ABC):
    """Maps vectors to indices and back. Channels last, any number of position axes, fp32 inside.

    Concrete classes are final and implement ``_assign`` and ``_lookup`` (and ``_estimate``, if the
    gradient is not straight-through) on ``[batch, positions, dim]``; this class owns validation,
    layout, masks and precision.

    ``decode(encode(z))`` equals ``forward(z).quantized`` in evaluation bit for bit (cast to the
    input's dtype). Evaluation and ``no_grad`` change no buffer.

    Attributes:
        dim: Features of one input vector.
        codebook_sizes: One size per entry of the indices' last axis.
        code_parameters: Names of the class's own parameters that hold codes: they are positions in
            the latent space, which weight decay would pull to zero. Training exempts them from it.
    """

    code_parameters: ClassVar[tuple[str, ...]] = ("codebook", "values")
    dim: int
    codebook_sizes: tuple[int, ...]

    @property
    def num_codebooks(self) -> int:
        """Length of the indices' last axis."""
        return len(self.codebook_sizes)

    @property
    def bits_per_position(self) -> float:
        """Information of one position at uniform use: sum of ``log2 K``."""
        return math.fsum(math.log2(size) for size in self.codebook_sizes)

    @property
    def initialized(self) -> bool:
        """Whether what the data must initialise has been initialised."""
        return True

    @property
    def adds_noise(self) -> bool:
        """Whether the training output leaves the code on purpose; the evaluation output never."""
        return False

    @property
    def grid(self) -> tuple[int, ...] | None:
        """The positions that an input must have; None takes any grid, each position by itself."""
        return None

    def index_positions(self, positions: tuple[int, ...]) -> tuple[int, ...]:
        """Position axes of the indices of an input with these; the same, unless ``grid`` is set."""
        return positions

    def tables(self) -> dict[str, Float[Tensor, "codes dim"]]:
        """The tables of codes inside, as searched, by the path of their module; none for grids."""
        found = {}
        for name, module in self.named_modules():
            codebook = getattr(module, "codebook", None)
            if isinstance(module, Quantizer) and isinstance(codebook, Tensor):
                found[name] = codebook.detach().float()
        return found

    def reset_parameters(self) -> None:
        """Draw the initial state anew; wrappers call it on their copies of a quantizer."""

    def forward(
        self,
        z: Float[Tensor, "batch *positions dim"],
        mask: Bool[Tensor, "batch *positions"] | None = None,
    ) -> QuantizerOutput:
        """Quantize, with gradient estimator and loss; in training, update the codebook.

        Args:
            z: Latent vectors, any floating dtype.
            mask: True where a position is valid. Others give zeros and index -1 and touch neither
                loss nor codebook.

        Raises:
            ShapeError: Wrong ``dim``, grid, dtype or mask shape; a mask although ``grid`` is set.
        """
        return self._run(z, mask, self._quantize)

    def _run(
        self,
        z: Tensor,
        mask: Tensor | None,
        quantize: Callable[[Tensor, Tensor | None], Assignment],
    ) -> QuantizerOutput:
        """Check, flatten, ``quantize`` and bring into the shape of the input."""
        rows, valid = self._flatten(z, mask)
        with torch.autocast(z.device.type, enabled=False):
            result = quantize(rows, valid)
        indices = result.indices.reshape(self._index_shape(z))

        def shaped(codes: Tensor) -> Tensor:
            if valid is not None:
                codes = torch.where(valid[..., None], codes, 0.0)
            return codes.reshape(z.shape).to(z.dtype)

        quantized = shaped(result.codes)
        if valid is not None:
            indices = torch.where(valid.reshape(z.shape[:-1])[..., None], indices, NO_TOKEN)
        return QuantizerOutput(
            quantized=quantized,
            indices=indices,
            loss=result.loss,
            terms=result.terms,
            first=quantized if result.first is None else shaped(result.first),
        )

    @torch.no_grad()
    def encode(
        self, z: Float[Tensor, "batch *positions dim"]
    ) -> Int[Tensor, "batch *index_positions codebooks"]:
        """Indices of the codes; changes no state, whatever the mode.

        Raises:
            ShapeError: Wrong ``dim``, grid or dtype.
        """
        rows, _ = self._flatten(z, None)
        with torch.autocast(z.device.type, enabled=False):
            indices = self._index(rows)
        return indices.reshape(self._index_shape(z))

    def decode(
        self, indices: Int[Tensor, "batch *index_positions codebooks"]
    ) -> Float[Tensor, "batch *positions dim"]:
        """Look the codes up, in fp32. Index -1 contributes zero.

        Raises:
            ShapeError: Wrong number of codebooks, a float dtype, or an index out of range.
        """
        self._check_indices(indices)
        shape = (indices.shape[0], math.prod(indices.shape[1:-1]), indices.shape[-1])
        rows = indices.reshape(shape).long()
        with torch.autocast(indices.device.type, enabled=False):
            decoded = self._lookup(rows)
        positions = indices.shape[1:-1] if self.grid is None else self.grid
        return decoded.reshape(indices.shape[0], *positions, self.dim)

    def _quantize(self, z: Tensor, valid: Tensor | None) -> Assignment:
        """Assignment whose ``codes`` carry the estimated gradient to ``z``."""
        result = self._assign(z, valid)
        first = result.first
        # Without a gradient to invent the codes are the output already.
        if first is not None and self.training and torch.is_grad_enabled():
            first = self._estimate(z, result._replace(codes=first))
        return result._replace(codes=self._estimate(z, result), first=first)

    def _estimate(self, z: Tensor, assignment: Assignment) -> Tensor:
        """Value ``assignment.codes``, gradient to ``z`` and to whatever the codes depend on."""
        return straight_through(z, assignment.codes)

    def _noise(self, z: Tensor, valid: Tensor | None) -> Choice | None:
        """Random numbers of a training pass that adds noise.

        Drawn before anything else is random, so that a recomputed pass draws the same.
        """
        noisy = self.adds_noise and self.training and torch.is_grad_enabled()
        return Choice(draw_keys(z, valid)) if noisy else None

    def _index(self, z: Tensor) -> Tensor:
        """Indices alone, without gradient; where the rest of the assignment costs much."""
        return self._assign(z, None).indices

    @abstractmethod
    def _assign(self, z: Tensor, valid: Tensor | None) -> Assignment:
        """Choose codes for fp32 ``z [batch, positions, dim]``; in training, update the state."""

    @abstractmethod
    def _lookup(self, indices: Tensor) -> Tensor:
        """Codes of ``indices [batch, positions, codebooks]`` in fp32."""

    def _flatten(self, z: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        name = type(self).__name__
        if z.ndim < 2 or z.shape[-1] != self.dim:
            raise ShapeError(
                f"{name} input: expected [batch, *positions, dim] with dim {self.dim}, got "
                f"{list(z.shape)}. Move the channels to the last axis."
            )
        if not z.is_floating_point():
            raise ShapeError(f"{name} input: expected a floating dtype, got {z.dtype}.")
        if self.grid is not None and tuple(z.shape[1:-1]) != self.grid:
            raise ShapeError(
                f"{name} input: expected positions {list(self.grid)}, got {list(z.shape[1:-1])}. "
                "Its scales are made for one grid: build it for this one."
            )
        if self.grid is not None and mask is not None:
            raise ShapeError(
                f"{name} mask: expected none, because positions are not quantized by themselves, "
                f"got {list(mask.shape)}."
            )
        # Written without -1, which an empty batch leaves undefined.
        rows = z.reshape(z.shape[0], math.prod(z.shape[1:-1]), self.dim).float()
        if mask is None:
            return rows, None
        if mask.dtype != torch.bool or mask.shape != z.shape[:-1]:
            raise ShapeError(
                f"{name} mask: expected a boolean {list(z.shape[:-1])}, got {mask.dtype} "
                f"{list(mask.shape)}. True marks valid positions."
            )
        valid = mask.reshape(rows.shape[:2])
        # Padding may hold anything, NaN too: it must not reach a sum.
        return torch.where(valid[..., None], rows, 0.0), valid

    def _index_shape(self, z: Tensor) -> tuple[int, ...]:
        return (z.shape[0], *self.index_positions(tuple(z.shape[1:-1])), self.num_codebooks)

    def _check_indices(self, indices: Tensor) -> None:
        name = type(self).__name__
        if indices.is_floating_point() or indices.is_complex() or indices.dtype == torch.bool:
            raise ShapeError(f"{name} indices: expected an integer dtype, got {indices.dtype}.")
        if indices.ndim < 2 or indices.shape[-1] not in self._decodable:
            raise ShapeError(
                f"{name} indices: expected [batch, *positions, codebooks] with "
                f"{self.num_codebooks} codebooks, got {list(indices.shape)}."
            )
        if torch.compiler.is_compiling() or indices.numel() == 0:
            return
        sizes = self.codebook_sizes[: indices.shape[-1]]
        limit = torch.tensor(sizes, dtype=torch.int64, device=indices.device)
        inside = (indices >= NO_TOKEN) & (indices < limit)
        if indices.is_cuda:
            # Reading the answer back would stall the device at every call.
            torch._assert_async(inside.all(), f"{name}: index out of range")
        elif not bool(inside.all()):
            raise ShapeError(
                f"{name} indices: expected 0 to {[size - 1 for size in sizes]} per codebook (or "
                f"-1 for none), got {int(indices.min())} to {int(indices.max())}."
            )

    @property
    def _decodable(self) -> Sequence[int]:
        """Numbers of codebooks that ``decode`` accepts."""
        return range(self.num_codebooks, self.num_codebooks + 1)


def in_backward() -> bool:
    """Whether autograd runs backward now: then a forward pass is a recomputation."""
    if torch.compiler.is_compiling():
        return False  # traced once, forward; what is recomputed is the compiler's choice
    return bool(torch._C._current_graph_task_id() != -1)


def squares_are_finite(z: Tensor) -> Tensor:
    """Per item of ``z [batch, positions, dim]``: no NaN, no infinity, nor close to overflow."""
    return torch.linalg.vector_norm(z, dim=(1, 2)).isfinite()


def spread_bad_values(z: Tensor) -> Tensor:
    """``z [batch, positions, dim]`` with every value of an item that is not finite NaN.

    Wrappers give their parts different views of one input: none of them may learn from a batch that
    is bad for another.
    """
    return torch.where(squares_are_finite(z)[:, None, None], z, torch.nan)


def refuse_grid(inner: Quantizer, wrapper: str) -> None:
    """Raise a ``ConfigError`` if ``inner`` does not quantize each position by itself."""
    if inner.grid is not None:
        raise ConfigError(
            f"{wrapper}: expected an inner quantizer of single positions, got "
            f"{type(inner).__name__} with the grid {list(inner.grid)}. Put {wrapper} inside it."
        )
