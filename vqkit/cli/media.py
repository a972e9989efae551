"""Reading and writing media for a tokenizer: the one place that knows of modalities."""

import argparse
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqkit.cli.clips import SoundKeeper, SoundPlayer, note_tracks, time_range_of
from vqkit.cli.console import Console, printable
from vqkit.cli.options import AUDIO_FORMATS, OUTPUT_FORMATS, PICTURE_FORMATS, VIDEO_FORMATS
from vqkit.cli.rates import rate_facts
from vqkit.cli.sources import TOKEN_SUFFIX, Find, Source
from vqkit.cli.targets import Target
from vqkit.cli.usage_error import UsageError
from vqkit.errors import ConfigError, MediaError, VqkitError

if TYPE_CHECKING:
    from torch import Tensor

    from vqkit.clip_sound import ClipSound
    from vqkit.clips import WholeClip
    from vqkit.files import TokenFileInfo
    from vqkit.tokenizers import Tokenizer, Tokens

__all__ = [
    "DEFAULT_FORMATS",
    "Media",
    "cutting_of",
    "decode_to",
    "default_format",
    "encode_media",
    "facts_of",
    "finder_of",
    "media_path",
    "output_format",
    "read_media",
    "refuse_media_name",
    "write_decoded",
    "write_media",
]

DEFAULT_FORMATS = {"image": "png", "audio": "wav", "video": "mp4"}
"""By modality, what decoded media are written in unless another format is asked for."""

_FORMATS = {"image": PICTURE_FORMATS, "audio": AUDIO_FORMATS, "video": VIDEO_FORMATS}
_NAMES = {"image": "a picture", "audio": "a sound", "video": "a video"}
_STRIP_ROWS = 256
_USUAL_FRAME_RATE = 25


@dataclass(frozen=True)
class Media:
    """What was read, and its rate over time.

    Attributes:
        tensor: ``[channels, *size]`` in [-1, 1].
        sample_rate_hz: Of a sound.
        clip: The tensor with the times of its frames, if it is one.
        sound: How the sound of a clip is kept.
        num_tracks: Sounds in the file, of which this is one.
    """

    tensor: "Tensor"
    sample_rate_hz: int | None = None
    clip: "WholeClip | None" = None
    sound: "ClipSound | None" = None
    num_tracks: int = 1

    def encoded(self, tokenizer: "Tokenizer") -> "Tokens":
        """Its tokens."""
        if self.clip is None:
            return tokenizer.encode([self.tensor], sample_rate_hz=self.sample_rate_hz)
        from vqkit.clips import encode_clip

        return encode_clip(self.clip, tokenizer, sound=self.sound)


def finder_of(modality: str | None) -> tuple[Find, str]:
    """What lists the media of a modality in a folder, and what they are called.

    Without a modality all media are listed, for a model that is not here to say what it takes.
    """
    from vqkit.media import find_audio, find_images, find_videos

    def find(folder: Path, recursive: bool) -> list[Path]:
        found: list[Path] = []
        if modality in (None, "image"):
            found += find_images(folder, recursive=recursive)
        if modality in (None, "audio"):
            found += find_audio(folder, recursive=recursive)
        if modality in (None, "video"):
            found += find_videos(folder, recursive=recursive)
        return sorted(set(found), key=lambda path: path.relative_to(folder).parts)

    return find, {"image": "images", "audio": "sounds", "video": "videos"}.get(
        modality or "", "media"
    )


def read_media(
    source: Source,
    tokenizer: "Tokenizer",
    alpha: Any,
    audio_track: int | None = None,
    time_range: Mapping[str, Any] | None = None,
    sounds: SoundKeeper | None = None,
) -> Media:
    """Read what the tokenizer encodes.

    Args:
        source: The file.
        tokenizer: Of one modality.
        alpha: What transparent pixels are laid over.
        audio_track: Which sound of a video, from 0; None for the first.
        time_range: What :func:`vqkit.cli.clips.time_range_of` gives; None for all of it.
        sounds: Keeps the sounds of clips; None leaves them out.

    Raises:
        MediaError: The file cannot be read.
        ConfigError: This version cannot read media of the tokenizer's modality.
    """
    from vqkit.media import read_audio, read_image, read_video, video_info

    modality, channels = _checked_modality(source, tokenizer), tokenizer.frontend.channels
    times = dict(time_range or {})
    start, stop = times.get("start_seconds", 0), times.get("stop_seconds")
    if modality == "audio":
        seconds = None if stop is None else float(stop - start)
        sound = read_audio(
            source.open(),
            start_seconds=float(start),
            seconds=seconds,
            audio_stream=audio_track or 0,
        )
        return Media(sound.samples, sound.sample_rate_hz, num_tracks=sound.num_streams)
    if modality == "video":
        from vqkit.clips import WholeClip

        file = _file_of(source)
        video = read_video(file, channels=channels, alpha=alpha, **times)
        kept = None
        if sounds is not None:
            kept = sounds.sound_of(video_info(file), file, printable(source.name), stop)
        return Media(video.frames, clip=WholeClip(video, is_part=bool(times)), sound=kept)
    return Media(read_image(source.open(), channels=channels, alpha=alpha))


def encode_media(
    source: Source,
    tokenizer: "Tokenizer",
    arguments: argparse.Namespace,
    sounds: SoundKeeper,
    console: Console,
) -> "Tokens":
    """Read a file and encode it as it is read.

    Args:
        source: The file.
        tokenizer: Of one modality.
        arguments: With ``alpha``, ``audio_track``, ``max_pixels``, which time is taken and how
            media are cut.
        sounds: Keeps the sounds of clips.
        console: Where it is said that a file has further sounds.

    Raises:
        MediaError: The file cannot be read, or has nothing in the time that is asked for.
        ConfigError: This version cannot read media of the tokenizer's modality.
    """
    modality = _checked_modality(source, tokenizer)
    cutting, times = cutting_of(arguments, modality), time_range_of(arguments, modality)
    channels, name = tokenizer.frontend.channels, printable(source.name)
    if modality == "video":
        from vqkit.clips import encode_clip
        from vqkit.media import VideoReader

        file = _file_of(source)
        with VideoReader(file, channels=channels, alpha=arguments.alpha, **times) as video:
            sound = sounds.sound_of(video.info, file, name, times.get("stop_seconds"))
            return encode_clip(video, tokenizer, sound=sound, **cutting)
    if modality == "image":
        from vqkit.media import ImageReader

        with ImageReader(
            source.open(),
            channels=channels,
            alpha=arguments.alpha,
            max_pixels=arguments.max_pixels,
        ) as picture:
            return tokenizer.encode_pieces(picture.strips(_STRIP_ROWS), **cutting)
    from vqkit.facade import encode_sound
    from vqkit.media import AudioReader

    track = arguments.audio_track
    with AudioReader(source.open(), audio_stream=track or 0, **times) as reader:
        note_tracks(reader.info.num_streams, name, track, console)
        tokens = encode_sound(reader, tokenizer, **cutting)
    if times and not tokens.media[0]["samples"]:
        raise MediaError(f"Cannot encode {source.name!r}: it has no sound in the time asked for.")
    return tokens


def cutting_of(arguments: argparse.Namespace, modality: str) -> dict[str, Any]:
    """What the options say of how media of a modality are cut, for the tokenizer's methods."""
    from vqkit.tokenizers import Tiling

    if modality == "audio":
        return {"chunk_seconds": arguments.chunk_seconds}
    usual = Tiling()
    tile, overlap = arguments.tile_pixels, arguments.tile_overlap_pixels
    if tile is None and overlap is None:
        tiling = usual
    else:
        size = tile or usual.tile_pixels
        whole = usual.whole_pixels if tile is None else tile * tile
        tiling = Tiling(size, min(size, overlap or usual.overlap_pixels), whole)
    if modality == "video":
        return {"chunk_frames": arguments.chunk_frames, "tiling": tiling}
    return {"tiling": tiling}


def decode_to(
    tokens: "Tokens",
    tokenizer: "Tokenizer",
    target: Target,
    format: str | None,
    sounds: SoundPlayer,
    cutting: Mapping[str, Any],
) -> None:
    """Decode one item and write it as it is decoded, a clip with its sound.

    Args:
        tokens: Of the item.
        tokenizer: Decodes.
        target: Where to.
        format: As the user asked for it; None takes the usual one.
        sounds: Gives back the sounds of clips.
        cutting: What :func:`cutting_of` gives.

    Raises:
        ModelMismatchError: The model of a clip's sound is not here.
        MediaError: The format is one of another modality, or it cannot be written.
    """
    size, modality = tokens.media[0], tokens.modality
    format = _checked_format(modality, target, format)
    pieces = tokenizer.decode_pieces(tokens, **cutting)
    if modality == "video":
        _write_clip(pieces, tokens, target, format, sounds)
        return
    if modality == "image":
        from vqkit.media import ImageWriter

        with ImageWriter(
            target.open(),
            size["height"],
            size["width"],
            channels=tokenizer.frontend.channels,
            format=format,
            overwrite=target.force,
        ) as picture:
            for strip in pieces:
                picture.write(strip)
        return
    from vqkit.media import AudioWriter

    with AudioWriter(
        target.open(),
        size["sample_rate_hz"],
        size["channels"],
        format=format,
        overwrite=target.force,
    ) as writer:
        for piece in pieces:
            writer.write(piece)


def write_decoded(
    media: "Tensor", tokens: "Tokens", target: Target, format: str | None, sounds: SoundPlayer
) -> None:
    """Write what an item was decoded to, a clip with its times and its sound.

    Raises:
        MediaError: The format is one of another modality, or it cannot be written.
    """
    if tokens.modality != "video":
        write_media(media, tokens.media[0], target, format)
        return
    format = _checked_format("video", target, format)
    _write_clip(iter((media,)), tokens, target, format, sounds)


def write_media(
    media: "Tensor", size: Mapping[str, int], target: Target, format: str | None
) -> None:
    """Write a picture, a sound or a clip, whole or not at all; by default in the usual format.

    Raises:
        MediaError: The format is one of another modality, or it cannot be written.
    """
    from vqkit.media import write_audio, write_image, write_video
    from vqkit.tokenizers.video_frontend import frame_rate_of

    modality = _modality_of(size)
    format = _checked_format(modality, target, format)
    file, overwrite = target.open(), target.force
    if modality == "audio":
        rate_hz = size["sample_rate_hz"]
        write_audio(media.cpu(), file, rate_hz, format=format, overwrite=overwrite)
    elif modality == "video":
        rate = frame_rate_of(size) or _USUAL_FRAME_RATE
        write_video(media, file, rate, format=format, overwrite=overwrite)
    else:
        write_image(media, file, format=format, overwrite=overwrite)


def _write_clip(
    pieces: "Iterator[Tensor]", tokens: "Tokens", target: Target, format: str, sounds: SoundPlayer
) -> None:
    from vqkit.clips import write_clip

    audio = sounds.sound_of(tokens, format, printable(target.name))
    write_clip(pieces, tokens, target.open(), format=format, audio=audio, overwrite=target.force)


def _file_of(source: Source) -> Path | bytes:
    """What can be read twice: for the frames, and for the sound."""
    file = source.open()
    return file.read() if isinstance(file, io.BufferedIOBase) else file


def _modality_of(size: Mapping[str, int]) -> str:
    if "sample_rate_hz" in size:
        return "audio"
    return "video" if "frames" in size else "image"


def _checked_modality(source: Source, tokenizer: "Tokenizer") -> str:
    modality = tokenizer.frontend.modality
    if modality not in DEFAULT_FORMATS:
        raise ConfigError(
            f"Model {tokenizer.name!r}: expected a tokenizer of images, audio or video, got one of "
            f"{modality}. This version reads no others."
        )
    if source.path is not None and source.path.suffix == TOKEN_SUFFIX:
        what = _NAMES[modality].replace("a picture", "an image")
        raise MediaError(
            f"Cannot encode {source.name!r}: expected {what}, got a token file. Turn it into "
            f"{what} with vqkit decode."
        )
    return modality


def _checked_format(modality: str, target: Target, format: str | None) -> str:
    """The format to write in, that of the modality unless one is asked for."""
    format = format or DEFAULT_FORMATS[modality]
    if format not in _FORMATS[modality]:
        raise MediaError(
            f"Cannot write {target.name!r}: expected a format of {_NAMES[modality]} "
            f"({', '.join(_FORMATS[modality])}), got {format}."
        )
    return format


def output_format(arguments: Any) -> str | None:
    """The format to write in: as asked, else by the name of ``-o``; None leaves it to the media.

    Raises:
        UsageError: The name has an ending that cannot be written.
    """
    if arguments.format:
        return str(arguments.format)
    suffix = Path(arguments.output or "").suffix.lower()
    if not suffix:
        return None
    from vqkit.media.formats import IMAGE_FORMATS

    for name in PICTURE_FORMATS:
        if suffix in IMAGE_FORMATS[name.upper()].suffixes:
            return name
    for name, ending in {**AUDIO_FORMATS, **VIDEO_FORMATS}.items():
        if suffix == ending:
            return name
    raise UsageError(
        f"-o {arguments.output}: expected a name that ends in "
        f"{', '.join(OUTPUT_FORMATS.values())}, got {suffix!r}. Rename it, or give --format."
    )


def default_format(path: Path | None) -> str:
    """The format for what a token file decodes to: WAV for a sound, MP4 for a clip, else PNG."""
    from vqkit.files import TokenReader

    try:
        if path is None or not path.is_file():
            return DEFAULT_FORMATS["image"]
        with TokenReader(path) as reader:
            modality = reader.header.modality
    except (VqkitError, OSError):  # it is said when the file's turn comes
        return DEFAULT_FORMATS["image"]
    return DEFAULT_FORMATS.get(modality, DEFAULT_FORMATS["image"])


def refuse_media_name(output: str | None) -> None:
    """Refuse to write a token file under the name of a picture or a sound: another verb's work.

    Raises:
        UsageError: The name ends like one.
    """
    from vqkit.media import AUDIO_SUFFIXES, IMAGE_SUFFIXES, VIDEO_SUFFIXES

    suffix = Path(output or "").suffix.lower()
    # Files of video may hold sound alone, and are known by it too.
    kinds = (("picture", IMAGE_SUFFIXES), ("video", VIDEO_SUFFIXES), ("sound", AUDIO_SUFFIXES))
    for what, suffixes in kinds:
        if suffix in suffixes:
            raise UsageError(
                f"-o {output}: expected a name for a token file ({TOKEN_SUFFIX}), got a {what}'s. "
                f"vqkit reconstruct writes {what}s."
            )


def media_path(path: Path, format: str) -> Path:
    """``photo.jpg.vqt`` -> ``photo.png``, and so for any name of media.

    >>> media_path(Path("tokens/photo.jpg.vqt"), "png").as_posix()
    'tokens/photo.png'
    """
    from vqkit.media import AUDIO_SUFFIXES, IMAGE_SUFFIXES, VIDEO_SUFFIXES

    if path.suffix == TOKEN_SUFFIX:
        path = path.with_suffix("")
    if path.suffix.lower() in IMAGE_SUFFIXES | AUDIO_SUFFIXES | VIDEO_SUFFIXES:
        path = path.with_suffix("")
    return path.with_name(path.name + OUTPUT_FORMATS[format])


def facts_of(info: "TokenFileInfo") -> dict[str, Any]:
    """What a batch says of a token file."""
    return {
        "media": dict(info.media),
        "num_tokens": info.num_tokens,
        "size_bytes": info.size_bytes,
        **rate_facts(info.media, info.size_bytes),
    }
