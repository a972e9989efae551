"""AAC in MP4 by FFmpeg (PyAV)."""

import io
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vqkit.media.pyav import load_av

__all__ = ["M4AEncoder"]

_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 8: "7.1"}
_FRAME_SAMPLES = 1024  # what an AAC frame holds (ISO/IEC 14496-3); the last may hold less


class M4AEncoder:
    """An M4A file in the making; its edit list hides the encoder's run-up.

    Args:
        file: where it goes; it is sought in.
        channels: number of channels.
        sample_rate_hz: one of AAC's.
        bitrate_bps: bits per second.
        metadata: by the names of ``METADATA_KEYS``.

    Raises:
        ValueError: AAC has no layout for so many channels.
    """

    def __init__(
        self,
        file: io.BufferedIOBase,
        channels: int,
        sample_rate_hz: int,
        bitrate_bps: int,
        metadata: Mapping[str, str],
    ):
        layout = _LAYOUTS.get(channels)
        if layout is None:
            raise ValueError(f"expected {', '.join(map(str, _LAYOUTS))} channels, got {channels}")
        self._layout = layout
        self._rate_hz = sample_rate_hz
        # Times in samples, not in milliseconds as by default.
        options = {"movie_timescale": str(sample_rate_hz)}
        self._container: Any = load_av().open(file, "w", format="ipod", options=options)
        self._track = self._container.add_stream("aac", rate=sample_rate_hz, layout=layout)
        self._track.bit_rate = bitrate_bps
        names = {"tracknumber": "track", "software": "encoder"}
        self._container.metadata.update(
            {names.get(key, key): text for key, text in metadata.items()}
        )
        self._position = 0

    def write(self, block: Tensor) -> None:
        """Take ``[channels, samples]``; whole frames of AAC, but for the last block."""
        samples = block.to(torch.float32).clamp(-1, 1).numpy()
        for start in range(0, samples.shape[1], _FRAME_SAMPLES):
            self._encode(samples[:, start : start + _FRAME_SAMPLES])

    def close(self) -> None:
        """Write what the encoder holds back, and the table of contents."""
        self._container.mux(self._track.encode(None))
        self._container.close()

    def discard(self) -> None:
        """Give up."""
        self._container.close()

    def _encode(self, samples: npt.NDArray[np.float32]) -> None:
        frame = load_av().AudioFrame.from_ndarray(
            np.ascontiguousarray(samples), format="fltp", layout=self._layout
        )
        frame.sample_rate, frame.pts = self._rate_hz, self._position
        frame.time_base = Fraction(1, self._rate_hz)
        self._position += samples.shape[1]
        self._container.mux(self._track.encode(frame))
