"""JSON documents of data sets: one spelling when written, every field checked when read."""

import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from vqkit.errors import TokenFileError
from vqkit.files.format_error import DAMAGED, NEWER, FormatError

__all__ = [
    "MAX_COUNT",
    "Fields",
    "check_identifier",
    "dump_document",
    "explained",
    "is_close",
    "parse_document",
    "parse_object",
    "quoted",
]

MAX_COUNT = 1 << 53
"""The whole numbers that every JSON reader keeps exact."""

_NO_CHECKSUM = "0" * 64

_IDENTIFIER = re.compile(r"[a-z][a-z0-9_.-]{0,31}", re.ASCII)


class Fields:
    """A JSON object whose fields are taken one by one; what is left over is an error.

    Args:
        content: What the JSON reader gave.
        what: What it is called in messages.

    Raises:
        FormatError: It is no object; so for every method where a field is not what it must be.
    """

    def __init__(self, content: Any, what: str) -> None:
        if type(content) is not dict:
            raise FormatError(f"expected a JSON object as {what}, got {quoted(content)}")
        self.what = what
        self._content = content

    def names(self) -> list[str]:
        """What there is to take."""
        return [*self._content]

    def take(self, name: str) -> Any:
        """A field of any kind, which must be there."""
        if name not in self._content:
            raise FormatError(f"expected {name!r} in {self.what}, got {quoted([*self._content])}")
        return self._content.pop(name)

    def text(self, name: str, max_length: int = 1000, pattern: str = "") -> str:
        """A text of printable characters."""
        value = self.take(name)
        if (
            type(value) is not str
            or len(value) > max_length
            or not value.isprintable()
            or (pattern and not re.fullmatch(pattern, value, re.ASCII))
        ):
            form = f" of the form {pattern}" if pattern else ""
            raise self._wrong(name, f"up to {max_length} printable characters{form}", value)
        return value

    def identifier(self, name: str) -> str:
        """A name such as those of axes and streams."""
        value = self.take(name)
        check_identifier(value, f"{name} in {self.what}")
        return str(value)

    def integer(self, name: str, lowest: int = 0, highest: int = MAX_COUNT) -> int:
        """A whole number."""
        value = self.take(name)
        if type(value) is not int or not lowest <= value <= highest:
            raise self._wrong(name, f"a whole number from {lowest} to {highest}", value)
        return value

    def choice(self, name: str, choices: Iterable[str]) -> str:
        """One of some names."""
        value = self.take(name)
        names = [*choices]
        if value not in names:
            raise self._wrong(name, f"one of {', '.join(names)}", value)
        return str(value)

    def truth(self, name: str) -> bool:
        """True or false."""
        value = self.take(name)
        if type(value) is not bool:
            raise self._wrong(name, "true or false", value)
        return value

    def number(self, name: str) -> float:
        """A finite number that is not negative."""
        value = self.take(name)
        if type(value) not in (int, float) or not 0 <= value <= MAX_COUNT:
            raise self._wrong(name, "a finite number >= 0", value)
        return float(value)

    def items(self, name: str, max_length: int) -> list[Any]:
        """A list."""
        value = self.take(name)
        if type(value) is not list or len(value) > max_length:
            raise self._wrong(name, f"a list of up to {max_length}", value)
        return value

    def identifiers(self, name: str, max_length: int) -> tuple[str, ...]:
        """A list of different names."""
        values = self.items(name, max_length)
        for value in values:
            check_identifier(value, f"{name} in {self.what}")
        if len(set(values)) != len(values):
            raise self._wrong(name, "different names", values)
        return tuple(values)

    def integers(
        self, name: str, max_length: int, lowest: int = 0, highest: int = MAX_COUNT
    ) -> tuple[int, ...]:
        """A list of whole numbers."""
        values = self.items(name, max_length)
        for value in values:
            if type(value) is not int or not lowest <= value <= highest:
                raise self._wrong(name, f"whole numbers from {lowest} to {highest}", value)
        return tuple(values)

    def fields(self, name: str) -> "Fields":
        """An object within."""
        return Fields(self.take(name), f"{name} of {self.what}")

    def mapping(self, name: str, max_length: int) -> dict[str, Any]:
        """An object with keys of its own choice, all identifiers; the values are unchecked."""
        value = self.take(name)
        if type(value) is not dict or len(value) > max_length:
            raise self._wrong(name, f"a JSON object of up to {max_length} entries", value)
        for key in value:
            check_identifier(key, f"a name in {name} of {self.what}")
        return value

    def version(self, format: str, newest: int) -> None:
        """What the document is, and that this vqkit knows its version."""
        got = self.take("format")
        if got != format:
            raise self._wrong("format", repr(format), got)
        version = self.integer("format_version", lowest=1)
        if version > newest:
            raise FormatError(f"expected format version {newest}, got {version}", fix=NEWER)

    def end(self) -> None:
        """Refuse fields that nobody took."""
        if self._content:
            raise FormatError(f"expected no more in {self.what}, got {quoted([*self._content])}")

    def _wrong(self, name: str, expected: str, got: Any) -> FormatError:
        return FormatError(f"expected {expected} as {name} of {self.what}, got {quoted(got)}")


def check_identifier(value: Any, what: str) -> None:
    """Refuse what is no name such as those of axes and streams."""
    if type(value) is not str or not _IDENTIFIER.fullmatch(value):
        raise FormatError(
            f"expected up to 32 characters a-z, 0-9, '_', '.' and '-' as {what}, "
            f"got {quoted(value)}"
        )


def dump_document(content: dict[str, Any]) -> bytes:
    """Canonical JSON with a checksum: sorted keys, no white space, ASCII.

    The field ``checksum`` is the SHA-256 of the document in which it stands as 64 zeros.
    """
    blank = {**content, "checksum": _NO_CHECKSUM}
    text = json.dumps(blank, sort_keys=True, separators=(",", ":"), allow_nan=False)
    data = text.encode("ascii")
    return data.replace(_NO_CHECKSUM.encode(), hashlib.sha256(data).hexdigest().encode(), 1)


def parse_document(data: bytes, what: str) -> Fields:
    """Read a JSON object with a checksum that fits, of which no key stands twice.

    Raises:
        FormatError: It is none.
    """
    fields = parse_object(data, what)
    checksum = fields.text("checksum", 64, "[0-9a-f]{64}").encode()
    computed = hashlib.sha256(data.replace(checksum, _NO_CHECKSUM.encode(), 1)).hexdigest()
    if checksum != computed.encode():
        raise FormatError(f"expected {what} with checksum {computed}, got {checksum.decode()}")
    return fields


def parse_object(data: bytes, what: str) -> Fields:
    """Read a JSON object of which no key stands twice.

    Raises:
        FormatError: It is none.
    """
    try:
        content = json.loads(
            data.decode("ascii"),
            object_pairs_hook=_without_duplicates,
            parse_constant=_refuse_constant,
        )
    except UnicodeDecodeError as error:
        raise FormatError(f"expected ASCII, got {data[error.start]:#04x}") from None
    except RecursionError:
        raise FormatError("expected flat JSON, got deep nesting") from None
    except ValueError as error:  # JSONDecodeError, or a number of thousands of digits
        raise FormatError(f"expected JSON, got {quoted(data[:80])} ({error})") from None
    return Fields(content, what)


@contextmanager
def explained(name: str) -> Iterator[None]:
    """Turn what is wrong with a file into a `TokenFileError` that names it."""
    try:
        yield
    except FormatError as error:
        raise TokenFileError(f"Cannot read {name}: {error.what}. {error.fix}") from None
    except MemoryError:
        raise TokenFileError(
            f"Cannot read {name}: expected content that fits the memory of this machine, got more. "
            f"{DAMAGED}"
        ) from None


def quoted(value: Any) -> str:
    """A value for a message: short, and harmless on a terminal."""
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


def is_close(read: float, computed: float) -> bool:
    """Whether a number that was written is the one that this machine computes."""
    return math.isclose(read, computed, rel_tol=1e-9, abs_tol=1e-9)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise FormatError(f"expected every key once, got {quoted([key for key, _ in pairs])}")
    return content


def _refuse_constant(text: str) -> Any:
    raise FormatError(f"expected finite numbers, got {quoted(text)}")
