"""JPEG and WebP by Pillow, as references for images."""

import io
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vqkit.errors import MediaError
from vqkit.evaluation.media_kind import IMAGES
from vqkit.evaluation.quality import Medium
from vqkit.evaluation.reference_codec import CodedItem, ReferenceCodec
from vqkit.metrics.image import round_to_eight_bits

__all__ = ["JPEG", "WEBP"]


class _PillowCodec(ReferenceCodec):
    """A format of Pillow with a quality from 0 to 100.

    Args:
        name: Pillow's name of it.
        title: For a reader.
        options: For its encoder.
    """

    kind = IMAGES
    default_settings = (1, 5, 10, 20, 35, 50, 70, 90)
    settings_range = (0, 100)

    def __init__(self, name: str, title: str, options: Mapping[str, Any]) -> None:
        self.name = name
        self.title = title
        self.options = options

    def label(self, setting: int) -> str:
        """The quality."""
        return f"quality {setting}"

    def round_trip(self, name: str, medium: Medium, setting: int) -> CodedItem:
        """Of an image ``[1 or 3, height, width]`` in [-1, 1]."""
        from PIL import Image

        if not isinstance(medium, Tensor) or medium.ndim != 3 or medium.shape[0] not in (1, 3):
            raise self._refused(name, medium)
        if 0 in medium.shape:
            raise self._refused(name, medium)
        levels = ((round_to_eight_bits(medium.cpu()) + 1) * 127.5).round().to(torch.uint8)
        mode = "L" if len(levels) == 1 else "RGB"
        array = levels.permute(1, 2, 0).numpy()
        picture = Image.fromarray(array[..., 0] if mode == "L" else array)
        file = io.BytesIO()
        try:
            picture.save(file, self.name, quality=setting, **self.options)
        except (OSError, ValueError) as error:
            raise MediaError(
                f"Measuring {self.name} failed: {error} ({name}, {picture.width} x "
                f"{picture.height}). Leave this image out."
            ) from error
        with Image.open(io.BytesIO(file.getvalue())) as decoded:
            data = bytearray(decoded.convert(mode).tobytes())
        flat = torch.frombuffer(data, dtype=torch.uint8).reshape(*medium.shape[1:], -1)
        return CodedItem(len(file.getvalue()), flat.permute(2, 0, 1) / 127.5 - 1)

    def _refused(self, name: str, medium: Medium) -> MediaError:
        got = tuple(medium.shape) if isinstance(medium, Tensor) else type(medium).__name__
        return MediaError(
            f"Measuring {self.name} failed: expected an image [1 or 3, height, width], got {got} "
            f"({name}). Convert it first."
        )


# The encoders' best effort; JPEG subsamples the colour as it does by default.
JPEG = _PillowCodec("jpeg", "JPEG", {"optimize": True})
WEBP = _PillowCodec("webp", "WebP", {"method": 6})
