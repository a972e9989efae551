"""Pictures in strips and tiles: memory by the tile, whatever the size of the picture."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.errors import ShapeError
from vqkit.shapes import Float
from vqkit.tokenizers.frontend import ImageFrontend
from vqkit.tokenizers.tiling import AxisTiles, Tile, Tiling, blend

if TYPE_CHECKING:
    from vqkit.tokenizers.tokenizer import Tokenizer

__all__ = ["Strips", "decoded_picture", "encode_picture"]


class Strips:
    """A picture that comes in strips from the top, as what the encoder takes.

    Args:
        frontend: Of the tokenizer.
        pieces: ``[channels, rows, width]`` in [-1, 1]; at least one.
        stride: Of the encoder.
        device: Where the model is.
    """

    def __init__(
        self,
        frontend: ImageFrontend,
        pieces: Iterable[Tensor],
        stride: tuple[int, ...],
        device: torch.device,
    ) -> None:
        self._frontend = frontend
        self._pieces = pieces
        self._stride = stride
        self._device = device
        self.size: Mapping[str, int] | None = None
        """Of the whole picture, once all strips are taken."""

    def __iter__(self) -> Iterator[Tensor]:
        """Strips ``[1, channels, rows, width]`` that the stride divides when joined.

        Raises:
            ShapeError: No strip, or strips that are no pictures, or of another width than the
                first.
        """
        height = width = 0
        last: Tensor | None = None
        for piece in self._pieces:
            self._frontend.check(piece)
            if width not in (0, piece.shape[2]):
                raise ShapeError(
                    f"Strips of a picture: expected a width of {width} as before, got "
                    f"{list(piece.shape)}."
                )
            height, width = height + piece.shape[1], piece.shape[2]
            strip = piece.to(self._device, torch.float32)[None]
            if right := -width % self._stride[1]:
                strip = F.pad(strip, (0, right, 0, 0), mode="replicate")
            last = strip[..., -1:, :]
            yield strip
        if last is None:
            raise ShapeError("Strips of a picture: expected at least one, got none.")
        if below := -height % self._stride[0]:
            yield last.expand(-1, -1, below, -1)
        self.size = {"height": height, "width": width}


def encode_picture(tokenizer: "Tokenizer", strips: Iterable[Tensor], tiling: Tiling) -> Tensor:
    """Indices ``[1, height, width, codebooks]`` of a picture in strips of any height.

    Args:
        tokenizer: Of pictures, in evaluation.
        strips: ``[1, channels, rows, width]``, which the stride divides when joined.
        tiling: How large pictures are cut; small ones, and those of quantizers that take one grid
            alone, are encoded whole.
    """
    rows = _Rows(iter(strips))
    if tokenizer.quantizer.grid is not None:
        return tokenizer.encode_whole(rows.rest())
    rows.reach(1)
    width = rows.part(0, 1).shape[-1]
    if not rows.reach(tiling.whole_pixels // width + 1):
        return tokenizer.encode_whole(rows.rest())
    across = tiling.axis(tokenizer.stride[1])
    columns = across.tiles(width // across.stride)
    grid = []
    for tile, part in _rows_of_tiles(rows, tiling.axis(tokenizer.stride[0])):
        encoded = []
        for column in columns:
            around = slice(column.low * across.stride, column.high * across.stride)
            indices = tokenizer.encode_whole(part[..., around].contiguous())
            encoded.append(indices[:, tile.own, column.own])
        grid.append(torch.cat(encoded, dim=2))
    return torch.cat(grid, dim=1)


def decoded_picture(
    tokenizer: "Tokenizer", indices: Tensor, tiling: Tiling
) -> Iterator[Float[Tensor, "1 channels rows width"]]:
    """Strips of the picture that indices stand for, from the top.

    Args:
        tokenizer: Of pictures, in evaluation.
        indices: ``[1, height, width, codebooks]``.
        tiling: How large pictures are cut, as for :func:`encode_picture`.
    """
    down, across = (tiling.axis(stride) for stride in tokenizer.stride)
    if tokenizer.quantizer.grid is not None or tiling.takes_whole(
        indices.shape[1] * down.stride, indices.shape[2] * across.stride
    ):
        yield tokenizer.decode_whole(indices)
        return
    high, wide = indices.shape[1:3]
    columns = across.tiles(wide)

    def decoded(row: Tile) -> Iterator[tuple[Tile, Tensor]]:
        for column in columns:
            yield column, tokenizer.decode_whole(indices[:, row.around, column.around])

    rows = ((row, decoded(row)) for row in down.tiles(high))
    yield from blend(rows, (down, high), (across, wide))


def _rows_of_tiles(rows: "_Rows", down: AxisTiles) -> Iterator[tuple[Tile, Tensor]]:
    """Rows of tiles from the top: where they lie, and the pixels of their surroundings."""
    number = 0
    while rows.reach(number * down.size * down.stride + 1):
        most = (number + 1) * down.size + down.margin
        # Where the picture ends before, it is as long as it is.
        length = most if rows.reach(most * down.stride) else rows.num_rows // down.stride
        tile = down.tile(number, length)
        yield tile, rows.part(tile.low * down.stride, tile.high * down.stride)
        number += 1
        rows.drop((number * down.size - down.margin) * down.stride)


class _Rows:
    """Rows of a picture that comes in strips; those that are of use are kept.

    Args:
        strips: ``[1, channels, rows, width]``.
    """

    def __init__(self, strips: Iterator[Tensor]) -> None:
        self._strips = strips
        self._waiting: list[Tensor] = []
        self._first = 0
        self.num_rows = 0
        """Rows that have come so far."""

    def reach(self, num_rows: int) -> bool:
        """Take strips until there are so many rows; whether there are."""
        while self.num_rows < num_rows:
            strip = next(self._strips, None)
            if strip is None:
                return False
            self._waiting.append(strip)
            self.num_rows += strip.shape[-2]
        return True

    def part(self, start: int, stop: int) -> Tensor:
        """Rows that have come and were not dropped."""
        self._waiting = [torch.cat(self._waiting, dim=-2)]
        return self._waiting[0][..., start - self._first : stop - self._first, :]

    def drop(self, stop: int) -> None:
        """Forget the rows before this one."""
        if stop > self._first:
            self._waiting = [self.part(stop, self.num_rows).clone()]
            self._first = stop

    def rest(self) -> Tensor:
        """All rows that were not dropped, to the end of the picture."""
        while self.reach(self.num_rows + 1):
            pass
        return self.part(self._first, self.num_rows)
