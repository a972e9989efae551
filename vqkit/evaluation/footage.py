"""Clips that an evaluation reads block by block, as often as it needs, whatever their length."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from fractions import Fraction
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vqkit.errors import ShapeError
from vqkit.media import Alpha, VideoReader, from_levels

if TYPE_CHECKING:
    from vqkit.data import Clip, VideoSource

__all__ = ["BLOCK_FRAMES", "FileFootage", "Footage", "SourceFootage", "TensorFootage", "footage_of"]

BLOCK_FRAMES = 8
"""Frames that are read and compared at a time."""


class Footage(ABC):
    """One clip, which lies elsewhere: in a file, in a set, or in memory."""

    def __init__(self) -> None:
        self._size: dict[str, int] | None = None

    @property
    @abstractmethod
    def frame_rate(self) -> Fraction | None:
        """Frames per second, on average where they vary; None where it is not known.

        Raises:
            MediaError: it cannot be read.
        """

    @property
    def size(self) -> dict[str, int]:
        """``frames``, ``height`` and ``width``: read through once, where they are not known yet.

        Raises:
            MediaError: it cannot be read.
            ShapeError: it has no frames.
        """
        if self._size is None:
            for _ in self.blocks():
                pass
        if self._size is None:
            raise ShapeError("Reading a clip: expected a frame at least, got none.")
        return self._size

    def blocks(self, num_frames: int = BLOCK_FRAMES) -> Iterator[Tensor]:
        """All of it from the start: ``[channels, frames, height, width]``, float32 in [-1, 1].

        Raises:
            MediaError: it cannot be read.
        """
        count = 0
        for block in self._blocks(num_frames):
            frames, height, width = block.shape[1:]
            count += frames
            yield from_levels(block) if block.dtype is torch.uint8 else block
        if count:
            self._size = {"frames": count, "height": height, "width": width}

    @abstractmethod
    def _blocks(self, num_frames: int) -> Iterator[Tensor]:
        """The same in uint8 or float32."""


class TensorFootage(Footage):
    """A clip in memory.

    Args:
        frames: ``[channels, frames, height, width]``, float in [-1, 1] or uint8.
        frame_rate: frames per second; None where it is not known.

    Example:
        >>> clip = TensorFootage(torch.zeros(3, 10, 8, 16), Fraction(25))
        >>> [block.shape[1] for block in clip.blocks(4)], clip.size["frames"]
        ([4, 4, 2], 10)
    """

    def __init__(self, frames: Tensor, frame_rate: Fraction | None = None) -> None:
        super().__init__()
        if frames.ndim != 4:
            raise ShapeError(
                f"Clip: expected [channels, frames, height, width], got {list(frames.shape)}."
            )
        self.frames = frames
        self._frame_rate = frame_rate

    @property
    def frame_rate(self) -> Fraction | None:
        """As it was given."""
        return self._frame_rate

    def _blocks(self, num_frames: int) -> Iterator[Tensor]:
        yield from self.frames.split(num_frames, dim=1) if self.frames.shape[1] else ()


class FileFootage(Footage):
    """A video file, opened anew for each reading.

    Args:
        source: path, or the bytes of the file.
        channels: 1 for grey, 3 for colour.
        alpha: what stands behind transparent pixels.
        max_frames: the first so many alone; None takes all.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | bytes,
        *,
        channels: int = 3,
        alpha: Alpha = "white",
        max_frames: int | None = None,
    ) -> None:
        super().__init__()
        self.source = source
        self.channels = channels
        self.alpha = alpha
        self.max_frames = max_frames

    @property
    def frame_rate(self) -> Fraction | None:
        """What the file says of it."""
        with self._opened() as reader:
            return reader.info.frame_rate

    def _blocks(self, num_frames: int) -> Iterator[Tensor]:
        left = self.max_frames
        with self._opened() as reader:
            while left is None or left > 0:
                block = reader.read(num_frames if left is None else min(num_frames, left))
                if not block.shape[1]:
                    return
                left = None if left is None else left - block.shape[1]
                yield block

    def _opened(self) -> VideoReader:
        return VideoReader(
            self.source, channels=self.channels, alpha=self.alpha, dtype=torch.float32
        )


class SourceFootage(Footage):
    """A clip of a data set.

    Args:
        source: the set.
        index: number of the clip in it.
    """

    def __init__(self, source: "VideoSource", index: int) -> None:
        super().__init__()
        self.source = source
        self.index = index

    @property
    def frame_rate(self) -> Fraction | None:
        """That of the clip as the set gives it."""
        with self._opened() as clip:
            return clip.frame_rate

    def _blocks(self, num_frames: int) -> Iterator[Tensor]:
        with self._opened() as clip:
            for start in range(0, clip.num_frames, num_frames):
                yield clip.read(start, min(num_frames, clip.num_frames - start))

    def _opened(self) -> "AbstractContextManager[Clip]":
        return self.source.open(self.index)


def footage_of(medium: "Tensor | Footage") -> Footage:
    """A clip as what is read block by block; a tensor has no frame rate.

    Raises:
        ShapeError: it is no ``[channels, frames, height, width]``.
    """
    return TensorFootage(medium) if isinstance(medium, Tensor) else medium
