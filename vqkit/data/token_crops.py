"""Crops of token grids with some tokens hidden, for the training of priors."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.utils.data import Dataset

from vqkit.data.stream import generator_of
from vqkit.errors import ConfigError
from vqkit.priors import Levels, reveal_order, step_bounds
from vqkit.shapes import Bool, Int

__all__ = ["MaskedCrop", "TokenCrops"]

_CROP = {1: (256,), 2: (16, 16), 3: (4, 8, 8), 4: (4, 4, 4, 4)}
_CODING = 0.75  # the share of crops that look as in coding; the others as after losses


class MaskedCrop(NamedTuple):
    """What the network sees and what it is asked.

    Attributes:
        levels: ``[positions, levels]`` the values, -1 beyond the grid.
        known: ``[positions, levels]`` which of them it sees.
        asked: ``[positions]`` where it predicts.
        level: The level that it predicts.
    """

    levels: Int[Tensor, "positions levels"]
    known: Bool[Tensor, "positions levels"]
    asked: Bool[Tensor, "positions"]
    level: Int[Tensor, ""]


class TokenCrops(Dataset[MaskedCrop]):
    """Sample ``position`` of an endless walk over random crops, a function of it and the seed.

    In three of four the tokens of a level are known up to a step of the order in which they are
    coded, those of lower levels everywhere. In the others a random share of positions is lost.
    A grid is drawn in proportion to its positions.

    Args:
        grids: Indices ``[*grid, codebooks]``, in integers of any size, of one rank and 1 or more
            positions each.
        levels: Of their codebooks.
        seed: Of all that is drawn.

    Raises:
        ConfigError: No grid, or one of another rank.
    """

    def __init__(self, grids: Sequence[Tensor], levels: Levels, seed: int) -> None:
        self.rank = grids[0].ndim - 1 if grids else 0
        if self.rank not in _CROP or any(grid.ndim - 1 != self.rank for grid in grids):
            raise ConfigError(
                f"Token grids: expected some, all of 1 to {max(_CROP)} axes alike, got "
                f"{sorted({grid.ndim - 1 for grid in grids})} axes."
            )
        self.grids = grids
        self.levels = levels
        self.seed = seed
        sizes = torch.tensor([grid[..., 0].numel() for grid in grids])
        self._ends = sizes.cumsum(0)

    @property
    def crop(self) -> tuple[int, ...]:
        """Sizes of a crop."""
        return _CROP[self.rank]

    def __getitem__(self, position: int) -> MaskedCrop:
        """Draw the sample at a position, counted from 0 without end."""
        random = generator_of(self.seed, "crop", position)
        levels = self._cropped(random)
        inside = levels[:, 0] >= 0
        level = _integer(levels.shape[1], random)
        lower = torch.arange(levels.shape[1]) < level
        if float(torch.rand((), generator=random)) < _CODING:
            revealed = self._prefix(random)
            known = lower | (revealed[:, None] & (torch.arange(levels.shape[1]) == level))
        else:
            revealed = torch.rand(len(levels), generator=random) < torch.rand((), generator=random)
            known = lower | revealed[:, None]
        return MaskedCrop(levels, known, inside & ~revealed, torch.tensor(level))

    def _cropped(self, random: Generator) -> Tensor:
        """``[positions, levels]`` of a random place in a random grid."""
        token = _integer(int(self._ends[-1]), random)
        grid = self.grids[int(torch.searchsorted(self._ends, token, right=True))]
        corner = [
            _integer(max(1, size - side + 1), random)
            for size, side in zip(grid.shape, self.crop, strict=False)
        ]
        window = tuple(
            slice(start, start + side) for start, side in zip(corner, self.crop, strict=True)
        )
        part = self.levels.split(grid[window].to(torch.int64))
        levels = torch.full((*self.crop, part.shape[-1]), -1)
        levels[tuple(slice(size) for size in part.shape[:-1])] = part
        return levels.flatten(0, -2)

    def _prefix(self, random: Generator) -> Tensor:
        """The positions known before a random step of the order, laid anywhere over the crop."""
        bounds = step_bounds(self.crop)
        num_known = bounds[_integer(len(bounds), random)][0]
        known = torch.zeros(self.crop, dtype=torch.bool)
        known.view(-1)[reveal_order(self.crop)[:num_known]] = True
        shifts = tuple(_integer(side, random) for side in self.crop)
        return torch.roll(known, shifts, tuple(range(self.rank))).flatten()


def _integer(end: int, random: Generator) -> int:
    return int(torch.randint(end, (), generator=random))
