"""The pages of a Parquet column, looked at before anything is decoded.

pyarrow believes the sizes that a page declares and checks a checksum only where a page has one. So
every page is walked here first: it must lie where the footer says, have a checksum that fits, and
declare no more values and bytes than the rows can need. Only the headers of pages are parsed, in
Thrift's compact protocol (https://github.com/apache/thrift/blob/master/doc/specs/).
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vqkit.files.format_error import FormatError

__all__ = ["check_pages"]

_DATA_PAGE, _DICTIONARY_PAGE, _DATA_PAGE_V2 = 0, 2, 3
# Fields of PageHeader: of each kind of page, where its own header stands, whose field 1 counts.
_COUNTS = {_DATA_PAGE: 5, _DICTIONARY_PAGE: 7, _DATA_PAGE_V2: 8}
_MAX_DEPTH = 4
_MAX_ELEMENTS = 64


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
        reader = _Compact(chunk, position, what)
        header = reader.struct(0)
        kind, size, compressed, stored = (header.get(field) for field in (1, 2, 3, 4))
        if kind not in _COUNTS or type(size) is not int or type(compressed) is not int:
            raise FormatError(f"expected pages with sizes in {what}, got another header")
        body = chunk[reader.position : reader.position + compressed]
        if size < 0 or compressed < 0 or len(body) < compressed:
            raise FormatError(f"expected a page of {what} within its column, got a longer one")
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


def _count(header: Mapping[int, Any], kind: int, num_values: int, what: str) -> int:
    """Values of a data page; a dictionary must not hold more than there are values either."""
    own = header.get(_COUNTS[kind])
    count = own.get(1) if isinstance(own, dict) else None
    if type(count) is not int or not 0 <= count <= num_values:
        raise FormatError(f"expected up to {num_values} values in a page of {what}, got {count}")
    return 0 if kind == _DICTIONARY_PAGE else count


@dataclass
class _Compact:
    """A reader of Thrift's compact protocol that keeps integers and structs and skips the rest."""

    data: memoryview
    position: int
    what: str

    def struct(self, depth: int) -> dict[int, Any]:
        """Fields by their number."""
        if depth > _MAX_DEPTH:
            raise FormatError(f"expected a flat page header in {self.what}, got deep nesting")
        fields: dict[int, Any] = {}
        number = 0
        while True:
            head = self.byte()
            if head == 0:
                return fields
            number = number + (head >> 4) if head >> 4 else self.zigzag()
            fields[number] = self.value(head & 15, depth)

    def value(self, kind: int, depth: int) -> Any:
        """A field's value; None for kinds that are only skipped."""
        if kind in (1, 2):  # a truth value, which the kind itself tells
            return None
        if kind == 3:
            return self.byte()
        if kind in (4, 5, 6):
            return self.zigzag()
        if kind == 7:
            return self.skip(8)
        if kind == 8:
            return self.skip(self.varint())
        if kind in (9, 10):
            head = self.byte()
            length = self.varint() if head >> 4 == 15 else head >> 4
            if length > _MAX_ELEMENTS:
                raise FormatError(f"expected a short page header in {self.what}, got a long list")
            for _ in range(length):
                # In a list, truth values take a byte each.
                self.value(3 if head & 15 in (1, 2) else head & 15, depth + 1)
            return None
        if kind == 12:
            return self.struct(depth + 1)
        raise FormatError(f"expected a page header in {self.what}, got a field of kind {kind}")

    def byte(self) -> int:
        if self.position >= len(self.data):
            raise FormatError(f"expected more of a page header in {self.what}, got the end")
        self.position += 1
        return self.data[self.position - 1]

    def skip(self, size: int) -> None:
        if size > len(self.data) - self.position:
            raise FormatError(f"expected more of a page header in {self.what}, got the end")
        self.position += size

    def varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise FormatError(f"expected a number of 64 bits in a page header of {self.what}")

    def zigzag(self) -> int:
        value = self.varint()
        return (value >> 1) ^ -(value & 1)
