"""Reading bytes that may be anything: bounded, counted, checksummed, with errors that say where."""

import io
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

from vqkit.errors import TokenFileError
from vqkit.files.format_error import FormatError

__all__ = ["Readable", "Reader"]

_PIECE_BYTES = 1 << 20  # a declared length is believed this many bytes at a time
_MAX_VARINT_BYTES = 9


@runtime_checkable
class Readable(Protocol):
    """A binary stream: a file, a pipe, standard input, ``io.BytesIO``."""

    def read(self, size: int, /) -> Any:
        """Up to ``size`` bytes, none at the end."""


class Reader:
    """Reads a stream forwards and keeps the place and the CRC-32 of the section it is in."""

    def __init__(self, stream: Readable, name: str) -> None:
        self.stream = stream
        self.name = name
        self.offset = 0
        self.begin("start")

    def begin(self, section: str) -> None:
        """Start a section: it names the place in errors, and the CRC-32 starts anew."""
        self._section, self._section_start, self._crc = section, self.offset, 0

    def rename(self, section: str) -> None:
        """Call the section otherwise, once its first byte has told what it is."""
        self._section = section

    def seekable(self) -> bool:
        """Whether `seek` and `size` work."""
        return isinstance(self.stream, io.IOBase) and self.stream.seekable()

    def size(self) -> int:
        """Length of a seekable stream in bytes; the place stays."""
        assert isinstance(self.stream, io.IOBase)
        size = self.stream.seek(0, os.SEEK_END)
        self.stream.seek(self.offset)
        return size

    def seek(self, section: str, offset: int) -> None:
        """Start a section elsewhere in a seekable stream."""
        assert isinstance(self.stream, io.IOBase)
        self.offset = self.stream.seek(offset)
        self.begin(section)

    @property
    def section_size(self) -> int:
        """Bytes read since the section began."""
        return self.offset - self._section_start

    def exactly(self, size: int) -> bytes:
        """The next ``size`` bytes; memory grows with the bytes there are, not with ``size``."""
        data = self._piece(min(size, _PIECE_BYTES)) if size else b""
        if len(data) < size:
            data = self._joined(data, size)
        self.offset += size
        self._crc = zlib.crc32(data, self._crc)
        return data

    def rest(self) -> bytes:
        """All bytes up to the end."""
        pieces = [self._piece(_PIECE_BYTES)]
        while pieces[-1]:
            pieces.append(self._piece(_PIECE_BYTES))
        data = b"".join(pieces)
        self.offset += len(data)
        return data

    def integer(self, num_bytes: int) -> int:
        """A little-endian integer of fixed size."""
        return int.from_bytes(self.exactly(num_bytes), "little")

    def varint(self) -> int:
        """A little-endian base-128 integer in its shortest spelling."""
        value = 0
        for position in range(_MAX_VARINT_BYTES):
            byte = self.exactly(1)[0]
            value |= (byte & 0x7F) << (7 * position)
            if byte < 0x80:
                if byte == 0 and position:
                    raise FormatError(
                        "expected the shortest varint, got one that ends in a zero byte"
                    )
                return value
        raise FormatError(f"expected a varint of up to {_MAX_VARINT_BYTES} bytes, got a longer one")

    def check_crc(self) -> None:
        """Read a CRC-32 and compare it with that of the section so far."""
        computed = self._crc
        stored = self.integer(4)
        if stored != computed:
            raise FormatError(f"expected CRC-32 {stored:08x}, got {computed:08x}")

    def expect_end(self) -> None:
        """Refuse bytes after the end."""
        if self._piece(1):
            raise FormatError("expected the end of the file, got more bytes")

    @contextmanager
    def explained(self) -> Iterator["Reader"]:
        """Turn what goes wrong inside into a `TokenFileError` with the file and the place."""
        try:
            yield self
        except FormatError as error:
            raise TokenFileError(
                f"Cannot read {self.name}: {error.what} "
                f"({self._section} at byte {self._section_start}). {error.fix}"
            ) from None
        except OSError as error:
            raise TokenFileError(
                f"Cannot read {self.name}: {error.strerror or error} (byte {self.offset}). "
                f"Check the source and try again."
            ) from error

    def _joined(self, first: bytes, size: int) -> bytes:
        """Go on reading until ``size`` bytes are there, the ``first`` of which have been read."""
        pieces, missing = [first], size - len(first)
        while missing:
            if not pieces[-1]:
                raise FormatError(f"expected {missing} more bytes, got the end of the file")
            pieces.append(self._piece(min(missing, _PIECE_BYTES)))
            missing -= len(pieces[-1])
        return b"".join(pieces)

    def _piece(self, size: int) -> bytes:
        try:
            piece = self.stream.read(size)
        except UnicodeDecodeError:
            piece = ""
        if not isinstance(piece, bytes):
            raise FormatError(
                f"expected bytes, got {type(piece).__name__}",
                fix="Open the source in binary, blocking mode.",
            )
        return piece
