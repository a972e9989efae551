"""Clips from a reading process to the one that encodes: a block of frames at a time."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vqkit.errors import MediaError
from vqkit.media import FrameTimes, VideoReader

__all__ = ["ClipHead", "OpenClip", "ReadClip", "bytes_of", "send_clip"]

_BLOCK_FRAMES = 16
_BLOCK_VALUES = 1 << 27
"""Of a block, in float32 half a gigabyte: of very large frames there are fewer."""


@dataclass(frozen=True)
class OpenClip:
    """A clip whose frames are read as they are taken, where it was opened.

    Attributes:
        reader: Of its frames.
        size_bytes: Of the file.
        sha256: Of the file.
        seconds: By stage, "read" and "decode", of what is done by now.
    """

    reader: VideoReader
    size_bytes: int
    sha256: str
    seconds: dict[str, float]


@dataclass(frozen=True)
class ClipHead:
    """What is known of a clip before its frames.

    Attributes:
        frame_rate: Frames per second, on average.
        size_bytes: Of the file.
        sha256: Of the file.
    """

    frame_rate: Fraction
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class _ClipEnd:
    """What is known of a clip behind its frames: their times, and what they took."""

    times: FrameTimes
    seconds: dict[str, float]


class ReadClip:
    """A clip that is decoded elsewhere while it is taken (:class:`vqkit.clips.ClipSource`).

    Args:
        head: What is known before.
        receive: Gives the next message of the process that decodes.
        receive_frames: Fills a tensor with the frames that follow.

    Both raise MediaError where the process is late, or gone.
    """

    is_part = False

    def __init__(
        self,
        head: ClipHead,
        receive: Callable[[], Any],
        receive_frames: Callable[[Tensor], None],
    ) -> None:
        self.frame_rate = head.frame_rate
        self.size_bytes, self.sha256 = head.size_bytes, head.sha256
        self.seconds: dict[str, float] = {}
        """By stage, what reading took, once all frames are taken."""
        self.seconds_waited = 0.0
        """For frames, by whoever takes them."""
        self.is_over = False
        """All is received, or that the clip is damaged: the process can go on with another."""
        self._receive, self._receive_frames = receive, receive_frames
        self.times = FrameTimes((), 0, Fraction(1))
        """When the frames are shown, once all are taken."""

    def blocks(self, num_frames: int) -> Iterator[Tensor]:
        """Frames ``[channels, frames, height, width]``, no more than so many at a time.

        Raises:
            MediaError: The clip is damaged, or its process late or gone.
        """
        while (block := self._next()) is not None:
            yield from block.split(num_frames, dim=1)

    def _next(self) -> Tensor | None:
        begin = time.perf_counter()
        try:
            message = self._receive()
            if isinstance(message, str):
                self.is_over = True
                raise MediaError(message)
            if isinstance(message, _ClipEnd):
                self.is_over = True
                self.times, self.seconds = message.times, message.seconds
                return None
            block = torch.empty(message, dtype=torch.float32)
            self._receive_frames(block)
            return block
        finally:
            self.seconds_waited += time.perf_counter() - begin


def send_clip(
    connection: Connection, clip: OpenClip, reason_of: Callable[[BaseException], str]
) -> None:
    """Offer a clip: its head, its frames, each block when the one before it is taken, its end.

    Args:
        connection: To whoever takes it.
        clip: Is closed.
        reason_of: Words for what goes wrong, which are sent then.
    """
    with clip.reader as reader:
        connection.send(ClipHead(reader.frame_rate, clip.size_bytes, clip.sha256))
        seconds = dict(clip.seconds)
        frame_values = reader.channels * reader.height * reader.width
        num_frames = max(1, min(_BLOCK_FRAMES, _BLOCK_VALUES // max(1, frame_values)))
        while True:
            begin = time.perf_counter()
            try:
                block = reader.read(num_frames)
            # Whatever is wrong with this clip, the others are still worth their work.
            except Exception as error:
                connection.send(reason_of(error))
                return
            seconds["decode"] += time.perf_counter() - begin
            if not block.shape[1]:
                break
            connection.send(tuple(block.shape))
            connection.send_bytes(bytes_of(block))
        connection.send(_ClipEnd(reader.times, seconds))


def bytes_of(media: Tensor) -> memoryview:
    """The samples of a contiguous tensor where they lie."""
    return media.view(-1).numpy().view(np.uint8).data
