"""A PNG decoded strip by strip of its rows, in memory that does not grow with its height."""

import io
import zlib
from io import BufferedIOBase

import numpy as np
import numpy.typing as npt
from PIL import ImageFile

from vqkit.media import png
from vqkit.media.formats import IMAGE_FORMATS
from vqkit.media.pixels import Samples, samples_of

__all__ = ["PngStrips"]

# What decides which colour a number stands for.
_COLOUR_CHUNKS = (b"PLTE", b"tRNS", b"iCCP")
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


class PngStrips:
    """The rows of a PNG that is not interlaced, from the first to the last.

    Of 8 bits, each strip becomes a PNG of its own, whose first row is the last one of the strip
    before: Pillow then undoes the row filters, which refer to the row above, and the colours are
    those that it gives of the whole.

    Args:
        stream: the file; nobody else moves in it.
        header: its header.
        name: what a message calls it.

    Raises:
        ValueError: the file is damaged.
    """

    def __init__(self, stream: BufferedIOBase, header: png.PngHeader, name: str):
        assert not header.interlaced
        self._header, self._name = header, name
        self._chunks = [c for c in png.chunks_before_pixels(stream) if c[0] in _COLOUR_CHUNKS]
        self._inflated = png.inflated(stream)
        self._row_bytes = (header.width * header.bit_depth * header.num_bands + 7) // 8
        self._waiting = bytearray()
        self._above: npt.NDArray[np.uint8] | None = None

    def read(self, num_rows: int) -> Samples:
        """The next rows, of which there are so many.

        Raises:
            ValueError: rows are missing, a checksum or a filter is wrong.
        """
        size = num_rows * (1 + self._row_bytes)
        while len(self._waiting) < size:
            piece = next(self._inflated, None)
            if piece is None:
                raise ValueError("the PNG ends before its last row")
            self._waiting += piece
        stored = np.frombuffer(bytes(self._waiting[:size]), np.uint8).reshape(num_rows, -1)
        del self._waiting[:size]
        return self._by_pillow(stored) if self._header.bit_depth == 8 else self._by_hand(stored)

    def _by_pillow(self, stored: npt.NDArray[np.uint8]) -> Samples:
        has_above = self._above is not None
        if self._above is not None:
            stored = np.concatenate([self._above[None], stored])
        image = self._opened(stored)
        image.load()
        last_row = np.asarray(image)[-1].reshape(-1)
        self._above = np.concatenate([np.zeros(1, np.uint8), last_row])
        samples = samples_of(image, self._name)
        return Samples(samples.values[int(has_above) :], samples.peak)

    def _by_hand(self, stored: npt.NDArray[np.uint8]) -> Samples:
        """Of 1, 2, 4 and 16 bits: Pillow's picture does not tell the bytes of the last row."""
        header = self._header
        pixel_bytes = max(1, header.bit_depth * header.num_bands // 8)
        rows = stored[:, 1:].reshape(len(stored), -1, pixel_bytes)
        rows = png.unfiltered(stored[:, 0], rows, self._above)
        self._above = rows[-1]
        if header.bit_depth == 16:
            shape = (len(rows), header.width, header.num_bands)
            samples = np.ascontiguousarray(rows).view(">u2").reshape(shape).astype(np.uint16)
            return Samples(
                png.with_colour_key(samples, dict(self._chunks).get(b"tRNS", b"")), 65535
            )
        plain = np.concatenate([np.zeros((len(rows), 1), np.uint8), rows[:, :, 0]], axis=1)
        image = self._opened(plain)
        if header.colour_type == 0 and header.bit_depth in (2, 4):
            png.scale_colour_key(image, header.bit_depth)
        image.load()
        return samples_of(image, self._name)

    def _opened(self, stored: npt.NDArray[np.uint8]) -> ImageFile.ImageFile:
        """A PNG of these rows, each behind its filter, without any effort to make it small."""
        header = self._header
        fields = (header.bit_depth, header.colour_type, 0, 0, 0)
        size = header.width.to_bytes(4, "big") + len(stored).to_bytes(4, "big")
        pixels = zlib.compress(stored.tobytes(), 0)
        file = b"".join(
            [
                _SIGNATURE,
                png.chunk_of(b"IHDR", size + bytes(fields)),
                *(png.chunk_of(kind, data) for kind, data in self._chunks),
                png.chunk_of(b"IDAT", pixels),
                png.chunk_of(b"IEND", b""),
            ]
        )
        return IMAGE_FORMATS["PNG"].open(io.BytesIO(file))
