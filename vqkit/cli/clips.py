"""Clips for the verbs: which time of a file is taken, and what becomes of its sound."""

import argparse
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqkit.cli.console import Console
from vqkit.cli.models import ModelLoader
from vqkit.cli.options import Parser
from vqkit.cli.usage_error import UsageError
from vqkit.errors import ModelMismatchError, ShapeError

if TYPE_CHECKING:
    from vqkit.clip_sound import ClipSound
    from vqkit.files import TokenFileInfo
    from vqkit.media import AudioBlocks, AudioTrack, VideoInfo
    from vqkit.tokenizers import Tokenizer, Tokens

__all__ = [
    "SoundKeeper",
    "SoundPlayer",
    "add_sound_keeping_options",
    "add_sound_playing_options",
    "add_time_range_options",
    "note_tracks",
    "time_range_of",
]

_COPY, _NONE = "copy", "none"


def add_time_range_options(parser: Parser) -> None:
    """Which time of a sound or a clip."""
    parser.add_argument(
        "--start",
        type=_moment,
        metavar="S",
        help="begin with the frame or the sample that is shown or heard S seconds after the "
        "beginning of the file, or the next one (default: all of it)",
    )
    parser.add_argument(
        "--end",
        type=_moment,
        metavar="S",
        help="end before the frame or the sample that is shown or heard S seconds after it",
    )


def add_sound_keeping_options(parser: Parser) -> None:
    """What becomes of the sound of clips that are encoded."""
    parser.add_argument(
        "--audio",
        metavar="HOW",
        help="what becomes of the sound of a video: copy, as it is, into the token file; the name "
        "of a model of sounds, whose tokens go into the token file; or none (default: copy)",
    )


def add_sound_playing_options(parser: Parser) -> None:
    """What becomes of the sound in token files of clips."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--no-audio", action="store_true", help="leave out the sound of a clip that has one"
    )
    group.add_argument(
        "--audio-model",
        metavar="MODEL",
        help="folder, id or hub id of the model of sounds that made the sound of a clip, if it is "
        "elsewhere",
    )


def time_range_of(arguments: argparse.Namespace, modality: str) -> dict[str, Any]:
    """What ``--start`` and ``--end`` say, for readers.

    Raises:
        UsageError: A picture has no time, or there is none in between.
    """
    start, end = arguments.start, arguments.end
    if start is None and end is None:
        return {}
    if modality == "image":
        raise UsageError("--start, --end: expected a model of sounds or videos, got one of images.")
    if end is not None and end <= (start or 0):
        raise UsageError(f"--end: expected more than --start, got {float(end):g}.")
    return {"start_seconds": start or Fraction(0), "stop_seconds": end}


def note_tracks(num_tracks: int, name: str, chosen: int | None, console: Console) -> None:
    """Say that a file has other sounds than the one that is read, unless one was asked for."""
    if num_tracks > 1 and chosen is None:
        console.note(
            f"{name}: it has {num_tracks} audio tracks, and track 0 is taken. Choose another "
            "with --audio-track."
        )


class SoundKeeper:
    """Keeps the sound of clips as ``--audio`` says.

    Args:
        arguments: With ``audio`` and ``audio_track``, and what loads a model.
        modality: Of the model.
        console: Where it is said that a file has further sounds.

    Raises:
        UsageError: The model takes no clips, or that of ``--audio`` no sounds.
        ConfigError: There is no such model.
    """

    def __init__(self, arguments: argparse.Namespace, modality: str, console: Console) -> None:
        self._how, self._track = arguments.audio, arguments.audio_track
        self._console = console
        self.tokenizer: Tokenizer | None = None
        if self._how is None:
            self._how = _COPY
        elif modality != "video":
            raise UsageError(f"--audio: expected a model of videos with it, got one of {modality}.")
        if self._how in (_COPY, _NONE):
            return
        models = _loader_of(self._how, arguments, console)
        self.tokenizer = models.named()
        self._resources = models.resources_of(self.tokenizer)
        if self.tokenizer.frontend.modality != "audio":
            raise UsageError(
                f"--audio {self._how}: expected copy, none or a model of sounds, got a model of "
                f"{self.tokenizer.frontend.modality}."
            )

    def sound_of(
        self, info: "VideoInfo", file: Path | bytes, name: str, stop: Fraction | None
    ) -> "ClipSound | None":
        """How the sound of a file is kept; None if it has none, or it is not wanted."""
        from vqkit.clip_sound import CopiedSound, TokenizedSound

        if self._how == _NONE or (not info.audio and self._track is None):
            return None
        note_tracks(len(info.audio), name, self._track, self._console)
        track = self._track or 0
        if self.tokenizer is None:
            return CopiedSound(file, track, stop)
        return TokenizedSound(file, self.tokenizer, track, stop, resources=self._resources)


class SoundPlayer:
    """Gives back the sound of clips, as ``--no-audio`` and ``--audio-model`` say.

    Args:
        arguments: With these, and what loads a model.
        console: Where it is said that a format holds no sound.
        tokenizer: Of sounds, if it is known; else it is looked for.

    Raises:
        ConfigError: There is no such model.
    """

    def __init__(
        self,
        arguments: argparse.Namespace,
        console: Console,
        tokenizer: "Tokenizer | None" = None,
    ) -> None:
        self._is_silent = getattr(arguments, "no_audio", False)
        self._leaves_out_lost = getattr(arguments, "recover", False)
        self._console, self._tokenizer = console, tokenizer
        model = getattr(arguments, "audio_model", None)
        self._models = _loader_of(model, arguments, console)
        if model is not None:
            self._tokenizer = self._models.named()

    def sound_of(
        self, tokens: "Tokens", format: str, name: str
    ) -> "AudioBlocks | AudioTrack | None":
        """What is written beside the frames of a clip; None if there is nothing.

        Raises:
            ModelMismatchError: The model of the sound is not here.
            ShapeError: A part of the sound is lost.
            TokenFileError: Its tokens are damaged.
        """
        from vqkit.clip_sound import SOUND_STREAM, sound_of, soundtrack
        from vqkit.clips import WITHOUT_SOUND

        if self._is_silent or SOUND_STREAM not in tokens.streams:
            return None
        if format in WITHOUT_SOUND:
            self._console.note(f"{name}: {format} holds no sound, which is left out.")
            return None
        try:
            file = sound_of(tokens)
        except ShapeError as error:
            if not self._leaves_out_lost:
                raise
            self._console.error(f"{name}: the sound is left out. {error}")
            return None
        return None if file is None else soundtrack(file, self._model_for)

    def _model_for(self, info: "TokenFileInfo") -> "Tokenizer":
        if self._tokenizer is not None:
            return self._tokenizer
        try:
            return self._models.maker_of(info)
        except ModelMismatchError as error:
            raise ModelMismatchError(
                f"Sound of a clip: expected the model {info.tokenizer!r} with fingerprint "
                f"{info.fingerprint}, found none here. Name its folder with --audio-model, or "
                "leave the sound out with --no-audio."
            ) from error


def _loader_of(model: str | None, arguments: argparse.Namespace, console: Console) -> ModelLoader:
    """Loads a model of sounds beside that of ``--model``."""
    return ModelLoader(
        argparse.Namespace(
            model=model, revision=None, trust=arguments.trust, device=arguments.device
        ),
        console,
    )


def _moment(text: str) -> Fraction:
    """Seconds from 0 on, exactly as they are written."""
    try:
        seconds = Fraction(text)
    except (ValueError, ZeroDivisionError):
        seconds = Fraction(-1)
    if seconds < 0:
        raise argparse.ArgumentTypeError(f"expected seconds from 0 on, got {text!r}")
    return seconds
