"""An image written in strips of rows."""

from contextlib import ExitStack
from types import TracebackType

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vqkit.errors import ConfigError, MediaError, ShapeError
from vqkit.media.pixels import to_levels
from vqkit.media.png_encoder import PngEncoder
from vqkit.media.targets import MediaTarget, check_free, opened_whole
from vqkit.media.writing import encode_image, image_format_of, image_settings

__all__ = ["ImageWriter"]

_GREATEST_SIDE = (1 << 31) - 1


class ImageWriter:
    """An image written strip by strip, ``[channels, rows, width]`` in [-1, 1] or uint8.

    It is complete, and appears under its name, when the ``with`` block ends without an exception;
    otherwise nothing is left behind. A PNG is written while the strips come, in memory of a few
    rows; of other formats 1 byte for each sample is kept until the end. Values are rounded as
    ``write_image`` rounds them.

    Args:
        target: a path or a binary stream (which is given the file when it is complete).
        height: rows.
        width: columns.
        channels: 1 for grey, 3 for RGB.
        format: as for ``write_image``: by default what the path's ending says, else PNG.
        quality: 0 to 100 for JPEG, WebP and AVIF.
        overwrite: replace a file that exists.

    Raises:
        ConfigError: a setting is unknown or out of range.
        MediaError: the file exists, or it cannot be written.

    Example:
        >>> import io
        >>> file = io.BytesIO()
        >>> with ImageWriter(file, 4, 5) as writer:
        ...     writer.write(torch.zeros(3, 3, 5))
        ...     writer.write(torch.ones(3, 1, 5))
        >>> file.getvalue()[1:4]
        b'PNG'
    """

    def __init__(
        self,
        target: MediaTarget,
        height: int,
        width: int,
        *,
        channels: int = 3,
        format: str | None = None,
        quality: int | None = None,
        overwrite: bool = False,
    ):
        for what, side in (("height", height), ("width", width)):
            if not 1 <= side <= _GREATEST_SIDE:
                raise ConfigError(
                    f"{what} of an image: expected 1 to {_GREATEST_SIDE}, got {side}."
                )
        if channels not in (1, 3):
            raise ConfigError(f"channels of an image: expected 1 or 3, got {channels}.")
        self._format = image_format_of(target, format)
        self._settings = image_settings(self._format, quality)
        self._height, self._width, self._channels = height, width, channels
        self._num_rows = 0
        check_free(target, overwrite)
        with ExitStack() as stack:
            self._file = stack.enter_context(opened_whole(target))
            self._encoder: PngEncoder | None = None
            if self._format == "PNG":
                self._encoder = PngEncoder(self._file, height, width, channels)
            else:
                self._levels = np.zeros((height, width, channels), np.uint8)
            self._opened = stack.pop_all()

    def write(self, rows: Tensor) -> None:
        """Take the next rows.

        Raises:
            ShapeError: they are no rows of this image, too many, or not finite.
            MediaError: the disk is full.
        """
        expected = (self._channels, self._width)
        if rows.dim() != 3 or (rows.shape[0], rows.shape[2]) != expected:
            raise ShapeError(
                f"rows to write: expected [{self._channels}, rows, {self._width}], got "
                f"{tuple(rows.shape)}."
            )
        if self._num_rows + rows.shape[1] > self._height:
            raise ShapeError(
                f"rows to write: expected {self._height} in all, got "
                f"{self._num_rows + rows.shape[1]}."
            )
        is_finite = rows.is_floating_point() and bool(rows.isfinite().all())
        if rows.dtype is not torch.uint8 and not is_finite:
            raise ShapeError(
                f"rows to write: expected finite floats in [-1, 1] or uint8, got {rows.dtype} or "
                "values that are not finite."
            )
        rows = rows.detach().cpu()
        levels = rows if rows.dtype is torch.uint8 else to_levels(rows.to(torch.float32))
        array = levels.permute(1, 2, 0).contiguous().numpy()
        if not len(array):
            return
        try:
            if self._encoder is None:
                self._levels[self._num_rows : self._num_rows + len(array)] = array
            else:
                self._encoder.write(array.reshape(len(array), -1))
        except OSError as error:
            raise MediaError(f"Cannot write the image: {error.strerror}.") from error
        self._num_rows += len(array)

    def __enter__(self) -> "ImageWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._complete()
        except BaseException as failure:
            self._opened.__exit__(type(failure), failure, failure.__traceback__)
            raise
        self._opened.__exit__(kind, error, traceback)

    def _complete(self) -> None:
        if self._num_rows < self._height:
            raise MediaError(
                f"Cannot encode the image: expected {self._height} rows, got {self._num_rows}. "
                "Write all of them."
            )
        if self._encoder is not None:
            self._encoder.close()
            return
        levels = self._levels[..., 0] if self._channels == 1 else self._levels
        self._file.write(encode_image(Image.fromarray(levels), self._format, self._settings))
