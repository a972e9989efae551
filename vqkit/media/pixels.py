"""Samples of any colour model -> plain tensors in [-1, 1]."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from vqkit.errors import ConfigError, MediaError
from vqkit.media.colour import to_srgb
from vqkit.shapes import Float, UInt8

__all__ = [
    "Alpha",
    "Samples",
    "check_reading_options",
    "composed",
    "from_levels",
    "samples_of",
    "tensor_from_pillow",
    "tensor_of",
    "to_levels",
    "unreadable",
]

Alpha = Literal["white", "black", "refuse"]
"""What stands behind transparent pixels; ``"refuse"`` makes them an error."""

_BACKGROUNDS = {"white": 1.0, "black": -1.0, "refuse": 1.0}

# Brightness of red and blue in ITU-R BT.601; green has the rest.
_LUMA_RED, _LUMA_BLUE = 0.299, 0.114

_WITH_ALPHA = {"P": "RGBA", "PA": "RGBA", "La": "LA", "RGBa": "RGBA"}
_KEYED = {"1": "LA", "L": "LA", "RGB": "RGBA"}
_OPAQUE = {"1": "L", "P": "RGB", "RGBX": "RGB", "YCbCr": "RGB"}


@dataclass(frozen=True)
class Samples:
    """Decoded pixels as they are stored.

    Attributes:
        values: [height, width, bands]; grey, grey and alpha, RGB, or RGB and alpha.
        peak: the value of white, 255 or 65535.
    """

    values: npt.NDArray[Any]
    peak: int


def unreadable(name: str, reason: str) -> MediaError:
    """The one form of all failures to read an image."""
    return MediaError(f"Cannot read the image {name}: {reason}.")


def check_reading_options(channels: int, alpha: str) -> None:
    """Raise ConfigError for values that ``read_image`` does not know."""
    if channels not in (1, 3):
        raise ConfigError(
            f"channels of an image: expected 1 (grey) or 3 (colour), got {channels!r}."
        )
    if alpha not in _BACKGROUNDS:
        raise ConfigError(f"alpha: expected one of {', '.join(_BACKGROUNDS)}, got {alpha!r}.")


def tensor_from_pillow(
    image: Image.Image, *, channels: int = 3, alpha: Alpha = "white"
) -> Float[Tensor, "channels height width"]:
    """Convert a Pillow image, as a torchvision data set gives it; nothing is turned upright.

    Args:
        image: 1, L, P, RGB, CMYK and their relatives, 8 or 16 bits.
        channels: 1 for grey, 3 for colour.
        alpha: what stands behind transparent pixels.

    Returns:
        Values in [-1, 1].

    Raises:
        ConfigError: ``channels`` or ``alpha`` is unknown.
        MediaError: the image's mode has no known value range, or it is transparent and may not be.

    Example:
        >>> tensor_from_pillow(Image.new("RGB", (2, 1), (0, 255, 51))).flatten().tolist()
        [-1.0, -1.0, 1.0, 1.0, -0.6..., -0.6...]
    """
    check_reading_options(channels, alpha)
    name = repr(image)
    return tensor_of(samples_of(image, name), channels, alpha, name)


def samples_of(image: Image.Image, name: str) -> Samples:
    """Take the pixels out of a decoded Pillow image, colours converted to sRGB.

    Args:
        image: any mode with a known value range.
        name: what an error or a log line calls it.

    Raises:
        MediaError: the mode is floating point, 32-bit or LAB.
    """
    mode = image.mode
    if mode.startswith("I;16") or (mode == "I" and image.format in ("PNG", "PPM")):
        return _deep_grey(image, name)
    profile = image.info.get("icc_profile")
    has_key = "transparency" in image.info
    if mode in _WITH_ALPHA and (mode != "P" or has_key):
        image = image.convert(_WITH_ALPHA[mode])
    elif mode in _KEYED and has_key:
        image = image.convert(_KEYED[mode])
    elif mode in _OPAQUE:
        image = image.convert(_OPAQUE[mode])

    if image.mode in ("L", "RGB", "CMYK"):
        return Samples(_bands(to_srgb(image, name)), 255)
    if image.mode in ("LA", "RGBA"):
        opacity = image.getchannel("A")
        colour = image.convert(image.mode[:-1])
        colour.info["icc_profile"] = profile
        return Samples(
            np.concatenate([_bands(to_srgb(colour, name)), _bands(opacity)], axis=-1), 255
        )
    raise unreadable(
        name,
        f"its pixels are of Pillow's mode {mode!r}, which has no known value range or is no RGB. "
        "Convert it to 8-bit RGB or 16-bit grey first",
    )


def tensor_of(
    samples: Samples, channels: int, alpha: Alpha, name: str
) -> Float[Tensor, "channels height width"]:
    """Scale samples to [-1, 1], lay them over the background and give them 1 or 3 channels.

    Raises:
        MediaError: a pixel is not opaque and ``alpha`` is ``"refuse"``.
    """
    # Planes before floats: moving small integers is the cheaper way round.
    planes = np.ascontiguousarray(samples.values.transpose(2, 0, 1))
    bands = torch.from_numpy(planes.astype(np.float32))
    has_alpha = bands.shape[0] in (2, 4)
    # One division and one subtraction: 0 and the peak land on -1 and 1 exactly.
    image = (bands[:-1] if has_alpha else bands).div(samples.peak / 2).sub_(1)
    return composed(image, bands[-1:] / samples.peak if has_alpha else None, channels, alpha, name)


def composed(
    image: Float[Tensor, "bands height width"],
    opacity: Float[Tensor, "1 height width"] | None,
    channels: int,
    alpha: Alpha,
    name: str,
) -> Float[Tensor, "channels height width"]:
    """Lay a picture over the background and give it 1 or 3 channels.

    Args:
        image: grey or RGB in [-1, 1].
        opacity: from 0 to 1; None is opaque.
        channels: 1 for grey, 3 for colour.
        alpha: what stands behind transparent pixels.
        name: what an error calls it.

    Raises:
        MediaError: a pixel is not opaque and ``alpha`` is ``"refuse"``.
    """
    if opacity is not None:
        if alpha == "refuse" and bool((opacity < 1).any()):
            raise unreadable(
                name,
                'it has transparent pixels. Say what stands behind them: alpha="white" or "black"',
            )
        image = image * opacity + _BACKGROUNDS[alpha] * (1 - opacity)
    if channels == 1 and image.shape[0] == 3:
        red, green, blue = image.unsqueeze(1)
        # Around green, so that a grey pixel keeps its value to the bit.
        image = green + _LUMA_RED * (red - green) + _LUMA_BLUE * (blue - green)
        image = image.clamp(-1, 1)
    return image.expand(channels, -1, -1).contiguous()


def to_levels(values: Float[Tensor, "*size"]) -> UInt8[Tensor, "*size"]:
    """The nearest of the 256 levels of 8 bits to each value, which is clamped to [-1, 1].

    Example:
        >>> to_levels(torch.tensor([-1.0, 0.1, 1.5])).tolist()
        [0, 140, 255]
    """
    return values.clamp(-1, 1).add_(1).mul_(127.5).round_().to(torch.uint8)


def from_levels(levels: UInt8[Tensor, "*size"]) -> Float[Tensor, "*size"]:
    """The values in [-1, 1] of levels of 8 bits, exactly those that reading a file gives.

    Example:
        >>> to_levels(from_levels(torch.arange(256, dtype=torch.uint8))).tolist() == [*range(256)]
        True
    """
    return levels.to(torch.float32).div_(127.5).sub_(1)


def _bands(image: Image.Image) -> npt.NDArray[np.uint8]:
    array = np.asarray(image)
    return array[..., None] if array.ndim == 2 else array


def _deep_grey(image: Image.Image, name: str) -> Samples:
    values = np.asarray(image)[..., None].astype(np.uint16)
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        bits = tags.get(258, (16,))
        if bits != (16,):
            raise unreadable(
                name, f"its samples have {bits[0]} bits. Convert it to 8 or 16 bits first"
            )
        if tags.get(262) == 0:  # white is zero, which Pillow minds at 8 bits alone
            values = 65535 - values
    return Samples(values, 65535)
