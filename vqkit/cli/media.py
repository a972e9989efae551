"""Reading and writing media for a tokenizer: the one place that knows of modalities."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqkit.cli.options import OUTPUT_FORMATS
from vqkit.cli.sources import TOKEN_SUFFIX, Source
from vqkit.cli.targets import Target
from vqkit.cli.usage_error import UsageError
from vqkit.errors import ConfigError, MediaError

if TYPE_CHECKING:
    from torch import Tensor

    from vqkit.files import TokenFileInfo
    from vqkit.tokenizers import Tokenizer

__all__ = [
    "facts_of",
    "find_media",
    "num_pixels_of",
    "output_format",
    "picture_path",
    "read_media",
    "refuse_picture_name",
    "write_media",
]


def find_media(folder: Path, recursive: bool) -> list[Path]:
    """Media files in a folder, sorted."""
    from vqkit.media import find_images

    return find_images(folder, recursive=recursive)


def read_media(source: Source, tokenizer: "Tokenizer", alpha: Any) -> "Tensor":
    """Read what the tokenizer encodes.

    Raises:
        MediaError: The file cannot be read.
        ConfigError: This version cannot read media of the tokenizer's modality.
    """
    from vqkit.media import read_image

    _require_images(tokenizer)
    if source.path is not None and source.path.suffix == TOKEN_SUFFIX:
        raise MediaError(
            f"Cannot encode {source.name!r}: expected an image, got a token file. Turn it into an "
            "image with vqkit decode."
        )
    return read_image(source.open(), channels=tokenizer.frontend.channels, alpha=alpha)


def write_media(media: "Tensor", target: Target, format: str) -> None:
    """Write a picture, whole or not at all."""
    from vqkit.media import write_image

    write_image(media, target.open(), format=format, overwrite=target.force)


def output_format(arguments: Any) -> str:
    """The format to write pictures in: as asked, else by the name of ``-o``, else PNG.

    Raises:
        UsageError: The name has an ending that cannot be written.
    """
    if arguments.format:
        return str(arguments.format)
    suffix = Path(arguments.output or "").suffix.lower()
    if not suffix:
        return "png"
    from vqkit.media.formats import IMAGE_FORMATS

    for name in OUTPUT_FORMATS:
        if suffix in IMAGE_FORMATS[name.upper()].suffixes:
            return name
    raise UsageError(
        f"-o {arguments.output}: expected a name that ends in "
        f"{', '.join(OUTPUT_FORMATS.values())}, got {suffix!r}. Rename it, or give --format."
    )


def refuse_picture_name(output: str | None) -> None:
    """Refuse to write a token file under the name of a picture: that is another verb's work.

    Raises:
        UsageError: The name ends like a picture's.
    """
    from vqkit.media import IMAGE_SUFFIXES

    if output is not None and Path(output).suffix.lower() in IMAGE_SUFFIXES:
        raise UsageError(
            f"-o {output}: expected a name for a token file ({TOKEN_SUFFIX}), got a picture's. "
            "vqkit reconstruct writes pictures."
        )


def picture_path(path: Path, format: str) -> Path:
    """``photo.jpg.vqt`` -> ``photo.png``, and so for any picture's name.

    >>> picture_path(Path("tokens/photo.jpg.vqt"), "png").as_posix()
    'tokens/photo.png'
    """
    from vqkit.media import IMAGE_SUFFIXES

    if path.suffix == TOKEN_SUFFIX:
        path = path.with_suffix("")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        path = path.with_suffix("")
    return path.with_name(path.name + OUTPUT_FORMATS[format])


def facts_of(info: "TokenFileInfo") -> dict[str, Any]:
    """What a batch says of a token file."""
    num_pixels = num_pixels_of(info.media)
    return {
        "media": dict(info.media),
        "num_tokens": info.num_tokens,
        "size_bytes": info.size_bytes,
        "num_pixels": num_pixels,
        "bits_per_pixel": 8 * info.size_bytes / num_pixels if num_pixels else None,
    }


def num_pixels_of(media: Any) -> int | None:
    """Pixels of an image by its sizes; None for media without."""
    if "height" in media and "width" in media:
        return int(media["height"] * media["width"])
    return None


def _require_images(tokenizer: "Tokenizer") -> None:
    modality = tokenizer.frontend.modality
    if modality != "image":
        raise ConfigError(
            f"Model {tokenizer.name!r}: expected a tokenizer of images, got one of {modality}. "
            "This version reads images alone."
        )
