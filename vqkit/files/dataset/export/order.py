"""In what order a grid of tokens becomes a sequence, and back."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
import numpy.typing as npt

from vqkit.files.format_error import FormatError

__all__ = ["ORDERS", "Delay", "LevelMajor", "Order", "Raster", "TimeMajor"]

Ids = npt.NDArray[Any]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Order(ABC):
    """An invertible way through a grid ``[*grid, codebooks]``.

    Attributes:
        name: On the command line and in sidecars.
        needs_padding: Whether it fills places that no token has.
    """

    name: ClassVar[str]
    needs_padding: ClassVar[bool] = False

    @abstractmethod
    def length(self, shape: Shape) -> int:
        """Ids of a sequence for a grid of this shape."""

    @abstractmethod
    def flatten(self, grid: Ids, padding: int) -> Ids:
        """The sequence of a grid, of the same dtype."""

    @abstractmethod
    def unflatten(self, ids: Ids, shape: Shape, padding: int) -> Ids:
        """The grid of a sequence.

        Raises:
            FormatError: It is no sequence for a grid of this shape.
        """

    def _check_length(self, ids: Ids, shape: Shape) -> None:
        if len(ids) != self.length(shape):
            raise FormatError(
                f"expected {self.length(shape)} ids for a grid of {list(shape)} in {self.name} "
                f"order, got {len(ids)}"
            )


class _Transposed(Order):
    """All tokens, with the axes in another order."""

    @abstractmethod
    def axes(self, rank: int) -> tuple[int, ...]:
        """The axes of ``[*grid, codebooks]`` from the slowest to the fastest."""

    def length(self, shape: Shape) -> int:
        """As many as there are tokens."""
        return math.prod(shape)

    def flatten(self, grid: Ids, padding: int) -> Ids:
        """The sequence of a grid."""
        return grid.transpose(self.axes(grid.ndim)).reshape(-1)

    def unflatten(self, ids: Ids, shape: Shape, padding: int) -> Ids:
        """The grid of a sequence."""
        self._check_length(ids, shape)
        axes = self.axes(len(shape))
        turned: Ids = ids.reshape([shape[axis] for axis in axes])
        return turned.transpose(np.argsort(axes))


@final
class Raster(_Transposed):
    """Position after position in C order, all levels of each: that of the data set itself.

    >>> Raster().flatten(np.array([[1, 2], [3, 4], [5, 6]]), padding=0).tolist()
    [1, 2, 3, 4, 5, 6]
    """

    name = "raster"

    def axes(self, rank: int) -> tuple[int, ...]:
        """As they are."""
        return tuple(range(rank))


@final
class TimeMajor(_Transposed):
    """Along the first axis, at each step level after level: frames of a clip, coarse to fine.

    >>> frames = np.arange(8).reshape(2, 2, 2)  # [time, width, codebooks]
    >>> TimeMajor().flatten(frames, padding=0).tolist()
    [0, 2, 1, 3, 4, 6, 5, 7]
    """

    name = "time-major"

    def axes(self, rank: int) -> tuple[int, ...]:
        """The first, the codebooks, the others."""
        return (0, rank - 1, *range(1, rank - 1)) if rank > 1 else (0,)


@final
class LevelMajor(_Transposed):
    """Level after level, each of them the whole grid: coarse to fine.

    >>> LevelMajor().flatten(np.array([[1, 2], [3, 4], [5, 6]]), padding=0).tolist()
    [1, 3, 5, 2, 4, 6]
    """

    name = "level-major"

    def axes(self, rank: int) -> tuple[int, ...]:
        """The codebooks, the others."""
        return (rank - 1, *range(rank - 1))


@final
class Delay(Order):
    """Positions in C order, level k by k steps later (MusicGen, arXiv 2306.05284).

    At each step there is one id of each level, so that a model that predicts all levels of a step
    at once sees level k-1 of a position before level k. Places without a token hold the padding.

    >>> Delay().flatten(np.array([[1, 2], [3, 4], [5, 6]]), padding=0).tolist()
    [1, 0, 3, 2, 5, 4, 0, 6]
    """

    name = "delay"
    needs_padding = True

    def length(self, shape: Shape) -> int:
        """As many steps as positions, and one more for each further level."""
        *grid, levels = shape
        positions = math.prod(grid)
        return (positions + levels - 1) * levels if positions else 0

    def flatten(self, grid: Ids, padding: int) -> Ids:
        """The sequence of a grid."""
        levels = grid.shape[-1]
        rows = grid.reshape(-1, levels)
        steps = np.full((self.length(grid.shape) // levels, levels), padding, grid.dtype)
        for level in range(levels):
            steps[level : level + len(rows), level] = rows[:, level]
        return steps.reshape(-1)

    def unflatten(self, ids: Ids, shape: Shape, padding: int) -> Ids:
        """The grid of a sequence."""
        self._check_length(ids, shape)
        levels, positions = shape[-1], math.prod(shape[:-1])
        steps = ids.reshape(-1, levels)
        columns = [steps[level : level + positions, level] for level in range(levels)]
        grid = np.stack(columns, axis=-1).reshape(shape)
        if not np.array_equal(self.flatten(grid, padding), ids):
            raise FormatError("expected the padding where delayed levels begin and end")
        return grid


ORDERS: dict[str, Order] = {o.name: o for o in (Raster(), TimeMajor(), LevelMajor(), Delay())}
"""By name."""
