"""Where the bytes of a media file come from: a path, memory, or a stream."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, runtime_checkable

__all__ = ["BinaryReader", "MediaSource", "name_of", "opened"]


@runtime_checkable
class BinaryReader(Protocol):
    """Whatever bytes can be read from: an open file, a pipe, an answer of a server."""

    def read(self, size: int = -1, /) -> bytes:
        """Read up to so many bytes, or all there are."""
        ...


MediaSource = str | os.PathLike[str] | bytes | BinaryReader
"""A path, the bytes of a file, or a binary stream (read from where it stands to its end)."""


@contextmanager
def opened(source: MediaSource) -> Iterator[io.BufferedIOBase]:
    """Open a source at its first byte; a pipe that has a path cannot be sought in."""
    if isinstance(source, bytes):
        yield io.BytesIO(source)
    elif isinstance(source, (str, os.PathLike)):
        with Path(source).open("rb") as file:
            yield file
    else:
        # Decoders seek from the first byte: a stream that stands elsewhere is copied.
        yield io.BytesIO(source.read())


def name_of(source: MediaSource) -> str:
    """What messages call a source."""
    if isinstance(source, bytes):
        return "<bytes>"
    if isinstance(source, (str, os.PathLike)):
        return repr(str(source))
    return str(getattr(source, "name", "<stream>"))
