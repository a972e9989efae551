"""Audio by libsndfile: WAV, FLAC, Ogg, MP3, AIFF and their relatives."""

import io
import os
from types import ModuleType
from typing import Any

from vqkit.errors import MissingExtraError
from vqkit.media.audio_decoder import AudioInfo, UnsupportedEncodingError, Values
from vqkit.media.audio_formats import AudioFormat

__all__ = ["SoundFileDecoder", "load_soundfile"]

# Their decoders give the same samples after a jump as without; those of lossy formats do not:
# libsndfile 1.2.2 misses its place in Vorbis by thousands of samples.
_EXACT_SEEKS = ("PCM_", "FLOAT", "DOUBLE", "ALAC_", "ULAW", "ALAW")
# Values beyond full scale are the encoder's doing and nobody's mistake.
_LOSSY = ("VORBIS", "OPUS", "MPEG_")
# What libsndfile gives for a length that it does not know, or believes from a hostile header.
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
        encoding = self._file.subtype
        num_samples = self._file.frames if self._file.frames < _NO_LENGTH else None
        if (audio_format.name, encoding) == ("wav", "MPEG_LAYER_III"):
            self.close()
            raise UnsupportedEncodingError("libsndfile takes its length for longer than it is")
        if num_samples is None:
            self.close()
            raise UnsupportedEncodingError("libsndfile cannot read FLAC of unknown length")
        self.is_lossy = encoding.startswith(_LOSSY)
        self._seeks_exactly = encoding.startswith(_EXACT_SEEKS)
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
        values: Values = self._file.read(num_samples, dtype="float32", always_2d=True)
        return values

    def seek(self, sample: int) -> bool:
        """See :class:`AudioDecoder`."""
        if self._seeks_exactly:
            self._file.seek(sample)
        return self._seeks_exactly

    def close(self) -> None:
        """See :class:`AudioDecoder`."""
        self._file.close()


def _handle(stream: io.BufferedIOBase) -> int | io.BufferedIOBase:
    """A descriptor where there is one: it is quicker, and its name misleads nobody.

    soundfile takes a file called ``x.raw`` for one without a header, whatever is in it.
    """
    if isinstance(stream, io.BytesIO):
        return stream
    descriptor = stream.fileno()
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
