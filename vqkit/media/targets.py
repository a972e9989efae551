"""Where the bytes of a media file go: a path, all of them or none, or a stream."""

import io
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, runtime_checkable

from vqkit.errors import MediaError

__all__ = ["BinaryWriter", "MediaTarget", "check_free", "opened_whole", "suffix_of", "write_whole"]


@runtime_checkable
class BinaryWriter(Protocol):
    """Whatever bytes can be written to: an open file, a pipe."""

    def write(self, data: bytes, /) -> object:
        """Write all of the bytes."""
        ...


MediaTarget = str | os.PathLike[str] | BinaryWriter
"""A path or a binary stream."""


def suffix_of(target: MediaTarget) -> str:
    """The ending of a path in small letters; empty for a stream."""
    return Path(target).suffix.lower() if isinstance(target, (str, os.PathLike)) else ""


def check_free(target: MediaTarget, overwrite: bool) -> None:
    """Refuse a path that exists, before any work is done for it.

    Raises:
        MediaError: the file exists and may not be replaced.
    """
    if isinstance(target, (str, os.PathLike)) and Path(target).exists() and not overwrite:
        raise MediaError(f"Cannot write {str(target)!r}: the file exists. Allow it with overwrite.")


def write_whole(data: bytes, target: MediaTarget) -> None:
    """Write a file under a temporary name in the same folder and then rename it.

    Raises:
        MediaError: the path cannot be written; nothing is left behind.
    """
    with opened_whole(target) as file:
        file.write(data)


@contextmanager
def opened_whole(target: MediaTarget) -> Iterator[io.BufferedIOBase]:
    """A file to write and to seek in, which appears under its name when it is complete.

    A path is written under a temporary name in the same folder; what goes to a stream is kept in
    memory until it is complete. After an exception nothing is left behind.

    Raises:
        MediaError: the path cannot be written.
    """
    if not isinstance(target, (str, os.PathLike)):
        memory = io.BytesIO()
        yield memory
        target.write(memory.getvalue())
        return
    path = Path(target)
    # A name of its own, so that two writers never share a file and long names stay legal.
    temporary = path.with_name(f".vqkit-{secrets.token_hex(8)}.part")
    try:
        with temporary.open("x+b") as file:
            yield file
        temporary.replace(path)
    except OSError as error:
        raise MediaError(f"Cannot write {str(path)!r}: {error.strerror}.") from error
    finally:
        temporary.unlink(missing_ok=True)
