"""AAC in MP4 by FFmpeg (PyAV)."""

import io
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from vqkit.media.audio_pyav import load_av

__all__ = ["encode_m4a"]

_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 8: "7.1"}


def encode_m4a(
    samples: npt.NDArray[np.float32],
    sample_rate_hz: int,
    bitrate_bps: int,
    metadata: Mapping[str, str],
) -> bytes:
    """Encode an M4A file; its edit list hides the encoder's run-up.

    Args:
        samples: [channels, samples] in [-1, 1].
        sample_rate_hz: one of AAC's.
        bitrate_bps: bits per second.
        metadata: by the names of ``METADATA_KEYS``.

    Raises:
        ValueError: AAC has no layout for so many channels.
    """
    layout = _LAYOUTS.get(len(samples))
    if layout is None:
        raise ValueError(f"expected {', '.join(map(str, _LAYOUTS))} channels, got {len(samples)}")
    file = io.BytesIO()
    # Times in samples, not in milliseconds as by default.
    options = {"movie_timescale": str(sample_rate_hz)}
    with load_av().open(file, "w", format="ipod", options=options) as container:
        track = container.add_stream("aac", rate=sample_rate_hz, layout=layout)
        track.bit_rate = bitrate_bps
        names = {"tracknumber": "track", "software": "encoder"}
        container.metadata.update({names.get(key, key): text for key, text in metadata.items()})
        for frame in _frames(samples, sample_rate_hz, layout):
            container.mux(track.encode(frame))
        container.mux(track.encode(None))
    return file.getvalue()


def _frames(samples: npt.NDArray[np.float32], sample_rate_hz: int, layout: str) -> Iterator[Any]:
    av = load_av()
    frame_samples = 1024  # what an AAC frame holds (ISO/IEC 14496-3); the last may hold less
    for start in range(0, samples.shape[1], frame_samples):
        part = np.ascontiguousarray(samples[:, start : start + frame_samples])
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=layout)
        frame.sample_rate, frame.pts = sample_rate_hz, start
        frame.time_base = Fraction(1, sample_rate_hz)
        yield frame
