"""The footer of a Parquet file, looked at before pyarrow is given it.

pyarrow allocates what a footer declares, and some of what no writer writes ends the whole process.
"""

from dataclasses import dataclass
from typing import Any

from vqkit.files.dataset.thrift import CompactReader
from vqkit.files.format_error import FormatError
from vqkit.files.storage import SeekableFile

__all__ = ["MAX_FOOTER_BYTES", "Column", "Footer", "read_footer"]

MAX_FOOTER_BYTES = 1 << 23

_MAGIC = b"PAR1"
_MAX_LIST = 1 << 11
# FileMetaData: rows, row groups of columns and rows, key/value metadata. Of a column: the path
# of another file, and of its metadata values, compressed bytes, first pages.
_COLUMN = {1: None, 3: {5: None, 7: None, 9: None, 11: None}}
_WANTED = {3: None, 4: [{1: [_COLUMN], 3: None}], 5: [{1: None, 2: None}]}


@dataclass(frozen=True)
class Column:
    """Where a column of a row group lies, and how many values it has."""

    start: int
    size_bytes: int
    num_values: int


@dataclass(frozen=True)
class Footer:
    """What a reader must know before it reads.

    Attributes:
        num_rows: Of each row group.
        columns: Of each row group, in the order of the schema.
        metadata: Keys and values.
    """

    num_rows: tuple[int, ...]
    columns: tuple[tuple[Column, ...], ...]
    metadata: dict[bytes, bytes]


def read_footer(file: SeekableFile) -> Footer:
    """Read and check the end of a file.

    Raises:
        FormatError: It does not end like Parquet, or columns lie outside of it.
    """
    size = file.seek(0, 2)
    if size < 12:
        raise FormatError(f"expected a Parquet file, got {size} bytes")
    file.seek(size - 8)
    length, magic = int.from_bytes(file.read(4), "little"), file.read(4)
    if magic != _MAGIC:
        raise FormatError(f"expected a Parquet file, got one that ends in {magic!r}")
    if not 0 < length <= min(size - 12, MAX_FOOTER_BYTES):
        raise FormatError(f"expected a footer within the file, got one of {length} bytes")
    file.seek(size - 8 - length)
    content = CompactReader(memoryview(file.read(length)), "footer", _MAX_LIST).struct(_WANTED)
    groups = content.get(4, [])
    num_rows = tuple(_number(group, 3, "rows") for group in groups)
    if content.get(3) != sum(num_rows):
        raise FormatError(f"expected {sum(num_rows)} rows, got {content.get(3)}")
    return Footer(
        num_rows=num_rows,
        columns=tuple(
            tuple(_column(column, size - 8 - length) for column in group.get(1, []))
            for group in groups
        ),
        metadata={pair.get(1, b""): pair.get(2, b"") for pair in content.get(5, [])},
    )


def _column(content: dict[int, Any], end: int) -> Column:
    if 1 in content:
        raise FormatError("expected columns in this file, got one in another")
    facts = content.get(3, {})
    start = _number(facts, 9, "data page offset")
    if 11 in facts:
        start = min(start, _number(facts, 11, "dictionary page offset"))
    column = Column(start, _number(facts, 7, "bytes"), _number(facts, 5, "values"))
    if not len(_MAGIC) <= column.start <= column.start + column.size_bytes <= end:
        raise FormatError("expected columns before the footer, got one elsewhere")
    return column


def _number(content: dict[int, Any], field: int, what: str) -> int:
    value = content.get(field)
    if type(value) is not int or value < 0:
        raise FormatError(f"expected a number of {what} in the footer, got {value!a:.40}")
    return value
