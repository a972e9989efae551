"""Writing a file so that its name shows either nothing, the old content or all of the new."""

import errno
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from vqkit.errors import TokenFileError

__all__ = ["create_durably", "is_temporary", "replace_durably", "write_atomically"]

_TEMPORARY_START, _TEMPORARY_END = ".vqkit-", ".tmp"

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
    if not overwrite and os.path.lexists(path):
        raise _name_is_taken(path)
    if path.exists() and not path.is_file():
        raise TokenFileError(
            f"Cannot write {path}: it is not a regular file. "
            f"Open it and pass the stream, or choose another name."
        )
    try:
        if overwrite:
            replace_durably(path, data, check)
        elif not create_durably(path, data, check):
            raise _name_is_taken(path)
    except OSError as error:
        raise TokenFileError(
            f"Cannot write {path}: {error.strerror or error}. "
            f"Check that the folder exists, is writable and has space."
        ) from error


def replace_durably(
    path: Path, data: bytes, check: Callable[[Path], None] = lambda _: None
) -> None:
    """Give a file a content, over what it holds; what fails leaves it as it was.

    Raises:
        OSError: The file system refuses.
    """
    with _written(path, data, check) as temporary:
        temporary.replace(path)


def create_durably(path: Path, data: bytes, check: Callable[[Path], None] = lambda _: None) -> bool:
    """Write a file unless its name is taken, which False tells; of several writers one succeeds.

    Where the file system has no hard links, two that come at the same instant may both succeed.

    Raises:
        OSError: The file system refuses.
    """
    if os.path.lexists(path):
        return False
    with _written(path, data, check) as temporary:
        return _name_if_free(temporary, path)


def is_temporary(path: Path) -> bool:
    """Whether a file is one that these functions write before it gets its name."""
    return path.name.startswith(_TEMPORARY_START) and path.name.endswith(_TEMPORARY_END)


@contextmanager
def _written(path: Path, data: bytes, check: Callable[[Path], None]) -> Iterator[Path]:
    """A durable file beside the target, to be renamed; the folder is made durable after that."""
    temporary = path.parent / f"{_TEMPORARY_START}{secrets.token_hex(8)}{_TEMPORARY_END}"
    try:
        _write_durably(temporary, data)
        check(temporary)
        yield temporary
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _name_is_taken(path: Path) -> TokenFileError:
    return TokenFileError(
        f"Cannot write {path}: the file exists. "
        f"Choose another name, or overwrite it with overwrite=True (-f on the command line)."
    )


def _write_durably(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _name_if_free(temporary: Path, path: Path) -> bool:
    """Give the file its name unless somebody took it meanwhile: linking fails where it exists."""
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        if os.path.lexists(path):
            return False
        temporary.replace(path)
    return True


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
