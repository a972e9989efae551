"""The sound of a video that is written: packets copied from a file, or samples encoded."""

import io
import itertools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from vqkit.errors import ConfigError, MediaError
from vqkit.media.audio_formats import identify_audio
from vqkit.media.audio_reader import AudioReader
from vqkit.media.audio_reading import Audio
from vqkit.media.pyav import load_av
from vqkit.media.sources import MediaSource, name_of, opened
from vqkit.media.video_pyav import video_tracks
from vqkit.ops import StreamingResampler

__all__ = [
    "AudioBlocks",
    "AudioTrack",
    "Soundtrack",
    "sound_file",
    "soundtrack_of",
    "track_samples",
]

# What players expect in a container; what is not here is encoded again.
_COPIED = {
    "mp4": ("aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"),
    "mov": ("aac", "mp3", "ac3", "eac3", "alac"),
    "matroska": ("aac", "mp3", "ac3", "eac3", "opus", "flac", "vorbis", "alac"),
    "webm": ("opus", "vorbis"),
}
_ENCODERS = {"mp4": "aac", "mov": "aac", "matroska": "aac", "webm": "libopus"}
_RATES_HZ = {
    "aac": (
        7350,
        8000,
        11025,
        12000,
        16000,
        22050,
        24000,
        32000,
        44100,
        48000,
        64000,
        88200,
        96000,
    ),
    "libopus": (8000, 12000, 16000, 24000, 48000),
}
_SAMPLE_FORMATS = {"aac": "fltp", "libopus": "flt"}
_FRAME_SAMPLES = {"aac": 1024, "libopus": 960}
_CHANNEL_BPS = 80_000
_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 8: "7.1"}
_BLOCK_SAMPLES = 1 << 16
# A file may say anything; a longer silence is none of a film.
_MAX_DELAY_SECONDS = 24 * 3600
# MP4 first: Matroska has no place for the run-up of AAC, and whole milliseconds alone.
_FILES = ("mp4", "matroska")


@dataclass(frozen=True)
class AudioTrack:
    """A sound in a file that a video takes over.

    Attributes:
        source: path or bytes; with a video in it, the sound keeps its place beside that.
        audio_stream: which audio track, from 0.
        start_seconds: where the written video begins in that of the source.
        stop_seconds: where it ends; None takes all that follows.
    """

    source: MediaSource
    audio_stream: int = 0
    start_seconds: float | Fraction = 0
    stop_seconds: float | Fraction | None = None


@dataclass(frozen=True)
class AudioBlocks:
    """A sound that comes while it is written; it begins with the video.

    Attributes:
        blocks: samples [channels, samples] in [-1, 1], of any lengths.
        sample_rate_hz: rate.
    """

    blocks: Iterator[Tensor]
    sample_rate_hz: int


@runtime_checkable
class Soundtrack(Protocol):
    """A sound that is written beside the frames of a video."""

    @property
    def is_over(self) -> bool:
        """Nothing is left to write; known once it has begun."""
        ...

    def begin(self, container: Any) -> None:
        """Add a track to a container of PyAV's, before its first packet."""
        ...

    def write_until(self, seconds: Fraction | None) -> None:
        """Write what is heard up to a time; None writes all that is left."""
        ...

    def close(self) -> None:
        """Give back what was opened."""
        ...


def soundtrack_of(audio: Audio | AudioBlocks | AudioTrack, muxer: str) -> Soundtrack:
    """What writes a sound into a container: a copy where it can hold the encoding.

    Raises:
        ConfigError: the container holds no sound.
        MediaError: the source cannot be read, or has no such track.
    """
    if muxer not in _ENCODERS:
        raise ConfigError(f"audio: {muxer} holds no sound. Write mp4, mkv or webm.")
    if isinstance(audio, Audio):
        audio = AudioBlocks(iter((audio.samples,)), audio.sample_rate_hz)
    if isinstance(audio, AudioBlocks):
        return _EncodedSound(audio.blocks, audio.sample_rate_hz, _ENCODERS[muxer], 0)
    return _sound_in(_reopenable(audio), (muxer,))[0]


def sound_file(audio: AudioTrack) -> bytes | None:
    """A track as a file of its own, which begins where the video does; its packets are copied.

    MP4, or Matroska where only that holds the encoding; what neither holds is encoded as AAC. The
    same bytes at every call.

    Returns:
        The file; None if nothing is heard in the time that is asked for.

    Raises:
        MediaError: the source cannot be read, or has no such track.

    Example:
        >>> from vqkit.media import write_video
        >>> film = io.BytesIO()
        >>> sound = Audio(torch.zeros(1, 48_000), 48_000)
        >>> write_video(torch.zeros(3, 25, 16, 16), film, 25, audio=sound)
        >>> from vqkit.media import audio_info
        >>> audio_info(sound_file(AudioTrack(film.getvalue()))).encoding
        'aac'
    """
    file = io.BytesIO()
    soundtrack, muxer = _sound_in(_reopenable(audio), _FILES)
    with closing(soundtrack):
        try:
            # Without it Matroska files have random numbers in them.
            options = {"fflags": "+bitexact"}
            with load_av().open(file, "w", format=muxer, options=options) as container:
                soundtrack.begin(container)
                if soundtrack.is_over:
                    return None
                soundtrack.write_until(None)
        except (MediaError, MemoryError):
            raise
        # Muxers refuse what they do not like with exceptions of their own.
        except Exception as error:
            reason = str(error).strip(" .") or type(error).__name__
            raise _not_taken_over(audio, reason) from error
    return file.getvalue()


@contextmanager
def track_samples(audio: AudioTrack) -> Iterator[AudioBlocks]:
    """The samples of a track from where the video begins; silence before a sound that is later.

    Raises:
        MediaError: the source cannot be read, or has no such track.
    """
    audio = _reopenable(audio)
    with closing(_CopiedSound(audio)) as copied:
        delay = copied.delay
    reader, blocks, start = _samples_of(audio, delay)
    with reader:
        if start > _MAX_DELAY_SECONDS:
            reason = f"it begins {float(start):,.0f} s after the picture"
            raise _not_taken_over(audio, reason)
        rate = reader.sample_rate_hz
        silence = _silence(reader.channels, round(start * rate))
        yield AudioBlocks(itertools.chain(silence, blocks), rate)


class _CopiedSound:
    """Packets of another file.

    Args:
        audio: where they are.

    Raises:
        MediaError: they cannot be read.
    """

    def __init__(self, audio: AudioTrack):
        self._waiting: Any = None
        with ExitStack() as stack:
            try:
                self._begin(stack, audio)
            except MediaError:
                raise
            # Decoders meet hostile bytes with exceptions of every kind.
            except Exception as error:
                reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
                raise _not_taken_over(audio, reason) from error
            self._opened = stack.pop_all()

    def _begin(self, stack: ExitStack, audio: AudioTrack) -> None:
        stream = stack.enter_context(opened(audio.source))
        if not stream.seekable():
            stream = io.BytesIO(stream.read())
        audio_format = identify_audio(stream)
        if audio_format is None:
            raise _not_taken_over(audio, "it is no file of sounds")
        stream.seek(0)
        self._container = stack.enter_context(
            load_av().open(stream, format=audio_format.demuxer, metadata_errors="replace")
        )
        tracks = self._container.streams.audio
        if audio.audio_stream >= len(tracks):
            raise _not_taken_over(
                audio, f"expected audio_stream below {len(tracks)}, got {audio.audio_stream}"
            )
        self._source = tracks[audio.audio_stream]
        context = self._source.codec_context
        self.encoding = "" if context is None else context.codec.canonical_name
        begin = Fraction(audio.start_seconds)
        origin = self._origin() + begin
        start = self._source.start_time
        self.delay = Fraction(0) if start is None else start * self._source.time_base - origin
        self._shift = round(origin / self._source.time_base)
        self._end: int | None = None
        if audio.stop_seconds is not None:
            self._end = round((Fraction(audio.stop_seconds) - begin) / self._source.time_base)

    def begin(self, container: Any) -> None:
        """See :class:`Soundtrack`."""
        self._target = container
        self._track = container.add_stream_from_template(self._source)
        self._packets = self._shifted()
        self._waiting = next(self._packets, None)

    @property
    def is_over(self) -> bool:
        """See :class:`Soundtrack`."""
        return self._waiting is None

    def write_until(self, seconds: Fraction | None) -> None:
        """See :class:`Soundtrack`."""
        while self._waiting is not None:
            packet = self._waiting
            if seconds is not None and packet.dts * self._source.time_base > seconds:
                return
            packet.stream = self._track
            self._target.mux(packet)
            self._waiting = next(self._packets, None)

    def close(self) -> None:
        """See :class:`Soundtrack`."""
        self._opened.close()

    def _origin(self) -> Fraction:
        """When the video beside it begins."""
        for video in video_tracks(self._container):
            if video.start_time is not None:
                return Fraction(video.start_time * video.time_base)
        return Fraction(0)

    def _shifted(self) -> Iterator[Any]:
        for packet in self._container.demux(self._source):
            if packet.dts is None or packet.pts is None:
                continue
            packet.pts -= self._shift
            packet.dts -= self._shift
            # What is heard before the start, but for the run-up of a decoder in the file itself.
            if self._shift > 0 and packet.pts + (packet.duration or 0) <= 0:
                continue
            if self._end is not None and packet.pts >= self._end:
                return
            yield packet


class _EncodedSound:
    """Samples, encoded while the video is.

    Args:
        blocks: the samples [channels, samples].
        sample_rate_hz: rate.
        encoder: FFmpeg's name of it.
        delay_seconds: when they begin.
        reader: to be closed at the end.
    """

    def __init__(
        self,
        blocks: Iterator[Tensor],
        sample_rate_hz: int,
        encoder: str,
        delay_seconds: Fraction | int,
        reader: AudioReader | None = None,
    ):
        self._encoder, self._reader = encoder, reader
        self._waiting: Tensor | None = None
        first = next(blocks, torch.zeros(1, 0))
        self._channels = first.shape[0]
        if self._channels not in _LAYOUTS:
            raise MediaError(
                f"Cannot encode {self._channels} channels in a video: expected "
                f"{', '.join(map(str, _LAYOUTS))}."
            )
        blocks = itertools.chain((first,), blocks)
        rates = _RATES_HZ[encoder]
        self._rate_hz = sample_rate_hz
        if sample_rate_hz not in rates:
            self._rate_hz = next((rate for rate in rates if rate > sample_rate_hz), rates[-1])
            blocks = _resampled(blocks, sample_rate_hz, self._rate_hz, self._channels)
        self._frames = _regrouped(blocks, _FRAME_SAMPLES[encoder])
        self._position = round(delay_seconds * self._rate_hz)

    def begin(self, container: Any) -> None:
        """See :class:`Soundtrack`."""
        self._target = container
        layout = _LAYOUTS[self._channels]
        self._track = container.add_stream(self._encoder, rate=self._rate_hz, layout=layout)
        self._track.bit_rate = _CHANNEL_BPS * self._channels
        self._waiting = next(self._frames, None)

    @property
    def is_over(self) -> bool:
        """See :class:`Soundtrack`."""
        return self._waiting is None

    def write_until(self, seconds: Fraction | None) -> None:
        """See :class:`Soundtrack`."""
        while self._waiting is not None and (
            seconds is None or self._position <= seconds * self._rate_hz
        ):
            self._write(self._waiting)
            self._waiting = next(self._frames, None)
        if seconds is None:
            self._target.mux(self._track.encode(None))

    def close(self) -> None:
        """See :class:`Soundtrack`."""
        if self._reader is not None:
            self._reader.close()

    def _write(self, samples: Tensor) -> None:
        values = np.ascontiguousarray(samples.to(torch.float32).clamp(-1, 1).numpy())
        sample_format = _SAMPLE_FORMATS[self._encoder]
        if sample_format == "flt":
            values = np.ascontiguousarray(values.T).reshape(1, -1)
        frame = load_av().AudioFrame.from_ndarray(
            values, format=sample_format, layout=_LAYOUTS[self._channels]
        )
        frame.sample_rate, frame.pts = self._rate_hz, self._position
        frame.time_base = Fraction(1, self._rate_hz)
        self._position += samples.shape[1]
        self._target.mux(self._track.encode(frame))


def _reopenable(audio: AudioTrack) -> AudioTrack:
    """The same track, of a source that can be opened more than once."""
    source = audio.source
    if isinstance(source, (bytes, str)) or not hasattr(source, "read"):
        return audio
    return replace(audio, source=source.read())


def _sound_in(audio: AudioTrack, muxers: Sequence[str]) -> tuple[Soundtrack, str]:
    """A copy for the first of some containers that holds it, or what is encoded for the first."""
    copied = _CopiedSound(audio)
    for muxer in muxers:
        if copied.encoding in _COPIED[muxer]:
            return copied, muxer
    copied.close()
    reader, blocks, start = _samples_of(audio, copied.delay)
    encoder = _ENCODERS[muxers[0]]
    return _EncodedSound(blocks, reader.sample_rate_hz, encoder, start, reader), muxers[0]


def _samples_of(
    audio: AudioTrack, delay: Fraction
) -> tuple[AudioReader, Iterator[Tensor], Fraction]:
    """What is heard of a track from the video's start on, and when that begins."""
    with ExitStack() as stack:
        reader = stack.enter_context(AudioReader(audio.source, audio_stream=audio.audio_stream))
        rate, end = reader.sample_rate_hz, reader.num_samples
        skipped = max(0, round(-delay * rate))
        reader.seek(skipped if end is None else min(skipped, end))
        stack.pop_all()
    start = max(Fraction(0), delay)
    blocks: Iterator[Tensor] = reader.blocks(_BLOCK_SAMPLES)
    if audio.stop_seconds is not None:
        length = Fraction(audio.stop_seconds) - Fraction(audio.start_seconds) - start
        blocks = _first(blocks, max(0, round(length * rate)))
    return reader, blocks, start


def _not_taken_over(audio: AudioTrack, reason: str) -> MediaError:
    return MediaError(f"Cannot take over the sound of {name_of(audio.source)}: {reason}.")


def _silence(channels: int, num_samples: int) -> Iterator[Tensor]:
    """At least one piece, though it may have no samples."""
    for start in range(0, max(1, num_samples), _BLOCK_SAMPLES):
        yield torch.zeros(channels, min(_BLOCK_SAMPLES, num_samples - start))


def _first(blocks: Iterator[Tensor], num_samples: int) -> Iterator[Tensor]:
    for block in blocks:
        yield block[:, :num_samples]
        num_samples -= block.shape[1]
        if num_samples <= 0:
            return


def _regrouped(blocks: Iterator[Tensor], num_samples: int) -> Iterator[Tensor]:
    """Pieces of one size, as encoders want them, and a shorter one at the end."""
    rest: Tensor | None = None
    for block in blocks:
        joined = block if rest is None else torch.cat([rest, block], 1)
        whole = joined.shape[1] - joined.shape[1] % num_samples
        yield from joined[:, :whole].split(num_samples, 1) if whole else ()
        rest = joined[:, whole:]
    if rest is not None and rest.shape[1]:
        yield rest


def _resampled(
    blocks: Iterator[Tensor], from_hz: int, to_hz: int, channels: int
) -> Iterator[Tensor]:
    resampler = StreamingResampler(from_hz, to_hz, channels)
    for block in blocks:
        yield resampler.push(block)
    yield resampler.finish()
