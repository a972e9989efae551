"""From names on the command line to the files that a verb reads."""

import io
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from vqkit.cli.console import explain
from vqkit.cli.usage_error import UsageError
from vqkit.errors import VqkitError

__all__ = ["STANDARD_STREAM", "TOKEN_SUFFIX", "Source", "expand", "find_token_files", "is_dataset"]

STANDARD_STREAM = "-"
TOKEN_SUFFIX = ".vqt"
_MANIFEST = "manifest.json"  # as vqkit.files.dataset has it, without loading that

Find = Callable[[Path, bool], list[Path]]
"""Files in a folder, with the folders below it or without."""


@dataclass(frozen=True)
class Source:
    """One thing to read.

    Attributes:
        path: The file; None for standard input.
        relative: Where it lies below the folder that was named; its name if it was named itself.
        problem: Why nothing can be read there; it fails when its turn comes, and the others go on.
    """

    path: Path | None
    relative: Path = Path()
    problem: str = ""

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return STANDARD_STREAM if self.path is None else str(self.path)

    def open(self) -> Path | io.BufferedIOBase:
        """What readers take: the path, or the stream."""
        return cast(io.BufferedIOBase, sys.stdin.buffer) if self.path is None else self.path


def expand(names: Sequence[str], find: Find, *, recursive: bool, what: str) -> list[Source]:
    """List what the names stand for: files, the files in folders, standard input.

    Args:
        names: From the command line.
        find: Lists the files of the right kind in a folder.
        recursive: Search folders below folders.
        what: The kind of files, for messages.

    Raises:
        UsageError: Standard input is a terminal or named twice.
    """
    if names.count(STANDARD_STREAM) > 1:
        raise UsageError("Standard input: expected - once, got it twice.")
    sources: list[Source] = []
    for name in names:
        if name == STANDARD_STREAM:
            if sys.stdin.isatty():
                raise UsageError(
                    f"Standard input: expected {what}, got a terminal. Name a file, or pipe one in."
                )
            sources.append(Source(None))
        else:
            sources += _expand_path(Path(name), find, recursive, what)
    return sources


def find_token_files(folder: Path, recursive: bool) -> list[Path]:
    """Token files in a folder by their ending, sorted; names that begin with a dot are left out."""
    found = folder.rglob(f"*{TOKEN_SUFFIX}") if recursive else folder.glob(f"*{TOKEN_SUFFIX}")
    relative = (path.relative_to(folder) for path in found if path.is_file())
    visible = (path for path in relative if not any(part[0] == "." for part in path.parts))
    return [folder / path for path in sorted(visible, key=lambda path: path.parts)]


def is_dataset(name: str) -> bool:
    """Whether a name is that of a finished data set of tokens, or of a place on an object store."""
    return "://" in name or (Path(name) / _MANIFEST).is_file()


def _expand_path(path: Path, find: Find, recursive: bool, what: str) -> list[Source]:
    try:
        if not path.is_dir():
            # A pipe is a file too; what is missing says so when it is opened.
            return [Source(path, Path(path.name))]
        found = find(path, recursive)
    except (VqkitError, OSError) as error:
        return [Source(path, problem=explain(error))]
    if not found:
        return [Source(path, problem=_nothing_found(path, recursive, what))]
    return [Source(file, file.relative_to(path)) for file in found]


def _nothing_found(folder: Path, recursive: bool, what: str) -> str:
    has_folders = any(entry.is_dir() for entry in folder.iterdir())
    hint = " Search the folders below it with -r." if has_folders and not recursive else ""
    return f"Cannot find {what} in {str(folder)!r}.{hint}"
