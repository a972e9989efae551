"""What a command says: talk on standard error, data on standard output."""

import json
import logging
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from vqkit.errors import VqkitError

__all__ = ["Console", "explain", "named_reason", "printable"]


class Console:
    """Says as much as was asked for.

    Args:
        program: What lines of talk begin with.
        verbosity: -1 for errors alone, 0 for a summary too, 1 for every file too.
        debug: Show where errors come from.
    """

    def __init__(self, program: str, verbosity: int = 0, debug: bool = False) -> None:
        self.program = program
        self.verbosity = verbosity
        self.debug = debug

    def error(self, text: str) -> None:
        """Say what went wrong."""
        self._say(f"{self.program}: {text}")

    def note(self, text: str) -> None:
        """Say what was done, unless told to be quiet."""
        if self.verbosity >= 0:
            self._say(text)

    def detail(self, text: str) -> None:
        """Say it if told to be verbose."""
        if self.verbosity >= 1:
            self._say(text)

    def failure(self, error: BaseException, name: str = "") -> None:
        """Say in one line why something failed; with ``debug``, where in the program."""
        if self.debug:
            self._say("".join(traceback.format_exception(error)).rstrip())
        self.error(named_reason(name, explain(error)))

    def data(self, text: str) -> None:
        """Write a line of results."""
        stream = sys.stdout
        encoding = stream.encoding or "utf-8"
        # A name that the terminal's encoding lacks must not end the command.
        print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream)

    def document(self, content: Mapping[str, Any]) -> None:
        """Write results as one JSON document."""
        print(json.dumps(content, indent=2, allow_nan=False))

    @contextmanager
    def logging(self) -> Iterator[None]:
        """Show what the library logs from warnings on, like everything else that is said."""
        handler = _Handler(self)
        logger = logging.getLogger("vqkit")
        propagates = logger.propagate
        logger.addHandler(handler)
        logger.propagate = False
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.propagate = propagates

    @staticmethod
    def _say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)


class _Handler(logging.Handler):
    def __init__(self, console: Console) -> None:
        super().__init__(logging.WARNING)
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        self.console.note(f"{self.console.program}: {printable(record.getMessage())}")


def explain(error: BaseException) -> str:
    """An error in one line."""
    if isinstance(error, VqkitError):
        text = str(error)
    elif isinstance(error, OSError) and error.strerror:
        text = f"{error.strerror} ({error.filename})" if error.filename else error.strerror
    elif isinstance(error, MemoryError):
        text = "there is not enough memory"
    else:
        text = f"{type(error).__name__}: {error}. This is unexpected; --debug shows where"
    return printable(" ".join(line.strip() for line in text.splitlines() if line.strip()))


def named_reason(name: str, reason: str) -> str:
    """A reason with the name of what it is about, unless it says that itself."""
    return reason if name in reason else f"{name}: {reason}"


def printable(text: str) -> str:
    r"""A text that does nothing to a terminal but show itself.

    >>> printable("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
