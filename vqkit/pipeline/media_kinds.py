"""Media that a data set can be made of: how they are found, and how one becomes a tensor."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.media import (
    Alpha,
    MediaSource,
    VideoReader,
    has_audio_suffix,
    has_image_suffix,
    has_video_suffix,
    read_audio,
    read_image,
    walk_audio,
    walk_images,
    walk_videos,
)

__all__ = ["Decoded", "MediaKind", "kind_of"]


@dataclass(frozen=True)
class Decoded:
    """What lies in a file.

    Attributes:
        media: ``[channels, *size]`` in [-1, 1].
        sample_rate_hz: Of a sound; None of what has none.
    """

    media: Tensor
    sample_rate_hz: int | None = None


@dataclass(frozen=True)
class MediaKind:
    """Media of one modality.

    Attributes:
        name: What they are called.
        walk: Yields those in a folder and in all folders below.
        has_suffix: Whether a file is one by its ending.
        columns: Of a Parquet file, the columns that may hold files.
        decode: Of a file, for a model of so many channels, over a colour if it is transparent; a
            clip is opened, for its frames do not go into memory together.
    """

    name: str
    walk: Callable[[Path], Iterator[Path]]
    has_suffix: Callable[[Path], bool]
    columns: tuple[str, ...]
    decode: Callable[[MediaSource, int, Alpha], Decoded | VideoReader]


def kind_of(modality: str) -> MediaKind:
    """The media that tokenizers of a modality take.

    Raises:
        ConfigError: Nothing here reads them.

    >>> kind_of("audio").has_suffix(Path("talk.flac"))
    True
    """
    if modality not in _KINDS:
        *names, last = (kind.name for kind in _KINDS.values())
        raise ConfigError(
            f"Encoding a data set: expected a tokenizer of {', '.join(names)} or {last}, got one "
            f"of {modality}. This version reads no other media."
        )
    return _KINDS[modality]


def _decode_image(file: MediaSource, channels: int, alpha: Alpha) -> Decoded:
    return Decoded(read_image(file, channels=channels, alpha=alpha))


def _decode_audio(file: MediaSource, channels: int, alpha: Alpha) -> Decoded:
    """With the channels of the file: what a model makes of them is the model's."""
    sound = read_audio(file)
    return Decoded(sound.samples, sound.sample_rate_hz)


def _open_video(file: MediaSource, channels: int, alpha: Alpha) -> VideoReader:
    return VideoReader(file, channels=channels, alpha=alpha)


_KINDS = {
    "image": MediaKind(
        "images", walk_images, has_image_suffix, ("bytes", "image", "media"), _decode_image
    ),
    "audio": MediaKind(
        "sounds", walk_audio, has_audio_suffix, ("bytes", "audio", "media"), _decode_audio
    ),
    "video": MediaKind(
        "videos", walk_videos, has_video_suffix, ("bytes", "video", "media"), _open_video
    ),
}
