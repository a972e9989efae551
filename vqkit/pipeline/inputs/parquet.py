"""Inputs in a Parquet file: paths to media, or the media themselves."""

from collections.abc import Iterator, Sequence
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from vqkit.errors import ConfigError
from vqkit.pipeline.inputs.table import Input, Inputs
from vqkit.pipeline.inputs.versions import size_and_version, version_in_store

__all__ = ["list_parquet"]

_PATH_COLUMNS = ("path", "file", "file_name", "uri", "url")
_ROWS_AT_ONCE = 1 << 14


def list_parquet(location: str, root: str, file_columns: Sequence[str]) -> Inputs:
    """List the items of a Parquet file; a column of files is not read for that.

    Args:
        location: Of the Parquet file.
        root: What its relative paths are below.
        file_columns: Names of columns that may hold files.

    Raises:
        ConfigError: No column of paths or of files, or it is no Parquet file.
    """
    try:
        with fsspec.open(location, "rb") as stream:
            file = pq.ParquetFile(stream, page_checksum_verification=True)
            name = location[len(root) :].lstrip("/")
            schema = file.schema_arrow
            column = _file_column(schema, file_columns)
            if column:
                if "://" in location:
                    version = version_in_store(stream.fs.info(stream.path))
                else:
                    _, version = size_and_version(location)
                return Inputs.of(root, _files(file, name, column, version), column)
            return Inputs.of(root, _paths(file, _path_column(schema, location, file_columns)))
    except pa.ArrowException as error:
        raise ConfigError(f"Inputs {location!r}: expected a Parquet file ({error}).") from error


def _path_column(schema: pa.Schema, location: str, file_columns: Sequence[str]) -> str:
    for name in _PATH_COLUMNS:
        if name in schema.names and _is_text(schema.field(name).type):
            return name
    raise ConfigError(
        f"Inputs {location!r}: expected a column of paths ({', '.join(_PATH_COLUMNS)}) or of files "
        f"({', '.join(file_columns)}), got {', '.join(schema.names)}. Rename one."
    )


def _file_column(schema: pa.Schema, names: Sequence[str]) -> str:
    """The column that holds files, with the field inside if it is a structure; else nothing."""
    for name in (name for name in names if name in schema.names):
        kind = schema.field(name).type
        if _is_binary(kind):
            return name
        if pa.types.is_struct(kind):
            fields = {kind.field(i).name: kind.field(i).type for i in range(kind.num_fields)}
            if "bytes" in fields and _is_binary(fields["bytes"]):
                return f"{name}.bytes"
    return ""


def _paths(file: pq.ParquetFile, column: str) -> Iterator[Input]:
    for _, row in _facts(file, column, "size_bytes", "version"):
        path = row[column]
        if not path:
            raise ConfigError(f"Inputs: expected a path in column {column!r}, got {path!r}.")
        size = row.get("size_bytes")
        key = path if row.get("key") is None else str(row["key"])
        version = str(row.get("version") or "")
        yield Input(key, path, -1, -1 if size is None else size, version, _label(row))


def _files(file: pq.ParquetFile, name: str, column: str, version: str) -> Iterator[Input]:
    """Rows of files, each about as large as others in its row group."""
    metadata = file.metadata
    sizes: list[tuple[int, int]] = []
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        chunks = (group.column(i) for i in range(group.num_columns))
        total = sum(c.total_uncompressed_size for c in chunks if c.path_in_schema == column)
        sizes.append((group.num_rows, total // max(1, group.num_rows)))
    each = (size for num_rows, size in sizes for _ in range(num_rows))
    for (row, facts), size in zip(_facts(file), each, strict=True):
        key = f"{name}#{row:010d}" if facts.get("key") is None else str(facts["key"])
        yield Input(key, name, row, size, version, _label(facts))


def _facts(file: pq.ParquetFile, *more: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Numbers of rows and what they say beside the media."""
    wanted = [name for name in ("key", "label", *more) if name in file.schema_arrow.names]
    row = 0
    for batch in file.iter_batches(_ROWS_AT_ONCE, columns=wanted):
        # Of no columns, the batches tell the number of rows alone.
        rows = batch.to_pylist() if wanted else [{}] * batch.num_rows
        for facts in rows:
            yield row, facts
            row += 1


def _label(facts: dict[str, Any]) -> int | str | None:
    label = facts.get("label")
    if isinstance(label, bool) or not isinstance(label, (int, str, type(None))):
        raise ConfigError(
            f"Inputs: expected labels of text or whole numbers, got {type(label).__name__}."
        )
    return label


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
