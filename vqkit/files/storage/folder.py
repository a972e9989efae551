"""Files below a folder of a disk."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import final

from vqkit.errors import StorageError
from vqkit.files.atomic import create_durably, is_temporary, replace_durably
from vqkit.files.storage.storage import SeekableFile, Storage, checked_name

__all__ = ["FolderStorage"]


@final
class FolderStorage(Storage):
    """A folder; a file is written under another name, made durable, then renamed."""

    def __init__(self, location: str) -> None:
        self.root = Path(location).expanduser().absolute()
        super().__init__(str(self.root))

    def read(self, name: str) -> bytes:
        """The content of a file."""
        with self._explained("read", name) as path:
            return path.read_bytes()

    def open(self, name: str) -> SeekableFile:
        """A file to read and seek in."""
        with self._explained("read", name) as path:
            return path.open("rb")

    def write(self, name: str, data: bytes) -> None:
        """Write whole or not at all, over what exists."""
        with self._explained("write", name) as path:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_durably(path, data)

    def create(self, name: str, data: bytes) -> bool:
        """Write whole unless the name is taken."""
        with self._explained("write", name) as path:
            path.parent.mkdir(parents=True, exist_ok=True)
            return create_durably(path, data)

    def names(self, prefix: str = "") -> list[str]:
        """All names that begin with ``prefix``, sorted."""
        found = (path.relative_to(self.root).as_posix() for path in self._files())
        return sorted(
            name for name in found if name.startswith(prefix) and not is_temporary(Path(name))
        )

    def exists(self, name: str) -> bool:
        """Whether there is a file of this name."""
        with self._explained("look at", name) as path:
            return path.is_file()

    def size(self, name: str) -> int:
        """Length in bytes."""
        with self._explained("look at", name) as path:
            return path.stat().st_size

    def remove(self, name: str) -> None:
        """Delete a file if it is there."""
        with self._explained("remove", name) as path:
            path.unlink(missing_ok=True)

    def remove_temporaries(self, older_than_seconds: float) -> int:
        """Delete what killed writers left; returns how many files."""
        newest = time.time() - older_than_seconds
        removed = 0
        for path in self._files():
            try:
                if is_temporary(path) and path.stat().st_mtime <= newest:
                    path.unlink()
                    removed += 1
            except FileNotFoundError:  # its writer has just finished
                continue
        return removed

    def _files(self) -> Iterator[Path]:
        with self._explained("list", None):
            for folder, _, files in os.walk(self.root, onerror=_raise_unless_missing):
                yield from (Path(folder, file) for file in files)

    @contextmanager
    def _explained(self, verb: str, name: str | None) -> Iterator[Path]:
        path = self.root if name is None else self.root / checked_name(name)
        try:
            yield path
        except OSError as error:
            raise StorageError(
                f"Cannot {verb} {path}: {error.strerror or error}. "
                f"Check the name, the rights and the space on the disk."
            ) from error


def _raise_unless_missing(error: OSError) -> None:
    # A folder that is removed while it is listed holds nothing.
    if not isinstance(error, FileNotFoundError):
        raise error
