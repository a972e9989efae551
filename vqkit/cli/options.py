"""Options that several verbs share, and the parser that all of them use."""

import argparse
import textwrap
from collections.abc import Sequence
from typing import Any, NoReturn

__all__ = [
    "AUDIO_FORMATS",
    "OUTPUT_FORMATS",
    "PICTURE_FORMATS",
    "VIDEO_FORMATS",
    "Parser",
    "add_audio_track_option",
    "add_batch_options",
    "add_codebooks_option",
    "add_cutting_options",
    "add_media",
    "add_model_options",
    "add_output_options",
    "add_talk_options",
    "add_token_files",
    "add_trust_option",
    "kilobits",
    "positive",
    "seconds",
]

PICTURE_FORMATS = {
    "png": ".png",
    "jpeg": ".jpg",
    "webp": ".webp",
    "avif": ".avif",
    "tiff": ".tiff",
    "bmp": ".bmp",
    "ppm": ".ppm",
}
AUDIO_FORMATS = {
    "wav": ".wav",
    "flac": ".flac",
    "ogg": ".ogg",
    "opus": ".opus",
    "mp3": ".mp3",
    "m4a": ".m4a",
}
VIDEO_FORMATS = {
    "mp4": ".mp4",
    "mov": ".mov",
    "mkv": ".mkv",
    "webm": ".webm",
    "gif": ".gif",
    "y4m": ".y4m",
}
OUTPUT_FORMATS = {**PICTURE_FORMATS, **AUDIO_FORMATS, **VIDEO_FORMATS}
"""Formats that decoded media are written in, and their file name endings."""

_HELP_WIDTH = 100


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """The same text on every terminal and in every version of Python."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28, width=_HELP_WIDTH)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        return f"{', '.join(action.option_strings)} {self._format_args(action, '')}"


class Parser(argparse.ArgumentParser):
    """Errors in one line; options and names in any order, names alone after ``--``."""

    def __init__(self, *, description: str = "", **settings: Any) -> None:
        super().__init__(
            description=textwrap.fill(description, _HELP_WIDTH),
            formatter_class=_Formatter,
            allow_abbrev=False,
            **settings,
        )
        self.names = ""
        self.required_names: str | None = None

    def add_names(self, name: str, metavar: str, help: str, *, required: bool = True) -> None:
        """Add the positional arguments."""
        self.add_argument(name, metavar=metavar, nargs="*", help=help)
        self.names = name
        self.required_names = metavar if required else None

    def parse(self, words: Sequence[str]) -> argparse.Namespace:
        """Parse the words after the verb; leaves the program on wrong ones, as argparse does."""
        words = [*words]
        end = words.index("--") if "--" in words else len(words)
        parsed = self.parse_intermixed_args(words[:end])
        names = [*getattr(parsed, self.names), *words[end + 1 :]]
        if self.required_names and not names:
            self.error(f"expected at least one {self.required_names}")
        if "" in names:
            self.error("expected names, got an empty one")
        setattr(parsed, self.names, names)
        return parsed

    def error(self, message: str) -> NoReturn:
        """One line and exit status 2."""
        self.exit(2, f"{self.prog}: {message}. See: {self.prog} --help\n")


def positive(text: str) -> int:
    """A whole number from 1 on, for ``add_argument(type=...)``."""
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, got {text!r}")
    return number


def add_media(parser: Parser, what: str = "image, audio or video files") -> None:
    """Media files and folders, and how they are read."""
    parser.add_names("media", "MEDIA", f"{what}, folders of them, or - for standard input")
    _add_recursive(parser)
    parser.add_argument(
        "--alpha",
        choices=("white", "black", "refuse"),
        default="white",
        help="what transparent pixels are laid over (default: white)",
    )


def add_audio_track_option(parser: Parser) -> None:
    """Which sound of a file that has several."""
    parser.add_argument(
        "--audio-track",
        type=_track,
        metavar="N",
        help="which audio track of a video, from 0 (default: 0, and it is said if there are more)",
    )


def _track(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"expected a number of a track from 0, got {text!r}")
    return int(text)


def add_token_files(parser: Parser) -> None:
    """Token files and folders of them."""
    parser.add_names(
        "files", "FILE", "token files (.vqt), folders of them, or - for standard input"
    )
    _add_recursive(parser)


def _add_recursive(parser: Parser) -> None:
    parser.add_argument(
        "-r", "--recursive", action="store_true", help="search folders below folders as well"
    )


def add_model_options(parser: Parser, *, required: bool, help: str) -> None:
    """Which model, and where it computes."""
    group = parser.add_argument_group("model")
    group.add_argument("-m", "--model", required=required, metavar="MODEL", help=help)
    group.add_argument(
        "--revision", metavar="NAME", help="branch, tag or commit of a model on the hub"
    )
    add_trust_option(group)
    group.add_argument(
        "--device",
        default="auto",
        metavar="NAME",
        help="cpu, cuda, cuda:1, ... (default: auto, a GPU if there is one)",
    )


def add_trust_option(parser: argparse._ActionsContainer) -> None:
    """Whose classes a model may name."""
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="PACKAGE",
        help="package outside vqkit whose classes the model may name; may be repeated",
    )


def kilobits(text: str) -> float:
    """A rate above 0, for ``add_argument(type=...)``."""
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0.0 < rate < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a rate above 0 in kbit/s, got {text!r}")
    return rate


def seconds(text: str) -> float:
    """A positive duration, ``inf`` too, for ``add_argument(type=...)``."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not value > 0:
        raise argparse.ArgumentTypeError(f"expected more than 0 seconds, got {text!r}")
    return value


def add_codebooks_option(parser: Parser, verb: str, *, bitrate: bool = False) -> None:
    """A prefix of a residual quantizer's levels, by their number or by what they may cost."""
    group = parser.add_mutually_exclusive_group()
    if bitrate:
        group.add_argument(
            "--bitrate",
            type=kilobits,
            metavar="KBPS",
            help=f"{verb} as many codebooks of a sound as have this nominal rate in kbit/s",
        )
    group.add_argument(
        "--codebooks",
        type=positive,
        metavar="N",
        help=f"{verb} the first N codebooks alone: fewer bits, coarser media",
    )


def add_cutting_options(parser: Parser, verb: str) -> None:
    """How much of long and large media is in memory; for encoding, how large they may be."""
    group = parser.add_argument_group(
        "long and large media", "Memory does not grow with them, if the model can do with a part."
    )
    group.add_argument(
        "--chunk-seconds",
        type=seconds,
        metavar="S",
        help=f"{verb} longer sounds in chunks of S seconds; the model's state goes from chunk to "
        "chunk, and inf is one chunk (default: 2 on a CPU, 60 on a GPU)",
    )
    group.add_argument(
        "--chunk-frames",
        type=positive,
        metavar="N",
        help=f"{verb} longer clips in chunks of N frames, in the same way (default: 16 on a CPU, "
        "64 on a GPU)",
    )
    group.add_argument(
        "--tile-pixels",
        type=positive,
        metavar="N",
        help=f"{verb} larger pictures and frames in tiles of N pixels a side (default: in tiles of "
        "512 what has more than 2 megapixels)",
    )
    group.add_argument(
        "--tile-overlap-pixels",
        type=positive,
        metavar="N",
        help="what neighbouring tiles have in common (default: 128, or all of a smaller tile)",
    )
    if verb == "encode":
        group.add_argument(
            "--max-pixels",
            type=positive,
            default=1 << 28,
            metavar="N",
            help="refuse pictures of more pixels before anything of them is decoded (default: 268 "
            "million)",
        )


def add_output_options(parser: Parser, *, default: str, format: bool) -> None:
    """Where results go."""
    group = parser.add_argument_group("output", default)
    where = group.add_mutually_exclusive_group()
    where.add_argument(
        "-o", "--output", metavar="FILE", help="the one file to write, - for standard output"
    )
    where.add_argument(
        "--output-dir", metavar="DIR", help="write here; trees below named folders are kept"
    )
    if format:
        group.add_argument(
            "--format",
            choices=OUTPUT_FORMATS,
            help="format of the media (default: by the name of -o, else png, wav or mp4)",
        )
    group.add_argument("-f", "--force", action="store_true", help="overwrite files that exist")
    group.add_argument(
        "-n", "--dry-run", action="store_true", help="list what would be written and stop"
    )


def add_batch_options(parser: Parser) -> None:
    """Talk, and the bar that comes with many files."""
    group = add_talk_options(parser)
    group.add_argument("--no-progress", action="store_true", help="no bar, even on a terminal")


def add_talk_options(parser: Parser) -> argparse._ArgumentGroup:
    """How much is said and in what form."""
    group = parser.add_argument_group("talk")
    loudness = group.add_mutually_exclusive_group()
    loudness.add_argument(
        "-q",
        "--quiet",
        action="store_const",
        dest="verbosity",
        const=-1,
        default=0,
        help="say nothing but errors",
    )
    loudness.add_argument(
        "-v",
        "--verbose",
        action="store_const",
        dest="verbosity",
        const=1,
        help="say what becomes of every file",
    )
    group.add_argument(
        "--json", action="store_true", help="write one JSON document to standard output"
    )
    group.add_argument(
        "--debug", action="store_true", help="show where in the program errors come from"
    )
    return group
