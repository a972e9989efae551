"""The pages of a Parquet column, looked at before anything is decoded.

pyarrow believes the sizes that a page declares and checks a checksum only where a page has one. So
every page is walked here first: it must lie where the footer says, have a checksum that fits, and
declare no more values and bytes than the rows can need.
"""

import zlib
from collections.abc import Mapping
from typing import Any

from vqkit.files.dataset.thrift import CompactReader
from vqkit.files.format_error import FormatError

__all__ = ["check_pages"]

_DATA_PAGE, _DICTIONARY_PAGE, _DATA_PAGE_V2 = 0, 2, 3
# Fields of PageHeader: of each kind of page, where its own header stands, whose field 1 counts.
_COUNTS = {_DATA_PAGE: 5, _DICTIONARY_PAGE: 7, _DATA_PAGE_V2: 8}
# Of PageHeader: kind, bytes when decompressed, bytes, checksum, and the count of the own header.
_WANTED = {1: None, 2: None, 3: None, 4: None, **{field: {1: None} for field in _COUNTS.values()}}


def check_pages(
    chunk: memoryview, *, num_values: int, max_uncompressed_bytes: int, what: str
) -> None:
    """Check all pages of one column of a row group.

    Args:
        chunk: Exactly the bytes of the column.
        num_values: Values that its data pages hold together, as the footer says.
        max_uncompressed_bytes: What all pages may become when they are decompressed.
        what: The column, for messages.

    Raises:
        FormatError: Pages that do not fill the bytes, lack a checksum or have a wrong one, or
            declare more than they may.
    """
    position = counted = uncompressed = 0
    while position < len(chunk):
        reader = CompactReader(chunk, f"page header of {what}", position=position)
        header = reader.struct(_WANTED)
        kind, size, compressed = (_number(header, field, what) for field in (1, 2, 3))
        body = chunk[reader.position : reader.position + compressed]
        if kind not in _COUNTS or len(body) < compressed:
            raise FormatError(f"expected pages of known kinds within {what}, got others")
        stored = header.get(4)
        if type(stored) is not int:
            raise FormatError(f"expected a checksum on every page of {what}, got none")
        computed = zlib.crc32(body)
        if stored & 0xFFFFFFFF != computed:
            raise FormatError(
                f"expected CRC-32 {stored & 0xFFFFFFFF:08x} of a page of {what}, got {computed:08x}"
            )
        counted += _count(header, kind, num_values, what)
        uncompressed += size
        if uncompressed > max_uncompressed_bytes:
            raise FormatError(
                f"expected pages of up to {max_uncompressed_bytes} bytes in {what}, got more"
            )
        position = reader.position + compressed
    if counted != num_values:
        raise FormatError(f"expected {num_values} values in the pages of {what}, got {counted}")


def _number(header: Mapping[int, Any], field: int, what: str) -> int:
    value = header.get(field)
    if type(value) is not int or value < 0:
        raise FormatError(f"expected kind and sizes of each page of {what}, got another header")
    return value


def _count(header: Mapping[int, Any], kind: int, num_values: int, what: str) -> int:
    """Values of a data page; a dictionary must not hold more than there are values either."""
    own = header.get(_COUNTS[kind])
    count = own.get(1) if isinstance(own, dict) else None
    if type(count) is not int or not 0 <= count <= num_values:
        raise FormatError(f"expected up to {num_values} values in a page of {what}, got {count}")
    return 0 if kind == _DICTIONARY_PAGE else count
