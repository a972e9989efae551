"""Tensors in [-1, 1] -> image files."""

import io
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from vqkit.errors import ConfigError, MediaError, ShapeError
from vqkit.media.formats import IMAGE_FORMATS
from vqkit.media.pixels import to_levels
from vqkit.media.targets import MediaTarget, check_free, suffix_of, write_whole
from vqkit.shapes import Float

__all__ = ["encode_image", "image_format_of", "image_settings", "write_image"]

_LOSSY = ("JPEG", "WEBP", "AVIF")
_WRITABLE = ("PNG", "JPEG", "WEBP", "AVIF", "TIFF", "BMP", "PPM")
_DEFAULT_JPEG_QUALITY = 95


def write_image(
    image: Float[Tensor, "channels height width"],
    target: MediaTarget,
    *,
    format: str | None = None,
    quality: int | None = None,
    overwrite: bool = False,
) -> None:
    """Write an 8-bit image file, all of it or nothing.

    Values are clamped to [-1, 1] and rounded to the nearest of the 256 levels, so that
    ``read_image`` gives back what it gave before from any 8-bit file. A path is written under a
    temporary name in the same folder and then renamed.

    Args:
        image: values in [-1, 1]; 1 channel makes a grey file, 3 make RGB.
        target: a path or a binary stream.
        format: ``"png"``, ``"jpeg"``, ``"webp"``, ``"avif"``, ``"tiff"``, ``"bmp"`` or ``"ppm"``;
            by default what the path's ending says, and PNG for a stream or a path without ending.
        quality: 0 to 100 for JPEG, WebP and AVIF. Without it JPEG takes 95 without chroma
            subsampling, WebP is lossless, AVIF takes its encoder's default.
        overwrite: replace a file that exists.

    Raises:
        ShapeError: the image is not 1 or 3 channels of finite floats, or has a side of zero.
        ConfigError: format or quality is unknown.
        MediaError: the file exists, or it cannot be written.

    Example:
        >>> import io
        >>> file = io.BytesIO()
        >>> write_image(torch.zeros(1, 2, 3), file)
        >>> file.getvalue()[1:4]
        b'PNG'
    """
    pillow_format = image_format_of(target, format)
    settings = image_settings(pillow_format, quality)
    data = encode_image(Image.fromarray(_levels(image)), pillow_format, settings)
    check_free(target, overwrite)
    write_whole(data, target)


def image_format_of(target: MediaTarget, format: str | None) -> str:
    """Pillow's name of the format that is asked for, or that the path's ending says.

    Raises:
        ConfigError: it is none that is written.
    """
    asked = suffix_of(target) if format is None else f".{format.lower().removeprefix('.')}"
    if not asked:
        return "PNG"
    for name in _WRITABLE:
        if asked in (*IMAGE_FORMATS[name].suffixes, f".{name.lower()}"):
            return name
    raise ConfigError(
        f"format of an image file: expected one of {', '.join(_WRITABLE).lower()}, "
        f"got {asked.removeprefix('.')!r}."
    )


def image_settings(pillow_format: str, quality: int | None) -> dict[str, Any]:
    """What Pillow's encoder is told.

    Raises:
        ConfigError: the quality is out of range, or the format has none.
    """
    if quality is not None:
        if pillow_format not in _LOSSY:
            raise ConfigError(f"quality: {pillow_format} is lossless. Leave it out.")
        if not 0 <= quality <= 100:
            raise ConfigError(f"quality: expected 0 to 100, got {quality}.")
        return {"quality": quality}
    if pillow_format == "JPEG":
        return {"quality": _DEFAULT_JPEG_QUALITY, "subsampling": 0}
    return {"lossless": True} if pillow_format == "WEBP" else {}


def _levels(image: Tensor) -> npt.NDArray[np.uint8]:
    """The 8-bit levels [height, width] or [height, width, 3]."""
    if image.dim() != 3 or image.shape[0] not in (1, 3) or 0 in image.shape:
        raise ShapeError(
            "image to write: expected [1 or 3 channels, height, width] without empty axes, "
            f"got {tuple(image.shape)}."
        )
    if not image.is_floating_point() or not bool(image.isfinite().all()):
        raise ShapeError(
            f"image to write: expected finite floats in [-1, 1], got {image.dtype} "
            "or values that are not finite."
        )
    levels = to_levels(image.detach().to("cpu", torch.float32))
    array: npt.NDArray[np.uint8] = levels.permute(1, 2, 0).contiguous().numpy()
    return array[..., 0] if array.shape[-1] == 1 else array


def encode_image(picture: Image.Image, pillow_format: str, settings: dict[str, Any]) -> bytes:
    """A file of a picture.

    Raises:
        MediaError: the encoder is not there, or refuses.
    """
    file = io.BytesIO()
    try:
        picture.save(file, pillow_format, **settings)
    except KeyError as error:
        raise MediaError(
            f"Cannot encode {pillow_format}: this version of Pillow lacks the encoder. Upgrade it."
        ) from error
    except (OSError, ValueError) as error:
        width, height = picture.size
        raise MediaError(
            f"Cannot encode {width} x {height} pixels as {pillow_format}: {error}."
        ) from error
    return file.getvalue()
