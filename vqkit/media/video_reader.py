"""A video read block by block, in memory that does not grow with its length."""

import io
import itertools
import math
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from types import TracebackType

import torch
from torch import Tensor

from vqkit.errors import ConfigError, MediaError, MissingExtraError
from vqkit.media.audio_decoder import TrackError
from vqkit.media.orientation import upright
from vqkit.media.pixels import Alpha, check_reading_options, composed, to_levels
from vqkit.media.sources import MediaSource, name_of, opened
from vqkit.media.video_decoder import TimedFrame, VideoDecoder, VideoInfo, unreadable_video
from vqkit.media.video_formats import VIDEO_HEAD_BYTES, VideoFormat, identify_video
from vqkit.media.video_pyav import PyAVVideoDecoder, measured_ticks
from vqkit.media.video_sequence import SequenceDecoder, numbered_pictures
from vqkit.media.video_times import FrameTimes, exact_rate
from vqkit.media.video_truncation import missing_video_part

__all__ = ["VideoReader"]

_DTYPES = (torch.float32, torch.uint8)
# Decoding on is cheaper than a seek to a key frame that lies, on average, seconds before.
_NEAR_SECONDS = 1
# Matroska has whole milliseconds, and a time that is given may be a rounded one too.
_ROUNDING_SECONDS = Fraction(1, 2000)
_SEQUENCE_RATE = Fraction(25)


class VideoReader:
    """A video, frames ``[channels, frames, height, width]`` block by block.

    For clips of hours: only the block that is asked for is in memory, and the few frames that a
    decoder keeps. :func:`read_video` says what is read and how colours are made; the blocks,
    joined, are what it gives, whatever their size.

    Args:
        source: path, bytes or binary stream; a folder of pictures, or a pattern with a number in it
            (``frame_%05d.png``).
        video_stream: which video track of a file that has several, from 0.
        frame_rate: of pictures (25 unless told) and of raw streams, whatever they say themselves;
            files that have times of their own keep them.
        channels: 1 for grey, 3 for colour.
        alpha: what stands behind transparent pixels.
        dtype: ``torch.float32``, values in [-1, 1]; or ``torch.uint8``, the nearest levels of 8
            bits (``vqkit.media.from_levels``), for a quarter of the memory.
        start_seconds: begin with the first frame that is shown at this time or later (or up to half
            a millisecond before). Times are counted from the first frame of the file.
        stop_seconds: end before the first frame that is shown at this time or later.

    Raises:
        ConfigError: an argument is out of its range.
        MediaError: the file cannot be read; the message names it and says why.
        MissingExtraError: the package av is not installed.

    Example:
        >>> file = io.BytesIO()
        >>> from vqkit.media import write_video
        >>> write_video(torch.zeros(3, 10, 16, 24), file, 25, format="mkv")
        >>> with VideoReader(file.getvalue()) as reader:
        ...     print([block.shape[1] for block in reader.blocks(4)], reader.info.frame_rate)
        [4, 4, 2] 25
    """

    def __init__(
        self,
        source: MediaSource,
        *,
        video_stream: int = 0,
        frame_rate: Fraction | float | None = None,
        channels: int = 3,
        alpha: Alpha = "white",
        dtype: torch.dtype = torch.float32,
        start_seconds: float | Fraction = 0,
        stop_seconds: float | Fraction | None = None,
    ):
        check_reading_options(channels, alpha)
        if video_stream < 0:
            raise ConfigError(f"video_stream: expected 0 or more, got {video_stream}.")
        if dtype not in _DTYPES:
            raise ConfigError(f"dtype of frames: expected torch.float32 or uint8, got {dtype}.")
        for what, seconds in (("start_seconds", start_seconds), ("stop_seconds", stop_seconds)):
            if seconds is not None and not 0 <= seconds < math.inf:
                raise ConfigError(f"{what}: expected 0 or more, got {seconds}.")
        self._name = name_of(source)
        self._video_stream = video_stream
        self._frame_rate = None if frame_rate is None else exact_rate(frame_rate)
        self._channels, self._alpha, self._dtype = channels, alpha, dtype
        self._is_closed = False
        self._num_pulled: int | None = 0
        with ExitStack() as stack, self._failures_named():
            self._pictures = numbered_pictures(source)
            if self._pictures is None:
                self._stream, self._format = self._identified(stack, source)
            self._decoder = self._decoder_from_start()
            stack.callback(lambda: self._decoder.close())
            self._restart()
            self._stop_ticks = None if stop_seconds is None else self._ticks(stop_seconds)
            self._is_part = start_seconds > 0 or stop_seconds is not None
            if start_seconds > 0:
                self._go_to(self._ticks(start_seconds))
            self._opened = stack.pop_all()

    @property
    def info(self) -> VideoInfo:
        """What the file says of itself."""
        return self._decoder.info

    @property
    def frame_rate(self) -> Fraction:
        """Frames per second of the whole file, on average where they vary."""
        return self.info.frame_rate

    @property
    def is_part(self) -> bool:
        """Whether a part of the file was asked for at the opening."""
        return self._is_part

    @property
    def channels(self) -> int:
        """Channels of the frames that are read: those asked for."""
        return self._channels

    @property
    def height(self) -> int:
        """Rows of a frame, the way it is to be seen."""
        return self.info.height

    @property
    def width(self) -> int:
        """Columns of a frame, the way it is to be seen."""
        return self.info.width

    @property
    def times(self) -> FrameTimes:
        """When the frames are shown that were read since the opening or the last seek."""
        return self._times_from(0)

    @property
    def block_times(self) -> FrameTimes:
        """When the frames are shown that were read last, by :meth:`read` or as a block."""
        return self._times_from(self._block_start)

    def read(self, num_frames: int) -> Tensor:
        """The next frames; fewer at the end and none behind it.

        Returns:
            ``[channels, frames, height, width]``, float32 in [-1, 1] or uint8.

        Raises:
            ConfigError: ``num_frames`` is negative, or the reader is closed.
            MediaError: the file is damaged, or ends before the length that it promises.
        """
        if num_frames < 0:
            raise ConfigError(f"num_frames to read: expected 0 or more, got {num_frames}.")
        self._check_open()
        self._block_start = len(self._read_ticks)
        frames: list[Tensor] = []
        with self._failures_named():
            while len(frames) < num_frames and (frame := self._next()) is not None:
                frames.append(self._converted(frame))
        if not frames:
            return torch.zeros(self._channels, 0, self.height, self.width, dtype=self._dtype)
        return torch.stack(frames, 1)

    def blocks(self, num_frames: int) -> Iterator[Tensor]:
        """What is left of the file, in blocks of so many frames and a shorter one at the end.

        Raises:
            ConfigError: ``num_frames`` is not positive.
            MediaError: as for :meth:`read`.
        """
        if num_frames < 1:
            raise ConfigError(f"num_frames of a block: expected 1 or more, got {num_frames}.")
        while (block := self.read(num_frames)).shape[1]:
            yield block

    def nearest(self, seconds: Sequence[Fraction]) -> Tensor:
        """Of each of these times, in rising order, the frame that begins nearest to it.

        The earlier one on a tie; at the end of the file, its last frame again. What is decoded lies
        between the first and the last of them, and the key frame before (of formats that have any).

        Returns:
            ``[channels, frames, height, width]``, as many as times.

        Raises:
            ConfigError: the times fall, or there are none, or the reader is closed.
            MediaError: the file is damaged, or has no frames.
        """
        self._check_open()
        if not seconds or any(b < a for a, b in itertools.pairwise(seconds)):
            raise ConfigError("Times of frames: expected one or more, none before its predecessor.")
        wanted = [time / self.info.time_base for time in seconds]
        frames: list[Tensor] = []
        with self._failures_named():
            self._go_to(math.floor(wanted[0]), takes_frame_before=True)
            before, converted = self._next(), None
            if before is None:
                raise TrackError("it has no frames")
            for ticks in wanted:
                while (after := self._following()) is not None:
                    if after.ticks - ticks >= ticks - before.ticks:
                        break
                    before, converted = self._next() or before, None
                if converted is None:
                    converted = self._converted(before)
                frames.append(converted)
        return torch.stack(frames, 1)

    def seek(self, seconds: float | Fraction) -> None:
        """Go to the first frame that is shown at this time or later, as ``start_seconds`` does.

        What is read then is what reading from the start would have given. MP4, Matroska and WebM
        are decoded from the key frame before it, all other formats from the start of the file.
        Behind the last frame nothing follows.

        Raises:
            ConfigError: the time is negative, or the reader is closed.
            MediaError: the file is damaged.
        """
        self._check_open()
        if not 0 <= seconds < math.inf:
            raise ConfigError(f"seconds to seek: expected 0 or more, got {seconds}.")
        with self._failures_named():
            self._go_to(self._ticks(seconds))

    def measure_seconds(self) -> Fraction:
        """How long the video lasts, by walking through the file without decoding it.

        For files that do not say it, or say it of sound and picture together. The reader is at the
        start then.

        Raises:
            ConfigError: the reader is closed.
            MediaError: the file is damaged.
        """
        self._check_open()
        info = self.info
        with self._failures_named():
            if info.num_frames is not None and info.format != "gif":
                ticks = info.num_frames
            else:
                step = max(1, round(1 / info.frame_rate / info.time_base))
                ticks = measured_ticks(self._stream, self._format, self._video_stream, step)
            self._reopen()
        return ticks * info.time_base

    def close(self) -> None:
        """Close the file."""
        if not self._is_closed:
            self._is_closed = True
            self._opened.close()

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._is_closed:
            raise ConfigError(f"reading {self._name}: the reader is closed. Open another.")

    def _times_from(self, start: int) -> FrameTimes:
        lasts = 0
        if self._last is not None:
            lasts = self._last.last_ticks
            if self._queue:
                lasts = self._queue[0].ticks - self._last.ticks
        return FrameTimes(tuple(self._read_ticks[start:]), lasts, self.info.time_base)

    def _ticks(self, seconds: float | Fraction) -> int:
        """The first tick that is not before a time, but for what times are rounded by."""
        return max(0, math.ceil((Fraction(seconds) - _ROUNDING_SECONDS) / self.info.time_base))

    def _identified(
        self, stack: ExitStack, source: MediaSource
    ) -> tuple[io.BufferedIOBase, VideoFormat]:
        try:
            stream = stack.enter_context(opened(source))
        except OSError as error:
            raise unreadable_video(self._name, str(error.strerror)) from error
        head = stream.read(VIDEO_HEAD_BYTES)
        if not head:
            raise unreadable_video(self._name, "the file is empty")
        if not stream.seekable():
            stream = io.BytesIO(head + stream.read())
        video_format = identify_video(stream)
        if video_format is None:
            raise unreadable_video(
                self._name,
                "expected MP4, MOV, Matroska, WebM, AVI, an animated GIF, YUV4MPEG, IVF, H.264 or "
                "HEVC, got something else",
            )
        if (missing := missing_video_part(stream, video_format.name)) is not None:
            raise unreadable_video(self._name, missing)
        return stream, video_format

    def _decoder_from_start(self) -> VideoDecoder:
        if self._pictures is not None:
            rate = self._frame_rate or _SEQUENCE_RATE
            return SequenceDecoder(self._pictures, rate, self._alpha)
        return PyAVVideoDecoder(self._stream, self._format, self._video_stream, self._frame_rate)

    def _restart(self) -> None:
        """Forget what was read before."""
        self._queue: deque[TimedFrame] = deque()
        self._forget_times()

    def _forget_times(self) -> None:
        self._read_ticks = array("q")
        self._block_start = 0
        self._last: TimedFrame | None = None

    def _go_to(self, ticks: int, *, takes_frame_before: bool = False) -> None:
        """Up to the first frame that does not begin before a time, or the last not behind it."""
        following = self._following()
        is_behind = following is None or following.ticks > ticks
        is_far = following is None or (
            following.ticks + _NEAR_SECONDS / self.info.time_base < ticks
        )
        if self._decoder.seeks and (is_behind or is_far):
            self._restart()
            self._num_pulled = None
            if not self._decoder.seek(ticks):
                self._reopen()
        elif is_behind:
            self._reopen()
        self._forget_times()
        place = 1 if takes_frame_before else 0
        while (frame := self._following(place)) is not None and (
            frame.ticks < ticks or (takes_frame_before and frame.ticks == ticks)
        ):
            self._queue.popleft()

    def _reopen(self) -> None:
        self._decoder.close()
        self._decoder = self._decoder_from_start()
        self._num_pulled = 0
        self._restart()

    def _following(self, place: int = 0) -> TimedFrame | None:
        """The next frame, or one behind it, which is not taken."""
        while len(self._queue) <= place:
            frame = next(self._decoder.frames(), None)
            if frame is None:
                self._check_promise()
                return None
            if self._num_pulled is not None:
                self._num_pulled += 1
            self._queue.append(frame)
        return self._queue[place]

    def _next(self) -> TimedFrame | None:
        """Take the next frame; None at the end, or where it was asked to stop."""
        frame = self._following()
        if frame is None or (self._stop_ticks is not None and frame.ticks >= self._stop_ticks):
            return None
        self._queue.popleft()
        self._read_ticks.append(frame.ticks)
        self._last = frame
        return frame

    def _check_promise(self) -> None:
        promised, found = self.info.num_frames, self._num_pulled
        if promised is not None and found is not None and found < promised:
            raise TrackError(
                f"it is cut short: {promised} frames are promised, {found} can be decoded"
            )

    def _converted(self, frame: TimedFrame) -> Tensor:
        picture = self._decoder.picture(frame, self._channels)
        opacity = picture.opacity
        if self._alpha == "refuse" and opacity is not None and bool((opacity < 1).any()):
            raise TrackError(
                'it has transparent pixels. Say what stands behind them: alpha="white" or "black"'
            )
        image = composed(picture.colours, opacity, self._channels, self._alpha, self._name)
        image = upright(image, self.info.orientation)
        return to_levels(image) if self._dtype is torch.uint8 else image

    @contextmanager
    def _failures_named(self) -> Iterator[None]:
        """Any failure inside becomes a MediaError that names the file."""
        try:
            yield
        except (MediaError, MissingExtraError):
            raise
        except TrackError as error:
            raise unreadable_video(self._name, str(error)) from error
        # Decoders meet hostile bytes with exceptions of every kind; to the caller all say the same.
        except Exception as error:
            if type(error) is MemoryError:  # FFmpeg's own kind is about what the file asks for
                raise
            damage = f"it is damaged or cut short ({str(error) or type(error).__name__})"
            raise unreadable_video(self._name, damage) from error
