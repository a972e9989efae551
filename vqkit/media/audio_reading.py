"""Audio files -> tensors in [-1, 1]."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from vqkit.errors import ConfigError, MediaError
from vqkit.media.audio_decoder import AudioInfo, unreadable_audio
from vqkit.media.audio_formats import AUDIO_HEAD_BYTES, identify_audio
from vqkit.media.audio_reader import AudioReader
from vqkit.media.sources import MediaSource, name_of, opened
from vqkit.shapes import Float

__all__ = ["MAX_AUDIO_VALUES", "Audio", "audio_info", "is_audio", "read_audio"]

MAX_AUDIO_VALUES = 1 << 30
"""Values (samples times channels) of the longest sound that is read whole unless the caller says
otherwise: 4 GiB, 6 hours of one channel at 48 kHz."""

_BLOCK_VALUES = 1 << 20


@dataclass(frozen=True)
class Audio:
    """Sound with its sample rate.

    Attributes:
        samples: float32 [channels, samples] in [-1, 1].
        sample_rate_hz: sample rate.
        metadata: title, artist, album, comment, date, genre ... as far as there are any.
        num_streams: audio tracks in the file, of which this is one.
    """

    samples: Tensor
    sample_rate_hz: int
    metadata: Mapping[str, str] = field(default_factory=dict)
    num_streams: int = 1


def read_audio(
    source: MediaSource,
    *,
    start_seconds: float = 0.0,
    seconds: float | None = None,
    audio_stream: int = 0,
    max_values: int = MAX_AUDIO_VALUES,
) -> Audio:
    """Read an audio file, or the sound of a video, whole or a part of it.

    WAV, FLAC, Ogg (Vorbis, Opus), MP3, AIFF, AU, CAF and W64 by libsndfile; MP4 and M4A, WebM and
    Matroska, AAC, AVI, WMA, MPEG-TS, FLV, and what libsndfile does not know, by FFmpeg (PyAV).
    Told apart by their bytes. For files that are too long for memory: :class:`AudioReader`.

    - Values: integers of ``b`` bits are divided by ``2^(b - 1)``, so that 24 bits are kept exactly
      and 32 bits are rounded to float32. Values of floating point files and of lossy decoders
      beyond [-1, 1] are clipped and counted in a log line; NaN and infinity are refused.
    - Rate and channels are those of the file: nothing is resampled or mixed.
    - A file without samples gives samples of shape [channels, 0].
    - A file that is cut short is an error wherever the format lets it be known: against the sizes
      of WAV, AIFF, CAF, AU, W64, MP4, Matroska, AVI and WMA, the sample counts of FLAC and of MP3
      with a header, the last page of Ogg. MP3 and AAC without a header, MPEG-TS and FLV that were
      cut cannot be told from shorter ones.
    - Run-up and padding of lossy encoders are left out where the file declares them; the end of AAC
      may be followed by up to one frame of padding.

    Args:
        source: path, bytes or binary stream.
        start_seconds: where to begin, rounded to the nearest sample.
        seconds: how much to read; without it, up to the end. Less comes only at the end.
        audio_stream: which audio track of a file that has several, from 0.
        max_values: refuse to read more values (samples times channels) than this.

    Raises:
        ConfigError: an argument is out of its range, or the start lies behind the end.
        MediaError: the file cannot be read; the message names it and says why.
        MissingExtraError: the package for its format is not installed.

    Example:
        >>> file = io.BytesIO()
        >>> from vqkit.media import write_audio
        >>> write_audio(torch.zeros(2, 1000), file, 16000)
        >>> audio = read_audio(file.getvalue(), start_seconds=0.05)
        >>> audio.samples.shape, audio.sample_rate_hz
        (torch.Size([2, 200]), 16000)
    """
    if not 0 <= start_seconds < float("inf"):
        raise ConfigError(f"start_seconds: expected 0 or more, got {start_seconds}.")
    if seconds is not None and not 0 <= seconds < float("inf"):
        raise ConfigError(f"seconds: expected 0 or more, got {seconds}.")
    with AudioReader(source, audio_stream=audio_stream) as reader:
        if start_seconds > 0:
            reader.seek(round(start_seconds * reader.sample_rate_hz))
        num_missing = None if seconds is None else round(seconds * reader.sample_rate_hz)
        samples = _joined(reader, num_missing, max_values, name_of(source))
        return Audio(samples, reader.sample_rate_hz, reader.metadata, reader.info.num_streams)


def audio_info(source: MediaSource, *, audio_stream: int = 0) -> AudioInfo:
    """What an audio file, or a track of a video, says of itself, without decoding it.

    Raises:
        MediaError: the file cannot be read.

    Example:
        >>> file = io.BytesIO()
        >>> from vqkit.media import write_audio
        >>> write_audio(torch.zeros(1, 800), file, 8000, bit_depth=24)
        >>> info = audio_info(file.getvalue())
        >>> info.encoding, info.channels, info.seconds
        ('PCM_24', 1, 0.1)
    """
    with AudioReader(source, audio_stream=audio_stream) as reader:
        return reader.info


def is_audio(source: MediaSource) -> bool:
    """Whether the file begins like one whose sound is read; what cannot be opened is none.

    A video counts, whether or not it has sound: that is seen when it is read.

    Example:
        >>> is_audio(b"fLaC"), is_audio(b"hello")
        (True, False)
    """
    try:
        with opened(source) as stream:
            if not stream.seekable():
                stream = io.BytesIO(stream.read(AUDIO_HEAD_BYTES))
            return identify_audio(stream) is not None
    except OSError:
        return False


def _joined(
    reader: AudioReader, num_missing: int | None, max_values: int, name: str
) -> Float[Tensor, "channels samples"]:
    """So many samples of a reader, or all; refused as soon as they are too many."""
    block_samples = max(1, _BLOCK_VALUES // reader.channels)
    max_samples = max_values // reader.channels
    if reader.num_samples is not None:
        num_left = reader.num_samples - reader.position
        num_missing = num_left if num_missing is None else min(num_left, num_missing)
        if num_missing > max_samples:
            raise _too_long(name, max_values)
    blocks, num_read = [torch.zeros(reader.channels, 0)], 0
    while num_missing is None or num_read < num_missing:
        wanted = (
            block_samples if num_missing is None else min(block_samples, num_missing - num_read)
        )
        block = reader.read(wanted)
        if not block.shape[1]:
            break
        num_read += block.shape[1]
        if num_read > max_samples:
            raise _too_long(name, max_values)
        blocks.append(block)
    return torch.cat(blocks, dim=1)


def _too_long(name: str, max_values: int) -> MediaError:
    return unreadable_audio(
        name,
        f"it has more than {max_values} values (samples times channels). Raise max_values, read a "
        "part of it, or read it in blocks with AudioReader",
    )
