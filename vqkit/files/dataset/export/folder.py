"""A folder that appears whole or not at all."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vqkit.errors import ConfigError, StorageError

__all__ = ["new_folder"]


@contextmanager
def new_folder(path: Path, mark: str, *, overwrite: bool) -> Iterator[Path]:
    """A folder to write into, beside the target, which gets its name when all is well.

    A killed process may leave ``.vqkit-*.tmp`` there, which can be deleted.

    Args:
        path: The target.
        mark: A file that a folder of this kind has; no other folder is replaced.
        overwrite: Replace a folder that exists.

    Raises:
        ConfigError: The target exists and may not be replaced.
        StorageError: The file system refuses.
    """
    path = path.absolute()
    if path.exists() and not (overwrite and (path / mark).is_file()):
        reason = f"it exists and holds no {mark}" if overwrite else "it exists"
        hint = "" if overwrite else ", or overwrite it with overwrite=True (-f on the command line)"
        raise ConfigError(f"Cannot write {path}: {reason}. Choose another name{hint}.")
    temporary = path.parent / f".vqkit-{secrets.token_hex(8)}.tmp"
    try:
        temporary.mkdir(parents=True)
        try:
            yield temporary
            for file in temporary.iterdir():
                _synchronise(file)
            if path.exists():
                shutil.rmtree(path)
            temporary.rename(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise StorageError(
            f"Cannot write {path}: {error.strerror or error}. "
            f"Check the name, the rights and the space on the disk."
        ) from error


def _synchronise(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
