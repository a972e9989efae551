"""The inputs of a job as a table: sorted, each key once, small enough for tens of millions."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vqkit.errors import ConfigError
from vqkit.pipeline.reading import MediaRequest

__all__ = ["Input", "Inputs", "located", "request_of"]

_ROWS_AT_ONCE = 1 << 16
_MAX_TEXT_LENGTH = 4000
_TEXT = pa.large_string()  # of 32-bit offsets, ten million paths would be too long


class Input(NamedTuple):
    """One media item.

    Attributes:
        key: What it is called in the data set; unique.
        path: Where it lies: below the root of the inputs, absolute, or a URL.
        row: Its row if it lies in a Parquet file, the place of its first byte in a tar file, else
            -1.
        size_bytes: -1 if not known.
        version: What changes with the content: time of change, or what a store says; may be empty.
        label: What the list says of it, for training.
    """

    key: str
    path: str
    row: int = -1
    size_bytes: int = -1
    version: str = ""
    label: int | str | None = None


@dataclass(frozen=True)
class Inputs:
    """All media items of a job, in the order of their keys.

    Attributes:
        root: What relative paths are below: a folder or an fsspec URL.
        table: A row for each item with the fields of :class:`Input`.
        column: The column of a Parquet file that holds the media, if they lie in one.
        has_integer_labels: No label is a text; all are texts if one is.

    >>> inputs = Inputs.of("/photos", [Input("b", "b.png"), Input("a", "a.png", size_bytes=7)])
    >>> len(inputs), inputs.item(0)
    (2, Input(key='a', path='a.png', row=-1, size_bytes=7, version='', label=None))
    """

    root: str
    table: pa.Table
    column: str = ""
    has_integer_labels: bool = True

    @staticmethod
    def of(root: str, items: Iterable[Input], column: str = "") -> "Inputs":
        """Collect and sort items; they may come from a stream.

        Raises:
            ConfigError: A key comes twice.
        """
        chunks, has_integer_labels = [_chunk([])], True
        for rows in _pieces(items):
            chunks.append(_chunk(rows))
            has_integer_labels &= all(not isinstance(row.label, str) for row in rows)
        table = pa.concat_tables(chunks)
        chunks.clear()  # the table keeps what it needs, and sorting copies it
        table = table.sort_by("key")
        _refuse_twice(table["key"])
        _check_texts(table, has_integer_labels)
        return Inputs(root, table, column, has_integer_labels)

    def __len__(self) -> int:
        return self.table.num_rows

    def item(self, number: int) -> Input:
        """One item."""
        return next(self.items(number, number + 1))

    def items(self, start: int, stop: int) -> Iterator[Input]:
        """The items of a range."""
        for batch in self.table.slice(start, stop - start).to_batches(_ROWS_AT_ONCE):
            *columns, labels = (batch.column(name).to_pylist() for name in Input._fields)
            if self.has_integer_labels:
                labels = [None if label is None else int(label) for label in labels]
            yield from map(Input._make, zip(*columns, labels, strict=True))

    @property
    def sizes(self) -> "np.ndarray[Any, np.dtype[np.int64]]":
        """Bytes of each item, -1 where not known."""
        return np.asarray(self.table["size_bytes"].to_numpy(), np.int64)

    def digest(self) -> str:
        """SHA-256 over everything but the root: the same inputs elsewhere are the same inputs."""
        whole = hashlib.sha256(f"{self.column}\n{self.has_integer_labels}".encode())
        for name in Input._fields:
            lengths, content = hashlib.sha256(name.encode()), hashlib.sha256()
            for chunk in self.table[name].chunks:
                if pa.types.is_integer(chunk.type):
                    content.update(np.asarray(chunk, "<i8").tobytes())
                else:
                    sizes = pc.fill_null(pc.binary_length(chunk), -1)
                    lengths.update(np.asarray(sizes, "<i8").tobytes())
                    content.update(_text_bytes(chunk))
            whole.update(lengths.digest() + content.digest())
        return whole.hexdigest()


def request_of(item: Input, root: str, column: str = "") -> MediaRequest:
    """Where an item is read; the size of a row in Parquet is an estimate and not asked for.

    >>> request_of(Input("a", "a.png", size_bytes=7), "/photos")
    MediaRequest(location='/photos/a.png', name='a', size_bytes=7, column='', row=-1)
    """
    location = located(root, item.path)
    if item.row >= 0 and column:
        return MediaRequest(location, item.key, -1, column, item.row)
    return MediaRequest(location, item.key, item.size_bytes, row=item.row)


def located(root: str, path: str) -> str:
    """A path below a root; an absolute path or a URL is itself.

    >>> located("s3://bucket/photos", "a/b.png"), located("/photos", "/other/c.png")
    ('s3://bucket/photos/a/b.png', '/other/c.png')
    """
    if "://" in path or path.startswith("/") or not root:
        return path
    return f"{root.rstrip('/')}/{path}"


def _pieces(items: Iterable[Input]) -> Iterator[list[Input]]:
    iterator = iter(items)
    while rows := list(islice(iterator, _ROWS_AT_ONCE)):
        yield rows


def _chunk(rows: list[Input]) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else ([] for _ in Input._fields)
    keys, paths, numbers, sizes, versions, labels = columns
    texts = [None if label is None else str(label) for label in labels]
    return pa.table(
        {
            "key": pa.array(keys, _TEXT),
            "path": pa.array(paths, _TEXT),
            "row": pa.array(numbers, pa.int64()),
            "size_bytes": pa.array(sizes, pa.int64()),
            "version": pa.array(versions, _TEXT),
            "label": pa.array(texts, _TEXT),
        }
    )


def _refuse_twice(keys: pa.ChunkedArray) -> None:
    """The keys are sorted."""
    same = pc.equal(keys.slice(1), keys.slice(0, max(len(keys) - 1, 0)))
    if pc.any(same).as_py():
        key = keys[pc.index(same, True).as_py()].as_py()
        raise ConfigError(
            f"Inputs: expected each key once, got {key!r} more than once. Remove it, or give the "
            "items keys of their own in a list with a column 'key'."
        )


def _check_texts(table: pa.Table, has_integer_labels: bool) -> None:
    """Refuse what no row of a data set takes."""
    for name in ("key", "path", "label"):
        longest = pc.max(pc.utf8_length(table[name])).as_py() or 0
        if longest > _MAX_TEXT_LENGTH:
            raise ConfigError(
                f"Inputs: expected each {name} within {_MAX_TEXT_LENGTH} characters, got one of "
                f"{longest}."
            )
    if has_integer_labels:
        try:
            table["label"].cast(pa.int64())
        except pa.ArrowInvalid as error:
            raise ConfigError(f"Inputs: expected labels of 64 bits, got more ({error}).") from error


def _text_bytes(chunk: pa.Array) -> bytes:
    """The texts of a chunk, one after another."""
    _, offsets, content = chunk.buffers()
    if content is None:
        return b""
    ends = np.frombuffer(offsets, np.int64)[chunk.offset : chunk.offset + len(chunk) + 1]
    return bytes(memoryview(content)[ends[0] : ends[-1]])
