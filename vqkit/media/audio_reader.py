"""An audio file read block by block, in memory that does not grow with its length."""

import io
import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from types import TracebackType

import numpy as np
import torch
from torch import Tensor

from vqkit.errors import ConfigError, MediaError, MissingExtraError
from vqkit.media.audio_decoder import (
    AudioDecoder,
    AudioInfo,
    TrackError,
    UnsupportedEncodingError,
    unreadable_audio,
)
from vqkit.media.audio_formats import AUDIO_HEAD_BYTES, AudioFormat, identify_audio
from vqkit.media.audio_pyav import PyAVDecoder
from vqkit.media.audio_soundfile import SoundFileDecoder
from vqkit.media.audio_truncation import missing_part
from vqkit.media.sources import MediaSource, name_of, opened
from vqkit.shapes import Float

__all__ = ["AudioReader"]

_SKIPPED_VALUES = 1 << 18

_logger = logging.getLogger(__name__)


class AudioReader:
    """An audio file, or the sound of a video, block by block.

    For files of hours: only the block that is asked for is in memory (and the bytes of the file
    itself, where the source is a stream). :func:`read_audio` says what is read and how it is
    scaled; the blocks, joined, are what it gives. Nothing is reserved by what a header promises.

    Args:
        source: path, bytes or binary stream.
        audio_stream: which audio track of a file that has several, from 0.
        logs_clipping: at the end, log how many values were clipped; for whoever opens a file again
            and again, False.
        start_seconds: begin with the sample that is nearest to this time.
        stop_seconds: end before the sample that is nearest to this time.

    Raises:
        ConfigError: ``audio_stream`` or a time is negative, or the start is behind the end.
        MediaError: the file cannot be read; the message names it and says why.
        MissingExtraError: the package for its format is not installed.

    Example:
        >>> file = io.BytesIO()
        >>> from vqkit.media import write_audio
        >>> write_audio(torch.zeros(2, 1000), file, 16000)
        >>> with AudioReader(file.getvalue()) as reader:
        ...     print(reader.sample_rate_hz, [block.shape[1] for block in reader.blocks(400)])
        16000 [400, 400, 200]
    """

    def __init__(
        self,
        source: MediaSource,
        *,
        audio_stream: int = 0,
        logs_clipping: bool = True,
        start_seconds: float | Fraction = 0,
        stop_seconds: float | Fraction | None = None,
    ):
        if audio_stream < 0:
            raise ConfigError(f"audio_stream: expected 0 or more, got {audio_stream}.")
        for what, seconds in (("start_seconds", start_seconds), ("stop_seconds", stop_seconds)):
            if seconds is not None and not 0 <= seconds < math.inf:
                raise ConfigError(f"{what}: expected 0 or more, got {seconds}.")
        self._name = name_of(source)
        self._audio_stream = audio_stream
        self._logs_clipping = logs_clipping
        self._position = 0
        self._num_clipped = 0
        self._num_promised: int | None = None
        self._is_closed = False
        self._stop: int | None = None
        with ExitStack() as stack:
            with self._failures_named():
                try:
                    stream = stack.enter_context(opened(source))
                except OSError as error:
                    raise unreadable_audio(self._name, str(error.strerror)) from error
                self._stream, self._format = _identified(stream, self._name)
                if (missing := missing_part(self._stream, self._format.name)) is not None:
                    raise unreadable_audio(self._name, missing)
                self._decoder = self._decoder_from_start()
                stack.callback(lambda: self._decoder.close())
            if start_seconds > 0:
                self.seek(round(Fraction(start_seconds) * self.sample_rate_hz))
            if stop_seconds is not None:
                self._stop = round(Fraction(stop_seconds) * self.sample_rate_hz)
            self._opened = stack.pop_all()

    @property
    def info(self) -> AudioInfo:
        """What the file says of itself."""
        return self._decoder.info

    @property
    def sample_rate_hz(self) -> int:
        """Sample rate."""
        return self.info.sample_rate_hz

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.info.channels

    @property
    def num_samples(self) -> int | None:
        """Samples per channel; None where the file does not say it to the sample."""
        return self.info.num_samples

    @property
    def metadata(self) -> Mapping[str, str]:
        """Title, artist and the like."""
        return self.info.metadata

    @property
    def position(self) -> int:
        """The sample that is read next."""
        return self._position

    def read(self, num_samples: int) -> Float[Tensor, "channels samples"]:
        """The next samples, float32 in [-1, 1]; fewer at the end of the file and none behind it.

        Raises:
            ConfigError: ``num_samples`` is negative, or the reader is closed.
            MediaError: the file is damaged, or ends before the length that it promises.
        """
        if num_samples < 0:
            raise ConfigError(f"num_samples to read: expected 0 or more, got {num_samples}.")
        self._check_open()
        if self._stop is not None:
            num_samples = min(num_samples, max(0, self._stop - self._position))
        if self.num_samples is not None:
            num_samples = min(num_samples, max(0, self.num_samples - self._position))
        if num_samples == 0:
            return torch.zeros(self.channels, 0)
        with self._failures_named():
            values = self._decoder.read(num_samples)
            if not np.isfinite(values).all():
                raise unreadable_audio(self._name, "it holds values that are not finite")
        self._position += len(values)
        if self.num_samples is not None and len(values) < num_samples:
            raise unreadable_audio(
                self._name,
                f"it is cut short: its header promises {self.num_samples} samples, "
                f"{self._position} are there",
            )
        self._num_clipped += int((np.abs(values) > 1).sum())
        return torch.from_numpy(np.ascontiguousarray(values.T)).clamp_(-1, 1)

    def blocks(self, num_samples: int) -> Iterator[Float[Tensor, "channels samples"]]:
        """What is left of the file, in blocks of so many samples and a shorter one at the end.

        Raises:
            ConfigError: ``num_samples`` is not positive.
            MediaError: as for :meth:`read`.
        """
        if num_samples < 1:
            raise ConfigError(f"num_samples of a block: expected 1 or more, got {num_samples}.")
        while (block := self.read(num_samples)).shape[1]:
            yield block

    def seek(self, sample: int) -> None:
        """Go to a sample: what is read then is what reading from the start would have given.

        Costs nothing in PCM and FLAC. All other formats are decoded up to there, and from their
        start to go back, since their decoders do not arrive at the same samples by a jump. Behind
        the end of a file of known length is an error; of unknown length, its end.

        Raises:
            ConfigError: the sample is negative or behind the end, or the reader is closed.
            MediaError: the file is damaged.
        """
        self._check_open()
        end = self.num_samples
        if sample < 0 or (end is not None and sample > end):
            expected = "0 or more" if end is None else f"0 to {end}"
            raise ConfigError(f"sample to seek in {self._name}: expected {expected}, got {sample}.")
        with self._failures_named():
            if self._decoder.seek(sample):
                self._position = sample
                return
            if sample < self._position:
                self._decoder.close()
                self._decoder = self._decoder_from_start()
                self._position = 0
        clipped_before = self._num_clipped
        at_once = max(1, _SKIPPED_VALUES // self.channels)
        while self._position < sample:
            if not self.read(min(at_once, sample - self._position)).shape[1]:
                break
        self._num_clipped = clipped_before  # what is skipped is not counted

    def close(self) -> None:
        """Close the file; values that were clipped are reported in one line of the log."""
        if self._is_closed:
            return
        self._is_closed = True
        self._opened.close()
        if self._num_clipped and self._logs_clipping:
            # A lossy encoder overshoots as a matter of course.
            level = logging.DEBUG if self._decoder.is_lossy else logging.WARNING
            _logger.log(
                level, "%s: %d values beyond [-1, 1] are clipped", self._name, self._num_clipped
            )

    def __enter__(self) -> "AudioReader":
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

    def _decoder_from_start(self) -> AudioDecoder:
        """By libsndfile if it can, else by FFmpeg."""
        decoder = self._first_that_can()
        self._num_promised = decoder.info.num_samples
        return decoder

    def _first_that_can(self) -> AudioDecoder:
        if not self._format.by_libsndfile or self._audio_stream > 0:
            return PyAVDecoder(self._stream, self._format, self._audio_stream)
        try:
            return SoundFileDecoder(self._stream, self._format)
        except UnsupportedEncodingError as first_error:
            try:
                return PyAVDecoder(self._stream, self._format, self._audio_stream)
            except (TrackError, MissingExtraError):
                raise
            # Neither library knows it: the first one has the better words.
            except Exception as error:
                raise ValueError(str(first_error)) from error

    @contextmanager
    def _failures_named(self) -> Iterator[None]:
        """Any failure inside becomes a MediaError that names the file."""
        try:
            yield
        except (MediaError, MissingExtraError):
            raise
        except TrackError as error:
            raise unreadable_audio(self._name, str(error)) from error
        # Decoders meet hostile bytes with exceptions of every kind; to the caller all say the same.
        except Exception as error:
            if type(error) is MemoryError:  # FFmpeg's own kind is about what the file asks for
                raise
            damage = f"it is damaged or cut short ({str(error) or type(error).__name__})"
            if self._num_promised is not None:
                damage += (
                    f": its header promises {self._num_promised} samples, "
                    f"about {self._position} are there"
                )
            raise unreadable_audio(self._name, damage) from error


def _identified(stream: io.BufferedIOBase, name: str) -> tuple[io.BufferedIOBase, AudioFormat]:
    head = stream.read(AUDIO_HEAD_BYTES)
    if not head:
        raise unreadable_audio(name, "the file is empty")
    if not stream.seekable():
        stream = io.BytesIO(head + stream.read())
    audio_format = identify_audio(stream)
    if audio_format is None:
        raise unreadable_audio(
            name,
            "expected WAV, FLAC, Ogg, Opus, MP3, AIFF, AU, CAF, M4A, AAC, WMA or a video, "
            "got something else",
        )
    return stream, audio_format
