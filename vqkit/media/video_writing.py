"""Tensors in [-1, 1] -> video files."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from types import TracebackType
from typing import NamedTuple

import torch
from torch import Tensor

from vqkit.errors import ConfigError, MediaError, ShapeError, VqkitError
from vqkit.media.audio_decoder import METADATA_KEYS
from vqkit.media.audio_reading import Audio
from vqkit.media.targets import MediaTarget, check_free, opened_whole, suffix_of
from vqkit.media.video_encoder import (
    FrameEncoder,
    PyAVVideoEncoder,
    VideoEncoding,
    VideoLayout,
    Y4MEncoder,
)
from vqkit.media.video_pictures import PictureFolder
from vqkit.media.video_reading import Video
from vqkit.media.video_sound import AudioBlocks, AudioTrack, Soundtrack, soundtrack_of
from vqkit.media.video_times import exact_rate

__all__ = ["VideoWriter", "write_video"]


@dataclass(frozen=True)
class _Writable:
    """A format that is written.

    Attributes:
        suffixes: file name endings, the usual one first.
        muxer: FFmpeg's name; empty where it is not asked.
        encodings: what it holds, the usual one first.
        has_times: frames need not follow at one rate.
    """

    suffixes: tuple[str, ...]
    muxer: str
    encodings: tuple[str, ...]
    has_times: bool = True


_MAX_SIDE = 16384

_WRITABLE = {
    "mp4": _Writable((".mp4", ".m4v"), "mp4", ("h264",)),
    "mov": _Writable((".mov",), "mov", ("h264",)),
    "mkv": _Writable((".mkv",), "matroska", ("h264", "ffv1", "vp9", "av1")),
    "webm": _Writable((".webm",), "webm", ("vp9", "av1")),
    "gif": _Writable((".gif",), "gif", ("gif",)),
    "y4m": _Writable((".y4m",), "", ("rawvideo",), has_times=False),
    "png": _Writable((".png",), "", ("png",), has_times=False),
}


class _Waiting(NamedTuple):
    """A frame that waits for the next one to say how long it lasts.

    Attributes:
        frame: [channels, height, width]
        ticks: when it is shown.
        lasts: how long, if none follows.
    """

    frame: Tensor
    ticks: int
    lasts: int


class VideoWriter:
    """A video written block by block, in memory that does not grow with its length.

    It is complete, and appears under its name, when the ``with`` block ends without an exception;
    otherwise nothing is left behind. What goes to a stream is kept in memory until then. Frames
    have exactly the height and the width that are given, odd ones too.

    - ``mp4``, ``mov``, ``mkv`` (H.264): 8 bits of BT.709, limited range, tagged so. 4:2:0; with an
      odd side 4:4:4, which H.264 has for odd sides and many players have not.
    - ``mkv`` with ``VideoEncoding("ffv1")``: lossless, the 256 levels of each channel.
    - ``webm`` (VP9, or AV1 with ``VideoEncoding("av1")``): as H.264, with 4:2:0 for odd sides too.
    - ``gif``: 256 colours for each frame, times in hundredths of a second.
    - ``y4m``: not compressed, 4:2:0; it cannot name its matrix, so that of its size is taken.
    - ``png``: a folder of pictures, ``frame_000000.png`` and on, or a pattern of names in a folder.

    Args:
        target: a path, a binary stream, or a folder (a pattern in one) for ``png``.
        frame_rate: frames per second; where times are given, on average.
        height: rows.
        width: columns.
        format: by default what the path's ending says; ``mp4`` for a stream or without ending.
        encoding: how frames are encoded.
        time_base: seconds of a tick, for times that are given; unless told, that of a frame.
        audio: sound to write beside the frames: samples, or a track of a file, whose packets are
            copied where the container holds their encoding. AAC and Opus elsewhere.
        metadata: title, artist and the like, as far as the format has a place for them.
        overwrite: replace a file, or a folder of pictures, that exists.

    Raises:
        ConfigError: a setting is unknown, or the format does not hold what is asked for.
        MediaError: the file exists, or it cannot be written.
        MissingExtraError: the package av is not installed.

    Example:
        >>> import io
        >>> file = io.BytesIO()
        >>> with VideoWriter(file, 25, 48, 64, format="webm") as writer:
        ...     for _ in range(3):
        ...         writer.write(torch.zeros(3, 4, 48, 64))
        >>> from vqkit.media import read_video
        >>> read_video(file.getvalue()).frames.shape
        torch.Size([3, 12, 48, 64])
    """

    def __init__(
        self,
        target: MediaTarget,
        frame_rate: Fraction | float,
        height: int,
        width: int,
        *,
        format: str | None = None,
        encoding: VideoEncoding | None = None,
        time_base: Fraction | None = None,
        audio: Audio | AudioBlocks | AudioTrack | None = None,
        metadata: Mapping[str, str] | None = None,
        overwrite: bool = False,
    ):
        self._name = _format_of(target, format)
        writable = _WRITABLE[self._name]
        for what, side in (("height", height), ("width", width)):
            if not 1 <= side <= _MAX_SIDE:
                raise ConfigError(f"{what} of a video: expected 1 to {_MAX_SIDE}, got {side}.")
        rate = exact_rate(frame_rate)
        if time_base is not None and (not writable.has_times or not 0 < time_base <= 1):
            raise ConfigError(
                f"time_base: expected above 0 and up to 1 second, in a format with times, got "
                f"{time_base} for {self._name}."
            )
        settings = (encoding or VideoEncoding()).checked(writable.encodings, height, width)
        layout = VideoLayout(height, width, rate, 1 / rate if time_base is None else time_base)
        known = {key: value for key, value in (metadata or {}).items() if key in METADATA_KEYS}
        self._layout = layout
        self._step = max(1, round(1 / rate / layout.time_base))
        self._has_times = writable.has_times
        self._waiting: _Waiting | None = None
        self._origin: int | None = None
        self._base = self._num_counted = 0
        self._num_channels: int | None = None
        self._shown = f"{width} x {height} pixels as {self._name}"
        soundtrack: Soundtrack | None = None
        with ExitStack() as stack, self._failures_named():
            if self._name != "png":
                check_free(target, overwrite)
            if audio is not None:
                soundtrack = soundtrack_of(audio, writable.muxer or self._name)
                stack.callback(soundtrack.close)
            if self._name == "png":
                self._encoder: FrameEncoder = PictureFolder(target, overwrite)
            else:
                file = stack.enter_context(opened_whole(target))
                if self._name == "y4m":
                    self._encoder = Y4MEncoder(file, layout, settings)
                else:
                    self._encoder = PyAVVideoEncoder(
                        file, writable.muxer, layout, settings, soundtrack, known
                    )
            self._opened = stack.pop_all()

    def write(
        self,
        frames: Tensor,
        timestamps: Sequence[int] | None = None,
        *,
        last_duration: int | None = None,
    ) -> None:
        """Take the next frames, any number of them.

        Args:
            frames: ``[channels, frames, height, width]``, 1 or 3 channels; float in [-1, 1] or
                uint8.
            timestamps: when each is shown, in ticks, rising; without them each follows its
                predecessor at the frame rate.
            last_duration: how many ticks the last of them is shown, if none follows.

        Raises:
            ShapeError: they are no frames of this size, or not finite.
            ConfigError: the times do not rise, or the format has none.
            MediaError: they cannot be encoded, or the disk is full.
        """
        _check_frames(frames)
        expected = (self._num_channels or frames.shape[0], self._layout.height, self._layout.width)
        if (frames.shape[0], *frames.shape[2:]) != expected:
            raise ShapeError(
                f"video to write: expected {expected[0]} channels of {expected[1]} x {expected[2]} "
                f"(height x width), got {tuple(frames.shape)}."
            )
        if last_duration is not None and last_duration < 1:
            raise ConfigError(f"last_duration: expected 1 tick or more, got {last_duration}.")
        times = self._checked_times(timestamps, frames.shape[1])
        if not times:
            return
        self._num_channels = frames.shape[0]
        frames = frames.detach().cpu()
        if frames.is_floating_point():
            frames = frames.to(torch.float32)
        with self._failures_named():
            for frame, ticks in zip(frames.unbind(1), times, strict=True):
                self._write_waiting(ticks)
                self._waiting = _Waiting(frame, ticks, self._step)
        # The caller may use its memory again before the next frame comes.
        self._waiting = _Waiting(frames[:, -1].clone(), times[-1], last_duration or self._step)

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._complete()
            else:
                with suppress(Exception):  # that of the block is the one to tell of
                    self._encoder.discard()
        except BaseException as failure:
            with suppress(Exception):
                self._encoder.discard()
            self._opened.__exit__(type(failure), failure, failure.__traceback__)
            raise
        self._opened.__exit__(kind, error, traceback)

    def _complete(self) -> None:
        if self._waiting is None and self._name != "y4m":
            raise MediaError(f"Cannot encode 0 frames as {self._name}. Write y4m instead.")
        with self._failures_named():
            self._write_waiting(None)
            self._encoder.close()

    def _write_waiting(self, following_ticks: int | None) -> None:
        """Encode the frame before, now that it is known how long it lasts."""
        if (waiting := self._waiting) is None:
            return
        lasts = waiting.lasts if following_ticks is None else following_ticks - waiting.ticks
        self._encoder.write(waiting.frame, waiting.ticks, lasts)

    def _checked_times(self, timestamps: Sequence[int] | None, num_frames: int) -> list[int]:
        """When each of the next frames is shown, counted from the first one written."""
        counted = [self._counted(number) for number in range(num_frames)]
        if timestamps is None:
            self._num_counted += num_frames
            return counted
        if len(timestamps) != num_frames:
            raise ShapeError(f"timestamps: expected {num_frames}, got {len(timestamps)}.")
        if not num_frames:
            return []
        if self._origin is None:
            self._origin = int(timestamps[0])
        times = [int(time) - self._origin for time in timestamps]
        before = [] if self._waiting is None else [self._waiting.ticks]
        if any(b <= a for a, b in itertools.pairwise([*before, *times])):
            raise ConfigError("timestamps: expected each above the one before it.")
        if not self._has_times and times != counted:
            raise ConfigError(
                f"timestamps: {self._name} has one frame rate and no times. Write mp4 or mkv."
            )
        self._base, self._num_counted = times[-1], 1
        return times

    def _counted(self, number: int) -> int:
        """When a frame is shown that no time was given for."""
        steps = (self._num_counted + number) / self._layout.frame_rate / self._layout.time_base
        return self._base + round(steps)

    @contextmanager
    def _failures_named(self) -> Iterator[None]:
        try:
            yield
        except (VqkitError, MemoryError, ImportError):
            raise
        # The encoders refuse with exceptions of their own.
        except Exception as error:
            reason = str(error).strip(" .") or type(error).__name__
            raise MediaError(f"Cannot encode {self._shown}: {reason}.") from error


def write_video(
    video: Video | Tensor,
    target: MediaTarget,
    frame_rate: Fraction | float | None = None,
    *,
    format: str | None = None,
    encoding: VideoEncoding | None = None,
    audio: Audio | AudioBlocks | AudioTrack | None = None,
    metadata: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> None:
    """Write a video file, all of it or nothing. :class:`VideoWriter` tells of the formats.

    Args:
        video: frames ``[channels, frames, height, width]``, float in [-1, 1] or uint8, that follow
            at one rate; or what :func:`read_video` gave, with its times, pixel aspect and metadata.
        target: a path, a binary stream, or a folder for ``png``.
        frame_rate: frames per second; of a :class:`Video` its own unless told.
        format: by default what the path's ending says; ``mp4`` for a stream or without ending.
        encoding: how frames are encoded.
        audio: sound to write beside the frames.
        metadata: title, artist and the like; of a :class:`Video` its own unless told.
        overwrite: replace a file that exists.

    Raises:
        ShapeError: the frames have no such shape, or are not finite.
        ConfigError: a setting is unknown, or the format does not hold what is asked for.
        MediaError: the file exists, or it cannot be written.
        MissingExtraError: the package av is not installed.

    Example:
        >>> import io
        >>> file = io.BytesIO()
        >>> write_video(torch.zeros(1, 5, 20, 30), file, 12.5, format="y4m")
        >>> file.getvalue()[:30]
        b'YUV4MPEG2 W30 H20 F25:2 Ip A1:'
    """
    if isinstance(video, Tensor):
        if frame_rate is None:
            raise ConfigError("frame_rate of the video: expected frames per second, got none.")
        frames, timestamps, last, time_base = video, None, None, None
    else:
        frames, times = video.frames, video.times
        encoding = replace(encoding or VideoEncoding(), pixel_aspect=video.pixel_aspect)
        frame_rate = video.frame_rate if frame_rate is None else frame_rate
        metadata = video.metadata if metadata is None else metadata
        timestamps, last, time_base = times.ticks, max(1, times.last_ticks), times.time_base
        if not _WRITABLE[_format_of(target, format)].has_times and times.is_constant:
            timestamps, last, time_base = None, None, None
    _check_frames(frames)
    with VideoWriter(
        target,
        frame_rate,
        frames.shape[2],
        frames.shape[3],
        format=format,
        encoding=encoding,
        time_base=time_base,
        audio=audio,
        metadata=metadata,
        overwrite=overwrite,
    ) as writer:
        writer.write(frames, timestamps, last_duration=last)


def _format_of(target: MediaTarget, format: str | None) -> str:
    asked = suffix_of(target) if format is None else f".{format.lower().removeprefix('.')}"
    if not asked:
        return "mp4"
    for name, writable in _WRITABLE.items():
        if asked in writable.suffixes:
            return name
    raise ConfigError(
        f"format of a video file: expected one of {', '.join(_WRITABLE)}, "
        f"got {asked.removeprefix('.')!r}."
    )


def _check_frames(frames: Tensor) -> None:
    if frames.dim() != 4 or frames.shape[0] not in (1, 3) or 0 in frames.shape[2:]:
        raise ShapeError(
            "video to write: expected [1 or 3 channels, frames, height, width] without empty "
            f"sides, got {tuple(frames.shape)}."
        )
    is_finite = frames.is_floating_point() and bool(frames.isfinite().all())
    if frames.dtype is not torch.uint8 and not is_finite:
        raise ShapeError(
            f"video to write: expected finite floats in [-1, 1] or uint8, got {frames.dtype} or "
            "values that are not finite."
        )
