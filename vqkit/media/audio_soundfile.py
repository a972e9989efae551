"""Audio by libsndfile: WAV, FLAC, Ogg, MP3, AIFF and their relatives."""

import io
import os
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from vqkit.errors import MissingExtraError
from vqkit.media.audio_decoder import AudioInfo, ChunkQueue, UnsupportedEncodingError, Values
from vqkit.media.audio_formats import AudioFormat

__all__ = ["SoundFileDecoder", "load_soundfile"]

# Their decoders give the same samples after a jump as without; those of lossy formats do not:
# libsndfile 1.2.2 misses its place in Vorbis by thousands of samples.
_EXACT_SEEKS = ("PCM_", "FLOAT", "DOUBLE", "ALAC_", "ULAW", "ALAW")
# Values beyond full scale are the encoder's doing and nobody's mistake.
_LOSSY = ("VORBIS", "OPUS", "MPEG_")
_STEP_SAMPLES = 1 << 15
# What libsndfile gives for a length that it does not know: FLAC out of a pipe.
_NO_LENGTH = 1 << 62


def load_soundfile() -> ModuleType:
    """The package soundfile.

    Raises:
        MissingExtraError: it is not installed, or finds no libsndfile.
    """
    try:
        import soundfile  # type: ignore[import-untyped]
    except (ImportError, OSError) as error:
        raise MissingExtraError(
            "Audio files: expected the package soundfile with libsndfile, which is not here "
            f"({error}). Run: pip install soundfile"
        ) from error
    module: ModuleType = soundfile
    return module


class SoundFileDecoder:
    """A file that libsndfile has opened.

    Args:
        stream: the file, seekable.
        audio_format: what it is.

    Raises:
        UnsupportedEncodingError: libsndfile does not know what is inside.
    """

    def __init__(self, stream: io.BufferedIOBase, audio_format: AudioFormat):
        soundfile = load_soundfile()
        stream.seek(0)
        try:
            self._file: Any = soundfile.SoundFile(_handle(stream), closefd=False)
        except soundfile.LibsndfileError as error:
            raise UnsupportedEncodingError(str(error.error_string).strip(" .")) from error
        encoding, num_samples = self._file.subtype, self._file.frames
        counts_wrongly = (audio_format.name, encoding) == ("wav", "MPEG_LAYER_III")
        if counts_wrongly or num_samples >= _NO_LENGTH:
            self.close()
            raise UnsupportedEncodingError(f"libsndfile does not know the length of {encoding}")
        self.is_lossy = encoding.startswith(_LOSSY)
        self._seeks_exactly = encoding.startswith(_EXACT_SEEKS)
        # soundfile seeks to where it is after every read, and MP3 goes on with other roundings:
        # only reads of one size give the same samples whatever blocks are asked for.
        self._queue: ChunkQueue | None = None
        if not self._seeks_exactly:
            self._queue = ChunkQueue(self._steps(), self._file.channels)
        self.info = AudioInfo(
            format=audio_format.name,
            encoding=encoding,
            sample_rate_hz=self._file.samplerate,
            channels=self._file.channels,
            num_samples=num_samples,
            seconds=num_samples / self._file.samplerate,
            # MP3 gives empty texts for what is not there.
            metadata={key: text for key, text in self._file.copy_metadata().items() if text},
        )

    def read(self, num_samples: int) -> Values:
        """See :class:`AudioDecoder`."""
        return self._read(num_samples) if self._queue is None else self._queue.read(num_samples)

    def seek(self, sample: int) -> bool:
        """See :class:`AudioDecoder`."""
        if self._seeks_exactly:
            self._file.seek(sample)
        return self._seeks_exactly

    def _read(self, num_samples: int) -> Values:
        values: Values = self._file.read(num_samples, dtype="float32", always_2d=True)
        return values

    def _steps(self) -> Iterator[Values]:
        while len(values := self._read(_STEP_SAMPLES)):
            yield values

    def close(self) -> None:
        """See :class:`AudioDecoder`."""
        self._file.close()


class _Memory:
    """A file in memory as libsndfile wants it: a seek that goes nowhere is no exception.

    One that is raised in its callbacks would be printed and not reach us.
    """

    def __init__(self, stream: io.BytesIO):
        self._stream = stream
        self.readinto = stream.readinto
        self.tell = stream.tell

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move, or stay where that is before the first byte."""
        try:
            return self._stream.seek(offset, whence)
        except (ValueError, OverflowError):
            return self.tell()


def _handle(stream: io.BufferedIOBase) -> int | _Memory:
    """A descriptor where there is one: it is quicker, and its name misleads nobody.

    soundfile takes a file called ``x.raw`` for one without a header, whatever is in it.
    """
    if isinstance(stream, io.BytesIO):
        return _Memory(stream)
    descriptor = stream.fileno()
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
