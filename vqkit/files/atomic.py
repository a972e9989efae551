"""Writing a file so that its name shows either nothing, the old content or all of the new."""

import errno
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from vqkit.errors import TokenFileError

__all__ = ["write_atomically"]

# What network file systems and folders without read permission answer.
_FOLDERS_NOT_SYNCHRONISED = (errno.EINVAL, errno.ENOTSUP, errno.EACCES)


def write_atomically(
    path: Path, data: bytes, *, overwrite: bool, check: Callable[[Path], None]
) -> None:
    """Write beside the target under another name, make it durable, check it, then rename.

    Whatever interrupts it, the target is missing, old or complete, never in between. A killed
    process may leave ``.vqkit-*.tmp`` beside it, which can be deleted.

    Args:
        path: the target; a symbolic link is followed.
        data: the whole content.
        overwrite: replace an existing file. Without it, of several writers one succeeds.
        check: called with the written file before it gets its name; what it raises undoes all.

    Raises:
        TokenFileError: if the target exists and may not be replaced, is no regular file, or the
            file system refuses.
    """
    path = Path(os.path.realpath(path))
    if not overwrite:
        _refuse_existing(path)
    if path.exists() and not path.is_file():
        raise TokenFileError(
            f"Cannot write {path}: it is not a regular file. "
            f"Open it and pass the stream, or choose another name."
        )
    temporary = path.parent / f".vqkit-{secrets.token_hex(8)}.tmp"
    try:
        try:
            _write_durably(temporary, data)
            check(temporary)
            if overwrite:
                temporary.replace(path)
            else:
                _name_if_free(temporary, path)
            _sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise TokenFileError(
            f"Cannot write {path}: {error.strerror or error}. "
            f"Check that the folder exists, is writable and has space."
        ) from error


def _refuse_existing(path: Path) -> None:
    if os.path.lexists(path):
        raise TokenFileError(
            f"Cannot write {path}: the file exists. "
            f"Choose another name, or overwrite it with overwrite=True (-f on the command line)."
        )


def _write_durably(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _name_if_free(temporary: Path, path: Path) -> None:
    """Give the file its name unless somebody took it meanwhile: linking fails where it exists."""
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        _refuse_existing(path)
        raise
    except OSError:  # a file system without hard links
        _refuse_existing(path)
        temporary.replace(path)


def _sync_folder(folder: Path) -> None:
    """Make the new name survive a power cut, where folders can be synchronised at all."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _FOLDERS_NOT_SYNCHRONISED:
            raise
