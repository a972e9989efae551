"""What sets of files have in common: folders, lists, and a cache of what was decoded."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor

from vqkit.errors import ConfigError, MediaError

__all__ = ["ItemCache", "check_some", "files_in_folders", "files_of_list"]


class ItemCache:
    """Decoded items in memory, until they take so much.

    Every item is asked for equally often, so none is ever dropped for another.

    Args:
        size_bytes: how much they may take.
    """

    def __init__(self, size_bytes: int) -> None:
        self._left_bytes = size_bytes
        self._items: dict[int, Tensor] = {}

    def get(self, index: int) -> Tensor | None:
        """The item, if it is kept."""
        return self._items.get(index)

    def has_room(self, size_bytes: int) -> bool:
        """Whether an item of this size would be kept; once not, never again."""
        return size_bytes <= self._left_bytes

    def offer(self, index: int, item: Tensor) -> None:
        """Keep an item if there is room."""
        if self.has_room(item.nbytes):
            self._items[index] = item
            self._left_bytes -= item.nbytes


def check_some(paths: Sequence[str | os.PathLike[str]], kind: str) -> None:
    """Refuse an empty set.

    Raises:
        MediaError: there are no files.
    """
    if not paths:
        raise MediaError(f"A set of {kind} needs at least one file, got none.")


def files_in_folders(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    find: Callable[..., list[Path]],
    kind: str,
    *,
    recursive: bool,
) -> list[Path]:
    """The files of one kind in a folder or several, one folder after the other.

    Args:
        path: the folders.
        find: ``find_images`` or ``find_audio`` of ``vqkit.media``.
        kind: what messages call them.
        recursive: search the folders below as well.

    Raises:
        MediaError: a folder does not exist or holds none.
    """
    folders = [path] if isinstance(path, (str, os.PathLike)) else path
    paths: list[Path] = []
    for folder in folders:
        found = find(folder, recursive=recursive)
        if not found:
            raise MediaError(f"No {kind} in {str(folder)!r}. Name a folder that holds some.")
        paths += found
    return paths


def files_of_list(path: str | os.PathLike[str], kind: str) -> list[Path]:
    """The files named in a text file, one per line, relative to its folder.

    Empty lines and lines that begin with ``#`` say nothing.

    Raises:
        ConfigError: the list cannot be read or is no text.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise ConfigError(
            f"Cannot read the list of {kind} {str(path)!r}: {error.strerror}."
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"Cannot read the list of {kind} {str(path)!r}: expected UTF-8 text, one path per "
            f"line, got {error.reason}."
        ) from error
    named = [line.strip() for line in lines]
    folder = Path(path).parent
    return [folder / line for line in named if line and not line.startswith("#")]
