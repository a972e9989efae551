"""A PNG of 8 bits written strip by strip (ISO/IEC 15948)."""

import io
import zlib

import numpy as np
import numpy.typing as npt

from vqkit.media.png import chunk_of

__all__ = ["PngEncoder"]

_COLOUR_TYPES = {1: 0, 3: 2}
_CHUNK_BYTES = 1 << 16
_AT_ONCE_BYTES = 1 << 22
_LEVEL = 6


class PngEncoder:
    """A file in the making.

    Args:
        file: where it goes.
        height: rows.
        width: columns.
        channels: 1 for grey, 3 for RGB.
    """

    def __init__(self, file: io.BufferedIOBase, height: int, width: int, channels: int):
        self._file = file
        size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
        fields = bytes((8, _COLOUR_TYPES[channels], 0, 0, 0))
        file.write(b"\x89PNG\r\n\x1a\n" + chunk_of(b"IHDR", size + fields))
        self._deflate = zlib.compressobj(_LEVEL)
        self._waiting = bytearray()
        self._channels = channels
        self._above = np.zeros(width * channels, np.uint8)

    def write(self, rows: npt.NDArray[np.uint8]) -> None:
        """Take the next rows [rows, width * channels]."""
        at_once = max(1, _AT_ONCE_BYTES // max(1, rows.shape[1]))
        for start in range(0, len(rows), at_once):
            part = rows[start : start + at_once]
            self._put(
                self._deflate.compress(_filtered(part, self._above, self._channels).tobytes())
            )
            self._above = part[-1].copy()

    def close(self) -> None:
        """Write what is held back, and the end."""
        self._put(self._deflate.flush(), is_last=True)
        self._file.write(chunk_of(b"IEND", b""))

    def _put(self, data: bytes, *, is_last: bool = False) -> None:
        self._waiting += data
        while len(self._waiting) >= _CHUNK_BYTES or (is_last and self._waiting):
            self._file.write(chunk_of(b"IDAT", bytes(self._waiting[:_CHUNK_BYTES])))
            del self._waiting[:_CHUNK_BYTES]


def _filtered(
    rows: npt.NDArray[np.uint8], above: npt.NDArray[np.uint8], pixel_bytes: int
) -> npt.NDArray[np.uint8]:
    """Each row behind the filter (9.2) with the least sum of differences, as libpng chooses it."""
    here = rows.astype(np.int16)
    up = np.concatenate([above[None], rows[:-1]]).astype(np.int16)
    left, corner = np.zeros_like(here), np.zeros_like(here)
    left[:, pixel_bytes:], corner[:, pixel_bytes:] = here[:, :-pixel_bytes], up[:, :-pixel_bytes]
    to_left, to_up = np.abs(up - corner), np.abs(left - corner)
    to_corner = np.abs(left + up - 2 * corner)
    nearest = np.where(to_up <= to_corner, up, corner)
    nearest = np.where((to_left <= to_up) & (to_left <= to_corner), left, nearest)
    best = np.zeros((len(rows), 1 + rows.shape[1]), np.uint8)
    least = np.full(len(rows), np.iinfo(np.int64).max)
    for kind, predicted in enumerate((np.zeros_like(here), left, up, (left + up) >> 1, nearest)):
        residual = ((here - predicted) & 255).astype(np.uint8)
        # Differences are small around 0 and around 256 alike.
        cost = np.minimum(residual, 256 - residual.astype(np.int16)).sum(1, dtype=np.int64)
        is_better = cost < least
        least[is_better] = cost[is_better]
        best[is_better, 0] = kind
        best[is_better, 1:] = residual[is_better]
    return best
