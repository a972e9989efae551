"""What token files are read from and written to: paths, bytes, binary streams."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from vqkit.errors import TokenFileError
from vqkit.files.reader import Readable, Reader

__all__ = ["FilePath", "Source", "Target", "Writable", "opened", "stream_name", "write_stream"]


@runtime_checkable
class Writable(Protocol):
    """A binary stream to write to."""

    def write(self, data: Any, /) -> Any:
        """Write bytes; a raw stream returns how many it took."""


FilePath = str | os.PathLike[str]
Source = FilePath | bytes | bytearray | memoryview | Readable
Target = FilePath | Writable


@contextmanager
def opened(source: Source) -> Iterator[Reader]:
    """A reader of the source, whose problems become `TokenFileError`."""
    if isinstance(source, bytes | bytearray | memoryview):
        with io.BytesIO(source) as stream, Reader(stream, "the bytes given").explained() as reader:
            yield reader
    elif isinstance(source, Readable):
        with Reader(source, stream_name(source)).explained() as reader:
            yield reader
    else:
        path = Path(source)
        try:
            file = path.open("rb")
        except OSError as error:
            raise TokenFileError(
                f"Cannot read {path}: {error.strerror or error}. Check the name and the rights."
            ) from error
        with file, Reader(file, str(path)).explained() as reader:
            yield reader


def write_stream(stream: Writable, data: bytes) -> None:
    """Write all of the data; a raw stream may take a part of it at a time."""
    try:
        rest = memoryview(data)
        while rest:
            taken = stream.write(rest)
            rest = rest[len(rest) if taken is None else taken :]
        if isinstance(stream, io.IOBase):
            stream.flush()
    except (OSError, TypeError) as error:
        raise TokenFileError(
            f"Cannot write to {stream_name(stream)}: {error}. Give a writable binary stream."
        ) from error


def stream_name(stream: object) -> str:
    """What a stream is called in messages."""
    name = getattr(stream, "name", None)
    return name if isinstance(name, str) else "the stream"
