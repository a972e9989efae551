"""An image read in strips of rows, without ever being in memory as floats."""

import io
from collections.abc import Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vqkit.errors import ConfigError, MediaError
from vqkit.media import png
from vqkit.media.formats import ImageFormat
from vqkit.media.pixels import (
    Alpha,
    Samples,
    check_reading_options,
    tensor_of,
    to_levels,
    unreadable,
)
from vqkit.media.png_strips import PngStrips
from vqkit.media.reading import MAX_PIXELS, decode, identified, orientation_of_image
from vqkit.media.sources import MediaSource, name_of

__all__ = ["ImageReader"]

_DTYPES = (torch.float32, torch.uint8)
# Rows are decoded by so many pixels at least: each strip has costs of its own.
_STRIP_PIXELS = 1 << 20


class ImageReader:
    """An image, rows ``[channels, rows, width]`` by rows.

    For pictures that are too large for memory as floats: what :meth:`rows` gives is what
    ``read_image`` gives at that place. A PNG that is neither interlaced nor turned by its EXIF
    orientation is decoded as far as it is asked for, in memory of a few strips; every other file
    is decoded at once and kept as it is stored, 1 byte for a sample of 8 bits. Rows are read from
    top to bottom: those of the last strip are at hand for the next, which may overlap it, and going
    back before them begins anew.

    Args:
        source: path, bytes or binary stream.
        channels: 1 for grey, 3 for colour.
        alpha: what stands behind transparent pixels.
        dtype: ``torch.float32``, values in [-1, 1]; or ``torch.uint8``, the nearest levels.
        max_pixels: refuse an image of more pixels than this, before anything is decoded.

    Raises:
        ConfigError: an argument is unknown.
        MediaError: the file cannot be read; the message names it and says why.

    Example:
        >>> with ImageReader(b"P2 2 3 255 0 255 9 9 0 0", channels=1) as reader:
        ...     print(reader.height, reader.width, reader.rows(0, 2).shape)
        3 2 torch.Size([1, 2, 2])
    """

    def __init__(
        self,
        source: MediaSource,
        *,
        channels: int = 3,
        alpha: Alpha = "white",
        dtype: torch.dtype = torch.float32,
        max_pixels: int = MAX_PIXELS,
    ):
        check_reading_options(channels, alpha)
        if dtype not in _DTYPES:
            raise ConfigError(f"dtype of an image: expected torch.float32 or uint8, got {dtype}.")
        self._name = name_of(source)
        self._channels, self._alpha, self._dtype = channels, alpha, dtype
        self._strips: PngStrips | None = None
        self._kept: npt.NDArray[Any]
        self._start = 0
        self._is_closed = False
        with ExitStack() as stack:
            self._stream, image_format, _ = stack.enter_context(identified(source))
            try:
                self._begin(image_format, max_pixels)
            except MediaError:
                raise
            except Exception as error:
                raise self._damaged(error) from error
            self._opened = stack.pop_all()

    @property
    def channels(self) -> int:
        """Channels of the rows that are read: those asked for."""
        return self._channels

    @property
    def height(self) -> int:
        """Rows, the way the image is to be seen."""
        return self._height

    @property
    def width(self) -> int:
        """Columns, the way the image is to be seen."""
        return self._width

    def rows(self, start: int, stop: int) -> Tensor:
        """Rows ``start`` to ``stop`` of the image.

        Returns:
            ``[channels, stop - start, width]``, float32 in [-1, 1] or uint8.

        Raises:
            ConfigError: they do not lie within the image, or the reader is closed.
            MediaError: the file is damaged, or ends before its last row.
        """
        if self._is_closed:
            raise ConfigError(f"reading {self._name}: the reader is closed. Open another.")
        if not 0 <= start <= stop <= self._height:
            raise ConfigError(
                f"rows of {self._name}: expected 0 <= start <= stop <= {self._height}, got {start} "
                f"and {stop}."
            )
        if start == stop:
            return torch.zeros(self._channels, 0, self._width, dtype=self._dtype)
        try:
            values = self._decoded(start, stop)
        except MediaError:
            raise
        # Decoders meet hostile bytes with exceptions of every kind; to the caller all say the same.
        except Exception as error:
            raise self._damaged(error) from error
        image = tensor_of(Samples(values, self._peak), self._channels, self._alpha, self._name)
        return to_levels(image) if self._dtype is torch.uint8 else image

    def strips(self, num_rows: int) -> Iterator[Tensor]:
        """The whole image, in strips of so many rows and a lower one at the end.

        Raises:
            ConfigError: ``num_rows`` is not positive.
            MediaError: as for :meth:`rows`.
        """
        if num_rows < 1:
            raise ConfigError(f"num_rows of a strip: expected 1 or more, got {num_rows}.")
        for start in range(0, self._height, num_rows):
            yield self.rows(start, min(start + num_rows, self._height))

    def close(self) -> None:
        """Close the file."""
        if not self._is_closed:
            self._is_closed = True
            self._strips = None  # and with it a generator that stands within the file
            self._opened.close()

    def __enter__(self) -> "ImageReader":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _begin(self, image_format: ImageFormat, max_pixels: int) -> None:
        if image_format.name == "PNG":
            image = image_format.open(self._stream)
            header = png.read_header(self._stream)
            if not header.interlaced and orientation_of_image(image, self._stream) == 1:
                if header.width * header.height > max_pixels:
                    raise unreadable(
                        self._name,
                        f"{header.width} x {header.height} pixels are more than the limit of "
                        f"{max_pixels}. Raise max_pixels",
                    )
                self._header = header
                self._height, self._width = header.height, header.width
                self._restart()
                return
            self._stream.seek(0)
        stream = io.BytesIO(self._stream.read())
        samples, orientation = decode(stream, image_format, self._name, max_pixels)
        self._peak = samples.peak
        self._kept = _upright(samples.values, orientation)
        self._height, self._width = self._kept.shape[:2]

    def _restart(self) -> None:
        self._strips = PngStrips(self._stream, self._header, self._name)
        self._start, self._stop = 0, 0
        self._kept = np.zeros((0, self._width, 1), np.uint8)

    def _decoded(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Samples of these rows, as they are stored."""
        if self._strips is None:
            return self._kept[start:stop]
        if start < self._start:
            self._restart()
        at_once = max(1, _STRIP_PIXELS // self._width)
        parts = [self._kept[max(0, start - self._start) :]]
        while self._stop < stop:
            num_rows = min(at_once, self._height - self._stop)
            samples = self._strips.read(num_rows)
            self._peak = samples.peak
            skipped = max(0, start - self._stop)
            self._stop += num_rows
            if skipped < num_rows:
                parts.append(samples.values[skipped:])
        self._kept = np.concatenate([part for part in parts if len(part)])
        self._start = self._stop - len(self._kept)
        return self._kept[start - self._start : stop - self._start]

    def _damaged(self, error: Exception) -> MediaError:
        return unreadable(
            self._name, f"it is damaged or cut short ({str(error) or type(error).__name__})"
        )


def _upright(values: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Rows and columns turned as EXIF asks for: another view of the same memory."""
    if orientation >= 5:
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    return values[:, ::-1] if orientation in (2, 3, 6, 7) else values
