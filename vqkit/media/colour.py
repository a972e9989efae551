"""Colour as screens mean it: CMYK and pictures with a colour profile become sRGB."""

import io
import logging

from PIL import Image, ImageChops

__all__ = ["to_srgb"]

_logger = logging.getLogger(__name__)


def to_srgb(image: Image.Image, name: str) -> Image.Image:
    """Convert a picture of mode L, RGB or CMYK by its embedded profile, if it has one.

    A profile that calls itself sRGB is taken at its word and the values are kept as they are. One
    that is damaged or made for another colour model is ignored with a log line, as browsers do.
    CMYK without a usable profile is converted by ``(1 - ink) * (1 - black)``.

    Args:
        image: the decoded picture, its profile in ``image.info``.
        name: what the log calls it.

    Returns:
        A picture of mode L or RGB.
    """
    profile = image.info.get("icc_profile")
    if image.mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info:
        # Pillow reads every CMYK JPEG as Adobe writes them, with inverted inks; only a file with
        # Adobe's marker is one.
        image = ImageChops.invert(image)
    if profile:
        converted = _by_profile(image, profile, name)
        if converted is not None:
            return converted
    return image.convert("RGB") if image.mode == "CMYK" else image


def _by_profile(image: Image.Image, profile: bytes, name: str) -> Image.Image | None:
    try:
        from PIL import ImageCms

        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        description = ImageCms.getProfileDescription(source).lower()
        if image.mode != "CMYK" and ("srgb" in description or "61966-2" in description):
            return image
        return ImageCms.profileToProfile(
            image,
            source,
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    # Profiles come from outside: littlecms meets a bad one with any of several exceptions.
    except Exception as error:
        _logger.warning("%s: its colour profile is ignored (%s)", name, error)
        return None
