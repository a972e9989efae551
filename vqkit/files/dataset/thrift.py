"""Thrift's compact protocol, in which Parquet writes its footer and the headers of its pages.

Only what is asked for is kept, everything else is skipped, so that nothing hostile costs memory.
See https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from collections.abc import Mapping
from typing import Any

from vqkit.files.format_error import FormatError

__all__ = ["CompactReader", "Wanted"]

Wanted = Mapping[int, Any] | list[Any] | None
"""What to keep: None for a number or bytes, a mapping from fields for a struct, a list of one for a
list."""

_MAX_DEPTH = 16
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
_INTEGERS = (_I16, _I32, _I64)


class CompactReader:
    """Reads structs out of bytes.

    Args:
        data: The bytes.
        what: What they are called in messages.
        max_elements: Longest list that may be kept.
        position: Where to begin; afterwards, where it stopped.
    """

    def __init__(
        self, data: memoryview, what: str, max_elements: int = 64, position: int = 0
    ) -> None:
        self.data = data
        self.what = what
        self.max_elements = max_elements
        self.position = position

    def struct(self, wanted: Mapping[int, Any], depth: int = 0) -> dict[int, Any]:
        """The wanted fields that are there, by their number.

        Raises:
            FormatError: The bytes end before it does, a field is of another kind than wanted, or
                nothing of the kind was ever written.
        """
        if depth > _MAX_DEPTH:
            raise FormatError(f"expected a flat {self.what}, got deep nesting")
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._zigzag()
            kind = head & 15
            if number in wanted:
                fields[number] = self._value(kind, wanted[number], depth)
            elif kind not in (_TRUE, _FALSE):  # which have no bytes of their own
                self._skip(kind, depth)
        return fields

    def _value(self, kind: int, wanted: Wanted, depth: int) -> Any:
        if isinstance(wanted, list) and kind == _LIST:
            kind, length = self._list_head()
            if length > self.max_elements:
                raise FormatError(
                    f"expected lists of up to {self.max_elements} in the {self.what}, got {length}"
                )
            return [self._value(kind, wanted[0], depth + 1) for _ in range(length)]
        if isinstance(wanted, Mapping) and kind == _STRUCT:
            return self.struct(wanted, depth + 1)
        if wanted is None and kind in _INTEGERS:
            return self._zigzag()
        if wanted is None and kind == _BINARY:
            length = self._varint()
            start = self.position
            self._advance(length)
            return bytes(self.data[start : start + length])
        raise FormatError(f"expected another field than one of kind {kind} in the {self.what}")

    def _skip(self, kind: int, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise FormatError(f"expected a flat {self.what}, got deep nesting")
        if kind in (_TRUE, _FALSE, _BYTE):
            self._advance(1)
        elif kind in _INTEGERS:
            self._varint()
        elif kind == _DOUBLE:
            self._advance(8)
        elif kind == _BINARY:
            self._advance(self._varint())
        elif kind in (_LIST, _SET):
            kind, length = self._list_head()
            for _ in range(length):
                self._skip(kind, depth + 1)
        elif kind == _STRUCT:
            self.struct({}, depth + 1)
        else:
            raise FormatError(f"expected a {self.what}, got a field of kind {kind}")

    def _list_head(self) -> tuple[int, int]:
        """Kind and number of elements, each of which takes a byte at least."""
        head = self._byte()
        length = self._varint() if head >> 4 == 15 else head >> 4
        if length > len(self.data) - self.position:
            raise FormatError(f"expected a list within the {self.what}, got one of {length}")
        return head & 15, length

    def _byte(self) -> int:
        self._advance(1)
        return self.data[self.position - 1]

    def _advance(self, size: int) -> None:
        if size > len(self.data) - self.position:
            raise FormatError(f"expected more of the {self.what}, got its end")
        self.position += size

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise FormatError(f"expected numbers of 64 bits in the {self.what}, got a longer one")

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
