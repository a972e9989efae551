"""Audio by FFmpeg (PyAV): MP4, WebM, AAC, sound of videos, and what libsndfile does not know."""

import io
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from vqkit.media.audio_decoder import AudioInfo, ChunkQueue, TrackError, Values
from vqkit.media.audio_formats import AudioFormat
from vqkit.media.pyav import load_av, metadata_of

__all__ = ["PyAVDecoder"]

_LOSSLESS = ("pcm_", "flac", "alac", "wavpack", "tta", "ape")


class PyAVDecoder:
    """One audio track of a file that FFmpeg has opened.

    FFmpeg leaves out what the file declares as the encoder's run-up (edit list of MP4, CodecDelay
    of WebM, pre-skip of Opus, LAME header of MP3), as players do.

    Args:
        stream: the file, seekable.
        audio_format: what it is; FFmpeg is told and does not guess.
        audio_stream: which of the audio tracks, from 0.

    Raises:
        TrackError: the file has no such track, or one without rate or channels.
    """

    def __init__(self, stream: io.BufferedIOBase, audio_format: AudioFormat, audio_stream: int):
        stream.seek(0)
        self._container: Any = load_av().open(
            stream, format=audio_format.demuxer, metadata_errors="replace"
        )
        try:
            self._begin(audio_format, audio_stream)
        except BaseException:
            self.close()
            raise

    def _begin(self, audio_format: AudioFormat, audio_stream: int) -> None:
        tracks = self._container.streams.audio
        if not tracks:
            raise TrackError("it has no sound")
        if audio_stream >= len(tracks):
            raise TrackError(f"expected audio_stream below {len(tracks)}, got {audio_stream}")
        track = tracks[audio_stream]
        frames = self._decoded(track)
        self._sample_rate_hz, self._channels = track.codec_context.sample_rate, track.channels
        # The header may be wrong about both (AAC with SBR says half the rate): the first frame is
        # not. Without any frame the header must do.
        self._has_begun = False
        first = next(frames, None)
        if self._sample_rate_hz <= 0 or self._channels <= 0:
            raise TrackError("it says neither sample rate nor channels")
        self._has_begun = True
        begun = () if first is None else (first,)
        self._queue = ChunkQueue(itertools.chain(begun, frames), self._channels)
        self.is_lossy = not track.codec_context.name.startswith(_LOSSLESS)
        seconds = _seconds(track.duration, track.time_base)
        if seconds is None:
            seconds = _seconds(self._container.duration, 1e-6)
        self.info = AudioInfo(
            format=audio_format.name,
            encoding=track.codec_context.name,
            sample_rate_hz=self._sample_rate_hz,
            channels=self._channels,
            num_samples=None,
            seconds=seconds,
            num_streams=len(tracks),
            metadata=metadata_of({**self._container.metadata, **track.metadata}),
        )

    def read(self, num_samples: int) -> Values:
        """See :class:`AudioDecoder`."""
        return self._queue.read(num_samples)

    def seek(self, sample: int) -> bool:
        """Never: times in these files are too coarse, and lossy decoders need a run-up."""
        return False

    def close(self) -> None:
        """See :class:`AudioDecoder`."""
        self._container.close()

    def _decoded(self, track: Any) -> Iterator[Values]:
        for packet in self._container.demux(track):
            if packet.is_corrupt:
                raise TrackError("it is damaged: FFmpeg found a corrupt packet")
            for frame in packet.decode():
                if frame.samples:
                    yield self._values(frame)

    def _values(self, frame: Any) -> Values:
        found = (frame.sample_rate, frame.layout.nb_channels)
        if not self._has_begun:
            self._sample_rate_hz, self._channels = found
        elif found != (self._sample_rate_hz, self._channels):
            raise TrackError(
                f"it changes midway from {self._sample_rate_hz} Hz and {self._channels} channels "
                f"to {found[0]} Hz and {found[1]}"
            )
        samples = frame.to_ndarray()
        samples = samples.T if frame.format.is_planar else samples.reshape(-1, found[1])
        return _to_float(samples)


def _to_float(samples: Any) -> Values:
    """Full scale to 1: integers are divided by 2^(bits - 1), unsigned bytes are centred at 128."""
    if samples.dtype.kind == "f":
        return np.asarray(samples, np.float32)
    if samples.dtype == np.uint8:
        return ((samples.astype(np.float32) - 128) / 128).astype(np.float32)
    # By way of float64, as 32 bits do not fit into float32 unrounded.
    scaled: Values = (samples / 2.0 ** (8 * samples.dtype.itemsize - 1)).astype(np.float32)
    return scaled


def _seconds(duration: int | None, time_base: Any) -> float | None:
    return None if duration is None else float(duration * time_base)
