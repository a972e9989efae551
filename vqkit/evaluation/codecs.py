"""What classical image codecs reach on the same images, for comparison."""

import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from vqkit.errors import ConfigError, MediaError
from vqkit.metrics.image import psnr, round_to_eight_bits

__all__ = ["CodecCurve", "CodecPoint", "codec_reference"]

Codec = Literal["jpeg", "webp"]

# The encoders' best effort; JPEG subsamples the colour as it does by default.
_SETTINGS: dict[str, dict[str, Any]] = {"jpeg": {"optimize": True}, "webp": {"method": 6}}
DEFAULT_QUALITIES = (1, 5, 10, 20, 35, 50, 70, 90)


@dataclass(frozen=True)
class CodecPoint:
    """A codec at one quality setting over all images."""

    quality: int
    bits_per_pixel: float
    """Bits of all files over pixels of all images."""
    psnr: float
    """Mean over images, in dB."""


@dataclass(frozen=True)
class CodecCurve:
    """A codec at several quality settings."""

    codec: str
    points: tuple[CodecPoint, ...]
    num_images: int


def codec_reference(
    images: Iterable[tuple[str, Tensor]],
    codec: Codec = "webp",
    qualities: Sequence[int] = DEFAULT_QUALITIES,
) -> CodecCurve:
    """Rate and quality of Pillow's JPEG or WebP on images, measured as ``evaluate`` measures.

    Args:
        images: names and images ``[1 or 3 channels, height, width]`` in [-1, 1], as for
            ``evaluate``.
        codec: "jpeg" or "webp", at the encoder's best effort.
        qualities: settings from 0 (smallest) to 100.

    Raises:
        ConfigError: there is no image, or the codec or a quality is unknown.
        MediaError: the codec cannot hold an image.

    Example:
        >>> curve = codec_reference([("grey", torch.zeros(3, 16, 16))], "jpeg", [50])
        >>> curve.points[0].quality, curve.points[0].psnr > 40
        (50, True)
    """
    if codec not in _SETTINGS or not qualities or not all(0 <= q <= 100 for q in qualities):
        raise ConfigError(
            f"Measuring a codec failed: expected one of {', '.join(sorted(_SETTINGS))} at "
            f"qualities from 0 to 100, got {codec!r} at {list(qualities)}."
        )
    sizes_bytes = dict.fromkeys(qualities, 0)
    num_pixels = 0
    ratios: dict[int, list[float]] = {quality: [] for quality in qualities}
    for name, image in images:
        num_pixels += image.shape[-2] * image.shape[-1]
        target = round_to_eight_bits(image.cpu())
        for quality in ratios:
            size_bytes, decoded = _round_trip(name, image, codec, quality)
            sizes_bytes[quality] += size_bytes
            ratios[quality].append(psnr(decoded[None], target[None]).item())
    num_images = len(next(iter(ratios.values())))
    if not num_images:
        raise ConfigError("Measuring a codec failed: expected at least one image, got none.")
    points = tuple(
        CodecPoint(
            quality=quality,
            bits_per_pixel=8 * sizes_bytes[quality] / num_pixels,
            psnr=math.fsum(ratios[quality]) / num_images,
        )
        for quality in sorted(ratios)
    )
    return CodecCurve(codec, points, num_images)


def _round_trip(name: str, image: Tensor, codec: str, quality: int) -> tuple[int, Tensor]:
    """Bytes of the file and the picture in it."""
    from PIL import Image

    if image.ndim != 3 or image.shape[0] not in (1, 3) or 0 in image.shape:
        raise MediaError(
            f"Measuring {codec} failed: expected an image [1 or 3, height, width], got "
            f"{tuple(image.shape)} ({name}). Convert it first."
        )
    levels = ((round_to_eight_bits(image.cpu()) + 1) * 127.5).round().to(torch.uint8)
    mode = "L" if len(levels) == 1 else "RGB"
    array = levels.permute(1, 2, 0).numpy()
    picture = Image.fromarray(array[..., 0] if mode == "L" else array)
    file = io.BytesIO()
    try:
        picture.save(file, codec, quality=quality, **_SETTINGS[codec])
    except (OSError, ValueError) as error:
        raise MediaError(
            f"Measuring {codec} failed: {error} ({name}, {picture.width} x {picture.height}). "
            "Leave this image out."
        ) from error
    with Image.open(io.BytesIO(file.getvalue())) as decoded:
        data = bytearray(decoded.convert(mode).tobytes())
    flat = torch.frombuffer(data, dtype=torch.uint8).reshape(*image.shape[1:], -1)
    return len(file.getvalue()), flat.permute(2, 0, 1) / 127.5 - 1
