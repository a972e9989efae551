"""What the libraries that decode audio have in common."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from vqkit.errors import MediaError

__all__ = [
    "METADATA_KEYS",
    "AudioDecoder",
    "AudioInfo",
    "ChunkQueue",
    "TrackError",
    "UnsupportedEncodingError",
    "Values",
    "unreadable_audio",
]

METADATA_KEYS = (
    "title",
    "artist",
    "album",
    "comment",
    "date",
    "genre",
    "copyright",
    "software",
    "license",
    "tracknumber",
)
"""What is read and written of a file's metadata, by libsndfile's names."""

Values = npt.NDArray[np.float32]
"""Decoded samples [samples, channels], full scale at 1."""


@dataclass(frozen=True)
class AudioInfo:
    """What an audio file says of itself.

    Attributes:
        format: the container: ``"wav"``, ``"mp4"`` ...
        encoding: as the library that reads it calls it: ``"PCM_24"``, ``"VORBIS"``, ``"aac"`` ...
        sample_rate_hz: sample rate.
        channels: 1 or more.
        num_samples: per channel; None where the file does not say it to the sample.
        seconds: length; None where the file does not say it.
        num_streams: audio tracks in the file.
        metadata: by ``METADATA_KEYS``, as far as there are any.
    """

    format: str
    encoding: str
    sample_rate_hz: int
    channels: int
    num_samples: int | None
    seconds: float | None
    num_streams: int = 1
    metadata: Mapping[str, str] = field(default_factory=dict)


@runtime_checkable
class AudioDecoder(Protocol):
    """One opened file.

    Attributes:
        info: what is known before anything is decoded.
        is_lossy: the encoding is, so that values may lie beyond full scale.
    """

    info: AudioInfo
    is_lossy: bool

    def read(self, num_samples: int) -> Values:
        """The next samples; fewer at the end and none behind it."""
        ...

    def seek(self, sample: int) -> bool:
        """Go there exactly and at once; False, and no move, where that cannot be done."""
        ...

    def close(self) -> None:
        """Give back what was opened here; the stream stays open."""
        ...


class ChunkQueue:
    """Samples in the pieces that are asked for, out of pieces as a decoder makes them.

    Args:
        chunks: the decoder's pieces [samples, channels].
        channels: number of channels.
    """

    def __init__(self, chunks: Iterator[Values], channels: int):
        self._chunks = chunks
        self._pending = np.zeros((0, channels), np.float32)

    def read(self, num_samples: int) -> Values:
        """The next samples; fewer at the end and none behind it."""
        parts, missing = [self._pending[:0]], num_samples
        while missing > 0:
            if not len(self._pending):
                chunk = next(self._chunks, None)
                if chunk is None:
                    break
                self._pending = chunk
            parts.append(self._pending[:missing])
            self._pending = self._pending[missing:]
            missing -= len(parts[-1])
        return np.concatenate(parts)


class TrackError(Exception):
    """There is no such audio track, or it is unusable; the text says why, for users."""


class UnsupportedEncodingError(Exception):
    """This library does not know the encoding; another one may."""


def unreadable_audio(name: str, reason: str) -> MediaError:
    """The one form of all failures to read audio."""
    return MediaError(f"Cannot read the audio of {name}: {reason}.")
