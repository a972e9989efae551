"""The image formats that vqkit reads, told apart by their first bytes and never by their names."""

import importlib
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path

from PIL import ImageFile

__all__ = [
    "HEAD_BYTES",
    "IMAGE_FORMATS",
    "IMAGE_SUFFIXES",
    "ImageFormat",
    "has_image_suffix",
    "identify",
    "unsupported_name",
]

HEAD_BYTES = 64
"""So many bytes from the start of a file are enough to tell its format."""


@dataclass(frozen=True)
class ImageFormat:
    """One format and the Pillow class that decodes it.

    The class is called directly instead of through ``PIL.Image.open``: that function warns at, and
    refuses above, a pixel limit that is global to the process, where ours is an argument.

    Attributes:
        name: Pillow's name of the format.
        suffixes: file name endings, the usual one first.
        plugin: module and class below ``PIL``.
        pillow_checks_pixels: this class applies Pillow's global limit on its own account.
    """

    name: str
    suffixes: tuple[str, ...]
    plugin: str
    pillow_checks_pixels: bool = False

    def open(self, stream: BufferedIOBase) -> ImageFile.ImageFile:
        """Read the header and leave the pixels.

        Raises:
            ImportError: this version of Pillow lacks the decoder.
        """
        module_name, class_name = self.plugin.split(":")
        module = importlib.import_module(f"PIL.{module_name}")
        image: ImageFile.ImageFile = getattr(module, class_name)(stream)
        return image


IMAGE_FORMATS: dict[str, ImageFormat] = {
    image_format.name: image_format
    for image_format in (
        ImageFormat("PNG", (".png", ".apng"), "PngImagePlugin:PngImageFile"),
        ImageFormat("JPEG", (".jpg", ".jpeg", ".jpe", ".jfif"), "JpegImagePlugin:JpegImageFile"),
        ImageFormat("WEBP", (".webp",), "WebPImagePlugin:WebPImageFile", True),
        ImageFormat("AVIF", (".avif",), "AvifImagePlugin:AvifImageFile"),
        ImageFormat("TIFF", (".tif", ".tiff"), "TiffImagePlugin:TiffImageFile", True),
        ImageFormat("BMP", (".bmp", ".dib"), "BmpImagePlugin:BmpImageFile"),
        ImageFormat("GIF", (".gif",), "GifImagePlugin:GifImageFile", True),
        ImageFormat("PPM", (".ppm", ".pgm", ".pbm", ".pnm"), "PpmImagePlugin:PpmImageFile"),
    )
}
"""Every format that can be read, by Pillow's name."""

IMAGE_SUFFIXES: frozenset[str] = frozenset(
    suffix for image_format in IMAGE_FORMATS.values() for suffix in image_format.suffixes
)
"""File name endings (lower case) that a folder is searched for."""

_AVIF_BRANDS = {b"avif", b"avis"}
_HEIC_BRANDS = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"}

# Asked for often enough to be refused by name.
_UNSUPPORTED_STARTS = {
    b"\xff\x0a": "JPEG XL",
    b"\x00\x00\x00\x0cJXL ": "JPEG XL",
    b"\x00\x00\x00\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"8BPS": "Photoshop",
    b"%PDF": "PDF",
    b"<svg": "SVG",
    b"<?xml": "XML",
    b"PF\n": "portable float map",
    b"Pf\n": "portable float map",
    b"P7\n": "portable arbitrary map",
    b"v/1\x01": "OpenEXR",
}


def identify(head: bytes) -> ImageFormat | None:
    """Tell the format of a file from its first ``HEAD_BYTES`` bytes; None if it is none of ours.

    Example:
        >>> identify(b"GIF89a").name
        'GIF'
    """
    name = None
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        name = "PNG"
    elif head.startswith(b"\xff\xd8\xff"):
        name = "JPEG"
    elif head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        name = "WEBP"
    elif head.startswith((b"GIF87a", b"GIF89a")):
        name = "GIF"
    elif head.startswith((b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")):
        name = "TIFF"
    elif head.startswith(b"BM"):
        name = "BMP"
    elif head[:1] == b"P" and head[1:2] in (b"1", b"2", b"3", b"4", b"5", b"6"):
        name = "PPM" if head[2:3] in (b" ", b"\t", b"\n", b"\r", b"#") else None
    elif _AVIF_BRANDS & _brands(head):
        name = "AVIF"
    return None if name is None else IMAGE_FORMATS[name]


def unsupported_name(head: bytes) -> str | None:
    """Name a well-known format that vqkit does not read."""
    if _HEIC_BRANDS & _brands(head):
        return "HEIC"
    for start, name in _UNSUPPORTED_STARTS.items():
        if head.startswith(start):
            return name
    return None


def has_image_suffix(path: Path) -> bool:
    """Whether the file's name ends like an image's."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def _brands(head: bytes) -> set[bytes]:
    """The major and the compatible brands in the first box of an ISO media file."""
    if head[4:8] != b"ftyp":
        return set()
    box = head[: min(int.from_bytes(head[:4], "big"), HEAD_BYTES)]
    return {box[8:12]} | {box[i : i + 4] for i in range(16, len(box) - 3, 4)}
