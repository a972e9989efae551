"""``vqkit``: parse, dispatch to the verb, turn errors into one line and an exit status."""

import argparse
import difflib
import os
import sys
from collections.abc import Sequence
from typing import Any

from vqkit.cli import (
    bench,
    codebook,
    convert,
    dataset,
    decode,
    encode,
    evaluate,
    info,
    prior,
    reconstruct,
    report,
    tables,
    usage,
    verify,
)
from vqkit.cli import list as list_verb
from vqkit.cli.console import Console
from vqkit.cli.exit_status import ExitStatus
from vqkit.cli.options import Parser
from vqkit.cli.usage_error import UsageError
from vqkit.errors import ConfigError, MissingExtraError, VqkitError

__all__ = ["main", "make_parser"]

_VERBS = (
    encode,
    decode,
    reconstruct,
    verify,
    info,
    usage,
    tables,
    evaluate,
    report,
    prior,
    codebook,
    convert,
    dataset,
    bench,
    list_verb,
)
_EPILOG = """\
Two grammars: train hands key=value to Hydra (vqkit train --help); all others take the options
that vqkit VERB --help lists, in any order, with -- before names that begin with a dash.

Exit status: 0 all done, 1 some input failed, 2 wrong usage, 130 interrupted.

  vqkit train recipe=image/quickstart
  vqkit encode photos -r -m MODEL --output-dir tokens
  vqkit verify tokens -r
  vqkit decode tokens -r --output-dir decoded
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Words after the program's name; None for those of this process.

    Returns:
        The exit status: 0 all done, 1 some input failed, 2 wrong usage, 130 interrupted.
    """
    words = sys.argv[1:] if arguments is None else [*arguments]
    # Hydra reads its own grammar, --help included.
    if words[:1] == ["train"]:
        from vqkit.cli.train import main as train

        return train(words[1:])
    try:
        parsed = _parse(words)
    except SystemExit as stop:  # argparse has said why
        return stop.code if isinstance(stop.code, int) else ExitStatus.WRONG_USAGE
    return _run(parsed, Console(f"vqkit {parsed.verb}", parsed.verbosity, parsed.debug))


def make_parser() -> tuple[Parser, dict[str, Parser]]:
    """The parser of ``vqkit`` alone and those of its verbs but ``train``."""
    parser = Parser(
        prog="vqkit",
        usage="vqkit VERB ...",
        description="Train tokenizers, turn media into token files (.vqt) and back.",
        epilog=_EPILOG,
    )
    parser.add_argument("-V", "--version", action=_Version, help="print the version and stop")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", prog="vqkit", parser_class=Parser)
    verbs.add_parser("train", help="train a tokenizer from a recipe", add_help=False)
    for verb in _VERBS:
        verb.add_parser(verbs)
    choices: dict[str, Parser] = {**verbs.choices}
    del choices["train"]
    return parser, choices


def _parse(words: Sequence[str]) -> argparse.Namespace:
    """The words as settings; leaves the program on wrong ones and after ``--help``."""
    parser, verbs = make_parser()
    if not words:
        parser.error("expected a verb, got nothing")
    verb = words[0]
    if verb in verbs:
        return verbs[verb].parse(words[1:])
    if verb.startswith("-"):
        parser.parse_args(words)
        parser.error(f"expected a verb first, got {verb!r}")
    near = difflib.get_close_matches(verb, [*verbs, "train"], n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    parser.error(f"expected a verb, got {verb!r}{hint}")


def _run(parsed: argparse.Namespace, console: Console) -> int:
    try:
        with console.logging():
            status: int = parsed.run(parsed, console)
            sys.stdout.flush()
            return status
    except KeyboardInterrupt:
        console.error("Interrupted.")
        return ExitStatus.INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has left; what Python flushes at exit must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitStatus.SOME_FAILED
    except (UsageError, ConfigError, MissingExtraError) as error:
        console.failure(error)
        return ExitStatus.WRONG_USAGE
    except (VqkitError, OSError) as error:
        console.failure(error)
        return ExitStatus.SOME_FAILED


class _Version(argparse.Action):
    """Looks the version up when it is asked for: reading package metadata takes its time."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, nargs=0)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from vqkit import __version__

        print(f"vqkit {__version__}")
        parser.exit()
