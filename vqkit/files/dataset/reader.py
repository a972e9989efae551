"""Reading shards: a footer, then row groups, nothing of which is believed before it is checked."""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vqkit.files.dataset.digest import digest_of
from vqkit.files.dataset.document import explained, quoted
from vqkit.files.dataset.footer import MAX_FOOTER_BYTES, read_footer
from vqkit.files.dataset.pages import check_pages
from vqkit.files.dataset.rows import Rows
from vqkit.files.dataset.sample import Sample
from vqkit.files.dataset.schema import schema_of
from vqkit.files.dataset.shard import MAX_GROUPS, RowGroup, ShardHeader
from vqkit.files.format_error import FormatError
from vqkit.files.limits import Limits
from vqkit.files.storage import SeekableFile, Storage

__all__ = ["ShardReader", "read_shard"]

_TEXTS = ["key", "source_uri", "source_sha256", "label_text", "error"]
_MAX_TEXT_BYTES = 4 * 4096
# What the pages of a column may take beside their values: dictionaries, levels, page headers.
_SPARE_BYTES = 1 << 22
_BYTES_PER_VALUE = 16


class ShardReader:
    """An open shard.

    Args:
        file: The shard, which is closed with the reader, at the latest when that is forgotten.
        name: What it is called in messages.
        limits: What it may ask for.

    Raises:
        TokenFileError: It is no shard, or its footer is damaged.
    """

    def __init__(self, file: SeekableFile, name: str, limits: Limits | None = None) -> None:
        self.name = name
        self.limits = limits or Limits()
        self._file = file
        self._close_file = weakref.finalize(self, file.close)
        try:
            with self._explained():
                self._open()
        except BaseException:
            self._close_file()
            raise

    def _open(self) -> None:
        footer = read_footer(self._file)
        self.header = ShardHeader.from_metadata(footer.metadata)
        num_rows = tuple(group.num_rows for group in self.header.groups)
        if footer.num_rows != num_rows:
            raise FormatError(f"expected row groups of {num_rows}, got {footer.num_rows}")
        self._columns = footer.columns
        self._file.seek(0)
        self._parquet = _open_parquet(self._file)
        self._schema = schema_of(self.header.dataset)
        _check_schema(self._parquet.schema_arrow, self._schema)

    def rows(self, group: int) -> Rows:
        """All rows of a row group.

        Raises:
            TokenFileError: It is damaged.
        """
        with self._explained():
            expected = self.header.groups[group]
            self._check_columns(group, expected)
            table = self._parquet.read_row_group(group, use_threads=False)
            table = _plain(table, self._schema)
            table.validate(full=True)
            digest = digest_of(table)
            if digest != expected.digest:
                raise FormatError(f"expected rows of hash {expected.digest}, got {digest}")
            rows = Rows(table, self.header.dataset, self.limits)
            has_tokens = [rows.has_tokens(row) for row in range(len(rows))]
            if has_tokens != [row < expected.num_samples for row in range(len(rows))]:
                raise FormatError(f"expected {expected.num_samples} samples before those that fail")
            return rows

    def samples(self, group: int) -> list[Sample]:
        """All samples of a row group, those that failed last.

        Raises:
            TokenFileError: It is damaged.
        """
        rows = self.rows(group)
        with self._explained():
            return [rows.sample(row) for row in range(len(rows))]

    def __iter__(self) -> Iterator[Sample]:
        for group in range(len(self.header.groups)):
            yield from self.samples(group)

    def close(self) -> None:
        """Let go of the file."""
        self._close_file()

    def __enter__(self) -> "ShardReader":
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def _check_columns(self, group: int, expected: RowGroup) -> None:
        """Look at the pages of all columns before one of them is decoded."""
        self.limits.check("num_tokens", expected.num_tokens, "tokens in a row group")
        columns = self._columns[group]
        if len(columns) != len(self._schema):
            raise FormatError(f"expected {len(self._schema)} columns, got {len(columns)}")
        for column, name in zip(columns, self._schema.names, strict=True):
            what = f"column {name!r}"
            # Of a list without elements, or in place of one, there is one value too.
            if column.num_values > expected.num_tokens + 16 * expected.num_rows:
                raise FormatError(f"expected no more values in {what} than tokens")
            self._file.seek(column.start)
            check_pages(
                memoryview(self._file.read(column.size_bytes)),
                num_values=column.num_values,
                max_uncompressed_bytes=_SPARE_BYTES
                + _BYTES_PER_VALUE * column.num_values
                + _MAX_TEXT_BYTES * expected.num_rows,
                what=what,
            )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        with explained(self.name):
            try:
                yield
            # A damaged file shows itself to pyarrow in all of these.
            except (pa.ArrowException, OSError, ValueError, OverflowError, EOFError) as error:
                if isinstance(error, MemoryError):
                    raise
                raise FormatError(
                    f"expected a sound Parquet file, got {quoted(str(error))}"
                ) from None


def read_shard(storage: Storage, name: str, *, limits: Limits | None = None) -> Iterator[Sample]:
    """Read the samples of a shard in order, those that failed last.

    Every page is checked before it is decoded, and every row after that.

    Args:
        storage: Where the data set lies.
        name: File name of the shard.
        limits: What it may ask for; None for the defaults.

    Raises:
        StorageError: It cannot be read.
        TokenFileError: It is damaged.
    """
    with ShardReader(storage.open(name), storage.describe(name), limits) as reader:
        yield from reader


def _open_parquet(file: SeekableFile) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(
            pa.PythonFile(file, mode="r"),
            read_dictionary=_TEXTS,
            pre_buffer=False,
            page_checksum_verification=True,
            thrift_string_size_limit=MAX_FOOTER_BYTES,
            thrift_container_size_limit=MAX_GROUPS,
        )
    except KeyError as error:
        raise FormatError(f"expected the columns {_TEXTS}, got none named {error}") from None


def _check_schema(found: pa.Schema, expected: pa.Schema) -> None:
    """The same columns; texts may be dictionaries, as which they are read."""
    got = [(field.name, _plain_type(field.type)) for field in found]
    wanted = [(field.name, _plain_type(field.type)) for field in expected]
    if got != wanted:
        raise FormatError(f"expected the columns {quoted(wanted)}, got {quoted(got)}")


def _plain_type(kind: pa.DataType) -> str:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return f"list of {kind.value_type}" if pa.types.is_list(kind) else str(kind)


def _plain(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Texts out of their dictionaries, once none of them is too long to be there in every row."""
    for index, field in enumerate(table.schema):
        if not pa.types.is_dictionary(field.type):
            continue
        for chunk in table.column(index).chunks:
            longest = pc.max(pc.binary_length(chunk.dictionary)).as_py() or 0
            if longest > _MAX_TEXT_BYTES:
                raise FormatError(
                    f"expected texts of up to {_MAX_TEXT_BYTES} bytes in column {field.name!r}, "
                    f"got {longest}"
                )
    return table.cast(schema)
