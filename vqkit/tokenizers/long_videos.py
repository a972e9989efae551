"""Clips of any length: memory by the chunk of frames and the tile, tokens as of the whole.

Causal networks keep what they will need again of the frames before, for every tile. Chunks begin
at fixed frames, so that the pieces in which a clip comes do not change a bit of the tokens. Of
networks that need the whole there is one chunk.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from vqkit.errors import ShapeError, StreamingError
from vqkit.nets import Stream, open_stream
from vqkit.shapes import Float
from vqkit.tokenizers.frame_groups import FrameGroups
from vqkit.tokenizers.tiling import AxisTiles, Tile, Tiling, blend
from vqkit.tokenizers.video_frontend import VideoFrontend, repeat_last

if TYPE_CHECKING:
    from vqkit.tokenizers.tokenizer import Tokenizer

__all__ = ["Frames", "decoded_clip", "encode_clip", "frame_groups"]

Network = Callable[[Tensor], Tensor]

_Made = TypeVar("_Made")


class Frames:
    """A clip that comes in pieces, as what the encoder takes.

    Args:
        frontend: Of the tokenizer.
        pieces: ``[channels, frames, height, width]`` in [-1, 1]; at least one.
        stride: Of the encoder.
        frame_rate: Frames per second, if it is known.
        device: Where the model is.
    """

    def __init__(
        self,
        frontend: VideoFrontend,
        pieces: Iterable[Tensor],
        stride: tuple[int, ...],
        frame_rate: int | Fraction | None,
        device: torch.device,
    ) -> None:
        self._frontend = frontend
        self._pieces = pieces
        self._stride = stride
        self._frame_rate = frame_rate
        self._device = device
        self.size: Mapping[str, int] | None = None
        """Of the whole clip, once all pieces are taken."""

    def __iter__(self) -> Iterator[Tensor]:
        """Pieces ``[1, channels, frames, height, width]``, whole groups of frames when joined.

        Raises:
            ConfigError: A rate that no clip has.
            ShapeError: No piece, or pieces that are no clips, or of another size than the first.
        """
        num_frames = 0
        size: tuple[int, int] | None = None
        last: Tensor | None = None
        for piece in self._pieces:
            self._frontend.check(piece)
            _, frames_here, height, width = piece.shape
            if size not in (None, (height, width)):
                raise ShapeError(
                    f"Pieces of a clip: expected frames of {list(size or ())} as before, got "
                    f"{list(piece.shape)}."
                )
            size = height, width
            num_frames += frames_here
            frames = self._frontend.padded(piece.to(self._device, torch.float32), self._stride)
            last = frames[:, -1:]
            yield frames[None]
        if last is None or size is None:
            raise ShapeError("Pieces of a clip: expected at least one, got none.")
        self.size = self._frontend.sizes(num_frames, *size, self._frame_rate)
        groups = FrameGroups(self._stride[0], self._frontend.first_frame_alone)
        if missing := groups.missing(num_frames):
            yield repeat_last(last, missing - 1)[None]


def encode_clip(
    tokenizer: "Tokenizer", clip: Iterable[Tensor], num_latents: int, tiling: Tiling
) -> Tensor:
    """Indices ``[1, time, height, width, codebooks]`` of a clip in pieces of any length.

    Args:
        tokenizer: Of video, in evaluation.
        clip: ``[1, channels, frames, height, width]``, whole groups of frames when joined.
        num_latents: Latent frames of a chunk, which is encoded at once; clips of quantizers that
            take one grid alone are encoded whole.
        tiling: How large frames are cut.
    """
    if tokenizer.quantizer.grid is not None:
        return tokenizer.encode_whole(torch.cat(list(clip), dim=2))
    groups = frame_groups(tokenizer)
    chunks = _recut(clip, groups.num_frames(num_latents), num_latents * groups.stride)
    first = next(chunks)
    second = next(chunks, None)
    tiles = _Tiles(tokenizer, tiling, *first.shape[-2:])
    if second is None:
        return tiles.encoded(first, tiles.each(lambda: tokenizer.encoder))
    try:
        networks = tiles.each(lambda: open_stream(tokenizer.encoder))
    except StreamingError:
        whole = torch.cat([first, second, *chunks], dim=2)
        return tiles.encoded(whole, tiles.each(lambda: tokenizer.encoder))
    parts = []
    for chunk in itertools.chain([first, second], chunks):
        parts.append(tiles.encoded(chunk, [network.push for network in networks]))
    nothing = first[:, :, :0]
    parts.append(tiles.encoded(nothing, [_finishing(network) for network in networks]))
    return torch.cat(parts, dim=1)


def decoded_clip(
    tokenizer: "Tokenizer", indices: Tensor, num_latents: int, tiling: Tiling
) -> Iterator[Float[Tensor, "1 channels frames height width"]]:
    """Pieces of the clip that indices stand for.

    Args:
        tokenizer: Of video, in evaluation.
        indices: ``[1, time, height, width, codebooks]``.
        num_latents: Latent frames of a chunk, which is decoded at once; as for encoding.
        tiling: How large frames are cut.
    """
    if tokenizer.quantizer.grid is not None:
        yield tokenizer.decode_whole(indices)
        return
    decoder = tokenizer.require_media_decoder()
    height, width = (
        length * step for length, step in zip(indices.shape[2:4], tokenizer.stride[1:], strict=True)
    )
    tiles = _Tiles(tokenizer, tiling, height, width)
    if indices.shape[1] > num_latents:
        try:
            networks = tiles.each(lambda: open_stream(decoder))
        except StreamingError:
            networks = []
        if networks:
            for part in indices.split(num_latents, dim=1):
                yield tiles.decoded(part, [network.push for network in networks])
            nothing = indices[:, :0]
            yield tiles.decoded(nothing, [_finishing(network) for network in networks])
            return
    yield tiles.decoded(indices, tiles.each(lambda: decoder))


def frame_groups(tokenizer: "Tokenizer") -> FrameGroups:
    """How many frames a latent frame of a tokenizer of video stands for."""
    return FrameGroups(tokenizer.stride[0], bool(tokenizer.frontend.first_frame_alone))


class _Tiles:
    """The tiles of frames of one size; one, if they are small.

    Args:
        tokenizer: Of video.
        tiling: How large frames are cut.
        height: Of the frames, which the stride divides.
        width: Of the frames, which the stride divides.
    """

    def __init__(self, tokenizer: "Tokenizer", tiling: Tiling, height: int, width: int) -> None:
        self._quantizer = tokenizer.quantizer
        down, across = tokenizer.stride[1:]
        self._size = high, wide = height // down, width // across
        if tiling.takes_whole(height, width):
            self._axes = AxisTiles(down, high, 0), AxisTiles(across, wide, 0)
        else:
            self._axes = tiling.axis(down), tiling.axis(across)
        self._rows, self._columns = (
            axis.tiles(length) for axis, length in zip(self._axes, self._size, strict=True)
        )

    def each(self, make: Callable[[], _Made]) -> list[_Made]:
        """One for every tile, row by row."""
        return [make() for _ in self._rows for _ in self._columns]

    def encoded(self, frames: Tensor, networks: Sequence[Network]) -> Tensor:
        """Indices of frames, each tile through the network of its own."""
        networks_left = iter(networks)
        grid = []
        for row in self._rows:
            indices = []
            for column in self._columns:
                part = frames[..., self._pixels(0, row), self._pixels(1, column)]
                latents = next(networks_left)(part.contiguous()).movedim(1, -1)
                indices.append(self._indices(latents)[:, :, row.own, column.own])
            grid.append(torch.cat(indices, dim=3))
        return torch.cat(grid, dim=2)

    def decoded(self, indices: Tensor, networks: Sequence[Network]) -> Tensor:
        """Frames of indices, each tile through the network of its own."""
        networks_left = iter(networks)

        def decoded(row: Tile) -> Iterator[tuple[Tile, Tensor]]:
            for column in self._columns:
                part = indices[:, :, row.around, column.around]
                latents = self._quantizer.decode(part).movedim(-1, 1).contiguous()
                yield column, next(networks_left)(latents).float()

        rows = ((row, decoded(row)) for row in self._rows)
        height, width = zip(self._axes, self._size, strict=True)
        return torch.cat(list(blend(rows, height, width)), dim=-2)

    def _pixels(self, axis: int, tile: Tile) -> slice:
        stride = self._axes[axis].stride
        return slice(tile.low * stride, tile.high * stride)

    def _indices(self, latents: Tensor) -> Tensor:
        if not latents.shape[1]:
            shape = (*latents.shape[:-1], self._quantizer.num_codebooks)
            return torch.zeros(shape, dtype=torch.int64, device=latents.device)
        return self._quantizer.encode(latents)


def _finishing(network: Stream) -> Network:
    """The rest of a stream, as a network that takes nothing."""
    return lambda nothing: network.finish()


def _recut(pieces: Iterable[Tensor], first: int, length: int) -> Iterator[Tensor]:
    """Chunks of so many frames, of which the first and the last one have others."""
    waiting: list[Tensor] = []
    missing = first
    for piece in pieces:
        while piece.shape[2] > missing:
            yield torch.cat([*waiting, piece[:, :, :missing]], dim=2)
            piece = piece[:, :, missing:]
            waiting, missing = [], length
        waiting.append(piece)
        missing -= piece.shape[2]
    yield torch.cat(waiting, dim=2)
