"""Large pictures and frames in tiles: memory by the tile, one grid of tokens, no seams to be seen.

A tile is encoded with some of its surroundings, and gives the tokens of its own part alone: the
grid is that of the whole, and so are the tokens where a network looks no further than the
surroundings go. Decoded tiles fade into one another. Half of the surroundings is there to be looked
at, in the other half two tiles are blended.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.shapes import Float

__all__ = ["AxisTiles", "Tile", "Tiling", "blend"]


@dataclass(frozen=True)
class Tiling:
    """How large pictures and frames are cut.

    Args:
        tile_pixels: Side of a tile.
        overlap_pixels: What neighbours have in common: half of it lies on each side of the border.
        whole_pixels: Pictures and frames of at most so many pixels are taken whole.

    All are rounded to whole tokens.

    Raises:
        ConfigError: A tile that is smaller than the overlap, or a negative number.
    """

    tile_pixels: int = 512
    overlap_pixels: int = 128
    whole_pixels: int = 1 << 21

    def __post_init__(self) -> None:
        """Refuse tiles of which three would lie over one another."""
        if not 0 <= self.overlap_pixels <= self.tile_pixels or self.whole_pixels < 0:
            raise ConfigError(
                "Tiling: expected 0 <= overlap_pixels <= tile_pixels and whole_pixels >= 0, got "
                f"{self.overlap_pixels}, {self.tile_pixels} and {self.whole_pixels}."
            )
        if self.tile_pixels < 1:
            raise ConfigError(f"Tiling: expected tile_pixels >= 1, got {self.tile_pixels}.")

    def takes_whole(self, height: int, width: int) -> bool:
        """Whether so large a picture is not cut."""
        return height * width <= self.whole_pixels

    def axis(self, stride: int) -> "AxisTiles":
        """How one axis is cut, in tokens."""
        size = max(1, self.tile_pixels // stride)
        return AxisTiles(stride, size, min(size, -(-self.overlap_pixels // (2 * stride))))


@dataclass(frozen=True)
class Tile:
    """A tile along one axis, in tokens.

    Attributes:
        start: First token that is its own.
        stop: End of these.
        low: First token of its surroundings.
        high: End of these.
    """

    start: int
    stop: int
    low: int
    high: int

    @property
    def own(self) -> slice:
        """Its own tokens among those of its surroundings."""
        return slice(self.start - self.low, self.stop - self.low)

    @property
    def around(self) -> slice:
        """Its surroundings among all tokens."""
        return slice(self.low, self.high)


@dataclass(frozen=True)
class AxisTiles:
    """One axis in tiles.

    Attributes:
        stride: Pixels per token.
        size: Tokens of a tile.
        margin: Tokens of its surroundings on each side.
    """

    stride: int
    size: int
    margin: int

    def tile(self, number: int, length: int) -> Tile:
        """One of the tiles of an axis of so many tokens."""
        start = number * self.size
        stop = min(start + self.size, length)
        return Tile(start, stop, max(0, start - self.margin), min(length, stop + self.margin))

    def tiles(self, length: int) -> list[Tile]:
        """All of them.

        >>> [(tile.around, tile.own) for tile in AxisTiles(8, 4, 1).tiles(7)]
        [(slice(0, 5, None), slice(0, 4, None)), (slice(3, 7, None), slice(1, 4, None))]
        """
        return [self.tile(number, length) for number in range(-(-length // self.size))]

    @cached_property
    def fade(self) -> int:
        """Pixels on each side of a border over which one tile fades into the next."""
        return self.margin * self.stride // 2

    def weighted(self, tile: Tile, length: int) -> tuple[int, int, Float[Tensor, " pixels"]]:
        """The pixels that a tile has a part in, from and to, and the size of its part.

        The parts of all tiles have the sum one at every pixel.
        """
        first = tile.start * self.stride - (self.fade if tile.start else 0)
        end = tile.stop * self.stride + (self.fade if tile.stop < length else 0)
        end = min(end, length * self.stride)
        weights = torch.ones(end - first)
        ramp = (torch.arange(2 * self.fade) + 0.5) / max(1, 2 * self.fade)
        if tile.start:
            weights[: 2 * self.fade] *= ramp[: len(weights)]
        if tile.stop < length:
            # The next tile may be narrower than the fading: what it would have beyond its end is
            # nobody's.
            begin = tile.stop * self.stride - self.fade - first
            weights[begin:] *= (1 - ramp)[: len(weights) - begin]
        return first, end, weights


def blend(
    rows: Iterable[tuple[Tile, Iterable[tuple[Tile, Float[Tensor, "*batch high wide"]]]]],
    height: tuple[AxisTiles, int],
    width: tuple[AxisTiles, int],
) -> Iterator[Float[Tensor, "*batch pixel_rows pixels"]]:
    """Strips of a picture of its decoded tiles, from the top, each as soon as it is whole.

    Args:
        rows: Rows of tiles from the top: where they lie, and their tiles from the left: where these
            lie, and what was decoded of their surroundings.
        height: How the vertical axis is cut, and its tokens.
        width: How the horizontal axis is cut, and its tokens.
    """
    across, num_columns = width
    down, num_rows = height
    waiting: Tensor | None = None
    given = 0
    for row, tiles in rows:
        top, bottom, by_row = down.weighted(row, num_rows)
        for column, decoded in tiles:
            left, right, by_column = across.weighted(column, num_columns)
            if waiting is None:
                shape = (*decoded.shape[:-2], bottom - given, num_columns * across.stride)
                waiting = decoded.new_zeros(shape)
            missing = bottom - given - waiting.shape[-2]
            if missing:
                waiting = torch.nn.functional.pad(waiting, (0, 0, 0, missing))
            y, x = row.low * down.stride, column.low * across.stride
            part = decoded[..., top - y : bottom - y, left - x : right - x]
            weights = by_row[:, None] * by_column
            target = waiting[..., top - given : bottom - given, left:right]
            target += part * weights.to(part.device)
        assert waiting is not None, "a row has tiles"
        # What lies above the fading into the next row is whole.
        is_last = row.stop == num_rows
        done = (bottom if is_last else row.stop * down.stride - down.fade) - given
        yield waiting[..., :done, :]
        waiting = waiting[..., done:, :].clone()
        given += done
