"""One media item from wherever it lies to a tensor; runs in a child that may be killed over it."""

import errno
import hashlib
import io
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from torch import Tensor

from vqkit.errors import MediaError
from vqkit.media import Alpha, VideoReader
from vqkit.pipeline.clip_reading import OpenClip
from vqkit.pipeline.media_kinds import kind_of

__all__ = ["MAX_FILE_BYTES", "MediaReader", "MediaRequest", "ReadMedia"]

MAX_FILE_BYTES = 1 << 30
"""Larger files are refused: none that is decoded whole is as large, but a misnamed one may be."""

_WAIT_SECONDS = (0.2, 1.0)
# What no second attempt changes.
_LASTING_ERRORS = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)
_LASTING_NUMBERS = (errno.ENAMETOOLONG, errno.ELOOP)


@dataclass(frozen=True)
class MediaRequest:
    """Where one media item lies.

    Attributes:
        location: A path of this machine or an fsspec URL.
        name: What it is called in messages.
        size_bytes: As planned; -1 if it was not known.
        column: For a row of a Parquet file, the column that holds the bytes.
        row: For a row of a Parquet file, its number; in a tar file, the place of the first byte;
            else -1.
    """

    location: str
    name: str = ""
    size_bytes: int = -1
    column: str = ""
    row: int = -1


@dataclass(frozen=True)
class ReadMedia:
    """A decoded image or sound.

    Attributes:
        media: ``[channels, *size]`` in [-1, 1].
        size_bytes: Of the file.
        sha256: Of the file.
        seconds: By stage, "read" and "decode".
        sample_rate_hz: Of a sound; None of what has none.
    """

    media: Tensor
    size_bytes: int
    sha256: str
    seconds: dict[str, float] = field(default_factory=dict)
    sample_rate_hz: int | None = None


class _NamedBytes(io.BytesIO):
    """Content of a file that knows what it is called."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name = repr(name)


@dataclass(frozen=True)
class MediaReader:
    """How the items of a job are read.

    Args:
        modality: Of the tokenizer.
        channels: Of the model, which images and frames are brought to.
        alpha: What transparent pixels are laid over.
    """

    modality: str
    channels: int
    alpha: Alpha = "white"

    def read(self, request: MediaRequest) -> ReadMedia | OpenClip:
        """Fetch and decode; of a clip the first frame, the others as they are taken.

        Raises:
            MediaError: It is missing, changed, too large, or no media of this kind.
            OSError: It cannot be fetched, on several attempts.
        """
        begin = time.perf_counter()
        data = _fetch_patiently(request)
        if request.size_bytes not in (-1, len(data)):
            raise MediaError(
                f"expected {request.size_bytes:,} bytes as planned, got {len(data):,}: the file "
                "changed since"
            )
        sha256 = hashlib.sha256(data).hexdigest()
        fetched = time.perf_counter()
        file = _NamedBytes(data, request.name)
        decoded = kind_of(self.modality).decode(file, self.channels, self.alpha)
        seconds = {"read": fetched - begin, "decode": time.perf_counter() - fetched}
        if isinstance(decoded, VideoReader):
            return OpenClip(decoded, len(data), sha256, seconds)
        return ReadMedia(decoded.media, len(data), sha256, seconds, decoded.sample_rate_hz)


def _fetch_patiently(request: MediaRequest) -> bytes:
    """Fetch, again after a while if a disk or a store has a bad moment."""
    for seconds in _WAIT_SECONDS:
        try:
            return _fetch(request)
        except (MediaError, MemoryError, *_LASTING_ERRORS):
            raise
        # Clients of stores raise what they like, their own classes too.
        except Exception as error:
            if getattr(error, "errno", None) in _LASTING_NUMBERS:
                raise
            time.sleep(seconds)
    return _fetch(request)


def _fetch(request: MediaRequest) -> bytes:
    if request.column:
        return _cursor_at(request).take(request.row)
    num_bytes = MAX_FILE_BYTES + 1
    if request.row >= 0:
        num_bytes = min(num_bytes, request.size_bytes)
    with _opened(request.location) as file:
        if request.row > 0:
            file.seek(request.row)
        data: bytes = file.read(num_bytes)
    if len(data) > MAX_FILE_BYTES:
        raise MediaError(f"expected at most {MAX_FILE_BYTES:,} bytes, got more")
    return data


def _opened(location: str) -> AbstractContextManager[IO[bytes]]:
    if "://" not in location:
        return Path(location).open("rb")
    import fsspec

    opened: AbstractContextManager[IO[bytes]] = fsspec.open(location, "rb")
    return opened


class _Cursor:
    """Reads one column of a Parquet file forwards, a few rows at a time.

    Items come in ascending order, so a row group is read once and never whole in memory.
    """

    _ROWS_AT_ONCE = 16

    def __init__(self, request: MediaRequest) -> None:
        import fsspec
        import pyarrow.parquet

        self.place = (request.location, request.column)
        stream = fsspec.open(request.location, "rb").open()
        self.file = pyarrow.parquet.ParquetFile(stream, page_checksum_verification=True)
        self.start, self.values, self.batches = self._at(request.row)

    def take(self, row: int) -> bytes:
        """The bytes in a row.

        Raises:
            MediaError: It holds none.
        """
        if row < self.start:
            self.start, self.values, self.batches = self._at(row)
        while row >= self.start + len(self.values):
            try:
                self.start, self.values = next(self.batches)
            except StopIteration:
                raise MediaError(f"expected a row {row}, got fewer: the file changed") from None
        value = self.values[row - self.start]
        if not isinstance(value, bytes):
            raise MediaError(f"expected bytes in column {self.place[1]!r}, got {type(value)}")
        return value

    def _at(self, row: int) -> tuple[int, list[Any], "Iterator[tuple[int, list[Any]]]"]:
        """Stand before the row group of a row: its first row, no values yet, and those to come."""
        group, start = 0, 0
        metadata = self.file.metadata
        while group < metadata.num_row_groups - 1:
            num_rows = metadata.row_group(group).num_rows
            if row < start + num_rows:
                break
            start, group = start + num_rows, group + 1
        return start, [], self._batches(range(group, metadata.num_row_groups), start)

    def _batches(self, groups: range, start: int) -> Iterator[tuple[int, list[Any]]]:
        """The rows of some row groups a few at a time, each with the number of the first one."""
        column = self.place[1]
        for batch in self.file.iter_batches(self._ROWS_AT_ONCE, groups, [column]):
            values = batch.column(0)
            if "." in column:  # a field of a structure
                values = values.field(column.split(".", 1)[1])
            yield start, values.to_pylist()
            start += len(values)


_cursors: dict[tuple[str, str], _Cursor] = {}


def _cursor_at(request: MediaRequest) -> _Cursor:
    """The open cursor of this process, or one at the request."""
    place = (request.location, request.column)
    if place not in _cursors:
        _cursors.clear()
        _cursors[place] = _Cursor(request)
    return _cursors[place]
