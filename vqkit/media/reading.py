"""Image files -> tensors in [-1, 1]."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from PIL import Image, ImageFile
from torch import Tensor

from vqkit.errors import MediaError
from vqkit.media import png
from vqkit.media.formats import HEAD_BYTES, ImageFormat, identify, unsupported_name
from vqkit.media.orientation import exif_orientation, swaps_sides, upright
from vqkit.media.pixels import (
    Alpha,
    Samples,
    check_reading_options,
    samples_of,
    tensor_of,
    unreadable,
)
from vqkit.media.sources import MediaSource, name_of, opened
from vqkit.shapes import Float

__all__ = [
    "MAX_PIXELS",
    "decode",
    "identified",
    "image_size",
    "is_image",
    "orientation_of_image",
    "read_image",
]

MAX_PIXELS = 1 << 28
"""Pixels of the largest image that is decoded unless the caller says otherwise: 16384 x 16384."""


_logger = logging.getLogger(__name__)


def read_image(
    source: MediaSource,
    *,
    channels: int = 3,
    alpha: Alpha = "white",
    max_pixels: int = MAX_PIXELS,
) -> Float[Tensor, "channels height width"]:
    """Read an image file as it is meant to be seen.

    PNG, JPEG, WebP, AVIF, TIFF, BMP, GIF and PNM, told apart by their bytes.

    - Values: ``2 x / 255 - 1``; ``2 x / 65535 - 1`` for PNG, grey TIFF and PGM of 16 bits. Colour
      TIFF and PPM of 16 bits, 32-bit and floating point pixels are refused; AVIF of 10 and 12 bits
      is decoded to 8.
    - Orientation: EXIF orientation 1 to 8 is applied.
    - Colour: grey is repeated, or colour turned to grey (BT.601), to get ``channels``. An embedded
      colour profile is converted to sRGB, for CMYK too; 16-bit files keep their values, whatever
      profile they carry. YCbCr, YCCK and palettes become RGB.
    - Transparency (alpha band, palette entry or colour key) is laid over ``alpha``.
    - Of several frames or pages the first is read, with a log line.
    - A truncated file is an error, never a picture with grey rows. Other damage is an error where
      the format lets it be known: a wrong checksum in PNG is; a wrong bit in JPEG, or a JPEG that
      was cut and then given a new end, cannot be told from a sound one.

    Safe to call from several threads; no global state of Pillow is changed.

    Args:
        source: path, bytes or binary stream.
        channels: 1 for grey, 3 for colour.
        alpha: ``"white"``, ``"black"``, or ``"refuse"``, which fails if a pixel is not opaque.
        max_pixels: refuse larger images before they are decoded. Pillow's own limit
            (``PIL.Image.MAX_IMAGE_PIXELS``) holds beside it for TIFF, WebP and GIF.

    Returns:
        Values in [-1, 1].

    Raises:
        ConfigError: ``channels`` or ``alpha`` is unknown.
        MediaError: the file cannot be read; the message names it and says why.

    Example:
        >>> read_image(b"P2 2 1 255 0 255", channels=1).tolist()
        [[[-1.0, 1.0]]]
    """
    check_reading_options(channels, alpha)
    with identified(source) as (stream, image_format, name):
        # All of it into memory, so that no decoder touches a file descriptor of ours.
        stream = io.BytesIO(stream.read())
        samples, orientation = decode(stream, image_format, name, max_pixels)
    return upright(tensor_of(samples, channels, alpha, name), orientation).contiguous()


def image_size(source: MediaSource) -> tuple[int, int]:
    """Read (height, width) of an image as ``read_image`` would return it, without its pixels.

    Raises:
        MediaError: the file cannot be read.

    Example:
        >>> image_size(b"P2 2 1 255 0 255")
        (1, 2)
    """
    with identified(source) as (stream, image_format, _name):
        image = image_format.open(stream)
        width, height = image.size
        orientation = orientation_of_image(image, stream)
    return (width, height) if swaps_sides(orientation) else (height, width)


def is_image(source: MediaSource) -> bool:
    """Whether the file begins like one that ``read_image`` reads; what cannot be opened is none.

    Example:
        >>> is_image(b"GIF89a"), is_image(b"hello")
        (True, False)
    """
    try:
        with identified(source):
            return True
    except MediaError:
        return False


@contextmanager
def identified(source: MediaSource) -> Iterator[tuple[io.BufferedIOBase, ImageFormat, str]]:
    """Open a source at its first byte; any failure below becomes a MediaError that names it."""
    name = name_of(source)
    try:
        with opened(source) as stream:
            head = stream.read(HEAD_BYTES)
            image_format = identify(head)
            if image_format is None:
                raise unreadable(name, _why_not_ours(head))
            if not stream.seekable():
                stream = io.BytesIO(head + stream.read())
            stream.seek(0)
            yield stream, image_format, name
    except (MediaError, MemoryError):
        raise
    except ImportError as error:
        raise unreadable(name, "this version of Pillow lacks the decoder. Upgrade it") from error
    # Decoders meet hostile bytes with exceptions of every kind; to the caller all say the same.
    except Exception as error:
        damage = f"it is damaged or cut short ({error or type(error).__name__})"
        # Only the operating system's own errors carry a text of this kind.
        raise unreadable(name, getattr(error, "strerror", None) or damage) from error


def _why_not_ours(head: bytes) -> str:
    if not head:
        return "the file is empty"
    known = unsupported_name(head)
    if known is not None:
        return f"{known} is not supported. Convert it to PNG first"
    return "expected PNG, JPEG, WebP, AVIF, TIFF, BMP, GIF or PNM, got something else"


def decode(
    stream: io.BufferedIOBase, image_format: ImageFormat, name: str, max_pixels: int
) -> tuple[Samples, int]:
    """Samples as stored, and the orientation in which they are to be seen."""
    image = image_format.open(stream)
    if image_format.pillow_checks_pixels and Image.MAX_IMAGE_PIXELS is not None:
        max_pixels = min(max_pixels, Image.MAX_IMAGE_PIXELS)
    width, height = image.size
    if width * height > max_pixels:
        raise unreadable(name, f"{width} x {height} pixels are more than the limit of {max_pixels}")

    if image_format.name == "PNG":
        position = stream.tell()  # Pillow goes on from here
        header = png.read_header(stream)
        if header.bit_depth == 16:
            return Samples(png.decode_16_bit(stream, header), 65535), orientation_of_image(
                image, stream
            )
        png.check_complete(stream, header)
        stream.seek(position)
        if header.colour_type == 0 and header.bit_depth in (2, 4):
            png.scale_colour_key(image, header.bit_depth)
    _check_depth(image, name)
    image.load()
    samples = samples_of(image, name)
    orientation = orientation_of_image(image, stream)
    if _has_more(image):
        _logger.warning("%s holds several frames or pages: only the first is read", name)
    return samples, orientation


def orientation_of_image(image: ImageFile.ImageFile, stream: io.BufferedIOBase) -> int:
    """The EXIF orientation that is still to be applied."""
    if image.format == "TIFF":
        return 1  # Pillow turns TIFF itself
    exif = png.exif_of(stream) if image.format == "PNG" else image.info.get("exif", b"")
    return exif_orientation(cast(bytes, exif))


def _check_depth(image: ImageFile.ImageFile, name: str) -> None:
    """Refuse the files whose 16-bit samples Pillow would cut to 8 bits without a word."""
    arguments = image.tile[0][3] if image.tile else None
    fields = arguments if isinstance(arguments, tuple) else (arguments,)
    is_cut = any(isinstance(field, str) and ";16" in field for field in fields) or (
        image.format == "PPM" and isinstance(fields[-1], int) and fields[-1] > 255
    )
    if is_cut and not image.mode.startswith("I"):
        raise unreadable(
            name,
            f"16-bit colour is read from PNG, not from {image.format}. Convert it to PNG first",
        )


def _has_more(image: ImageFile.ImageFile) -> bool:
    try:
        image.seek(1)
    # The first picture is read: whatever is wrong with a second one is of no interest.
    except Exception:
        return False
    return True
