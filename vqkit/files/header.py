"""The header of a token file: canonical JSON that says what the chunks hold.

Canonical means that one content has one spelling: sorted keys, no white space, ASCII, whole
numbers.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vqkit.files.format_error import FormatError
from vqkit.files.limits import Limits
from vqkit.files.modes import ChunkLayout

__all__ = ["BYTE_AXIS", "FileHeader", "StreamHeader"]

BYTE_AXIS = "byte"
"""Name of the axis of a stream that is a file by itself, byte after byte: 256 codes."""

_IDENTIFIER = re.compile(r"[a-z][a-z0-9_.-]{0,31}", re.ASCII)
_FINGERPRINT = re.compile(r"[0-9a-f]{32}", re.ASCII)
_MAX_TOKENIZER_LENGTH = 200
_MAX_MEDIA_SIZE = 1 << 53  # the whole numbers that every JSON reader keeps exact


@dataclass(frozen=True)
class StreamHeader:
    """Name, axes, shape and codebooks of one array of integers ``[*shape, codebooks]``.

    An *open* stream grows along its first axis, whose size is 0 here and ``null`` in the file; its
    chunks tell how long it became.
    """

    name: str
    axes: tuple[str, ...]
    shape: tuple[int, ...]
    codebook_sizes: tuple[int, ...]
    is_open: bool = False

    @property
    def num_symbols(self) -> int:
        """Integers of the whole array."""
        return math.prod(self.shape) * len(self.codebook_sizes)

    @property
    def is_of_bytes(self) -> bool:
        """Whether it is a file inside the file, whose rows by themselves mean nothing."""
        return (self.axes, self.codebook_sizes) == ((BYTE_AXIS,), (256,))

    @property
    def symbols_per_row(self) -> int:
        """Integers of one step along the first axis, the unit that chunks are made of."""
        return math.prod(self.shape[1:]) * len(self.codebook_sizes)

    def layout_of(self, num_symbols: int) -> ChunkLayout:
        """Whole rows that hold so many integers."""
        grid: tuple[int, ...] = ()
        if self.shape:
            grid = (num_symbols // max(1, self.symbols_per_row), *self.shape[1:])
        return ChunkLayout(self.name, grid, self.codebook_sizes)

    @property
    def nominal_bits(self) -> float:
        """``log2`` of the codebook's size, summed over all integers."""
        return math.prod(self.shape) * sum(math.log2(size) for size in self.codebook_sizes)


@dataclass(frozen=True)
class FileHeader:
    """What a token file says of its one media item; streams are sorted by name.

    Sizes of the media that are None are not known yet: the footer tells them.
    """

    modality: str
    media: Mapping[str, int | None]
    tokenizer: str
    fingerprint: str
    streams: tuple[StreamHeader, ...]

    def to_bytes(self) -> bytes:
        """The canonical JSON text."""
        return _canonical(
            {
                "media": [self.modality, dict(self.media)],
                "model": [self.tokenizer, self.fingerprint],
                "streams": {
                    s.name: [list(s.axes), _shape_text(s), list(s.codebook_sizes)]
                    for s in self.streams
                },
            }
        )

    @property
    def known_media(self) -> dict[str, int]:
        """The sizes of the media that are known."""
        return {name: size for name, size in self.media.items() if size is not None}

    @property
    def open_media(self) -> list[str]:
        """Names of the sizes that are not known yet, in the order of the text."""
        return sorted(name for name, size in self.media.items() if size is None)

    def with_media(self, sizes: Mapping[str, int]) -> "FileHeader":
        """The same with sizes of the media that were not known.

        Raises:
            FormatError: A size that no file may state.
        """
        media = {name: sizes.get(name, size) for name, size in self.media.items()}
        _check_media(media)
        return replace(self, media=media)

    def with_symbols(self, counts: Sequence[int]) -> "FileHeader":
        """The same with open streams as long as their number of symbols says."""
        streams = []
        for stream, count in zip(self.streams, counts, strict=True):
            if stream.is_open:
                shape = stream.layout_of(count).grid
                stream = replace(stream, shape=shape, is_open=False)
            streams.append(stream)
        return replace(self, streams=tuple(streams))

    @staticmethod
    def from_bytes(data: bytes, limits: Limits) -> "FileHeader":
        """Parse and check everything; nothing is allocated by the sizes that it declares."""
        content = _parse(data)
        _check_keys(content)
        modality, media = _pair(content["media"], "media")
        tokenizer, fingerprint = _pair(content["model"], "model")
        _check_identifier(modality, "modality")
        _check_media(media)
        _check_tokenizer(tokenizer)
        if type(fingerprint) is not str or not _FINGERPRINT.fullmatch(fingerprint):
            raise FormatError(
                f"expected a fingerprint of 32 hex digits, got {_quoted(fingerprint)}"
            )
        streams = content["streams"]
        if type(streams) is not dict or not streams:
            raise FormatError(f"expected streams by name, got {_quoted(streams)}")
        header = FileHeader(
            modality=modality,
            media=media,
            tokenizer=tokenizer,
            fingerprint=fingerprint,
            streams=tuple(_stream(name, value, limits) for name, value in streams.items()),
        )
        _check_totals(header.streams, limits)
        if header.to_bytes() != data:
            raise FormatError("expected canonical JSON: sorted keys, no white space, plain numbers")
        return header


def _shape_text(stream: StreamHeader) -> list[int | None]:
    return [None, *stream.shape[1:]] if stream.is_open else [*stream.shape]


def _canonical(content: Any) -> bytes:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode("ascii")


def _parse(data: bytes) -> Any:
    try:
        return json.loads(
            data.decode("ascii"),
            object_pairs_hook=_without_duplicates,
            parse_float=_refuse_number,
            parse_constant=_refuse_number,
        )
    except UnicodeDecodeError as error:
        raise FormatError(f"expected ASCII, got {data[error.start]:#04x}") from None
    except RecursionError:
        raise FormatError("expected flat JSON, got deep nesting") from None
    except ValueError as error:  # JSONDecodeError, or a number of thousands of digits
        raise FormatError(f"expected JSON, got {_quoted(data)} ({error})") from None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise FormatError(f"expected every key once, got {_quoted([key for key, _ in pairs])}")
    return content


def _refuse_number(text: str) -> Any:
    raise FormatError(f"expected whole numbers only, got {_quoted(text)}")


def _check_keys(content: Any) -> None:
    expected = ["media", "model", "streams"]
    if type(content) is not dict or sorted(content) != expected:
        got = sorted(content) if type(content) is dict else content
        raise FormatError(f"expected the keys {expected}, got {_quoted(got)}")


def _pair(value: Any, what: str) -> tuple[Any, Any]:
    if type(value) is not list or len(value) != 2:
        raise FormatError(f"expected a pair as {what}, got {_quoted(value)}")
    return value[0], value[1]


def _stream(name: str, value: Any, limits: Limits) -> StreamHeader:
    _check_identifier(name, "stream name")
    if type(value) is not list or len(value) != 3 or not all(type(x) is list for x in value):
        raise FormatError(
            f"expected [axes, shape, codebook sizes] for stream {name!r}, got {_quoted(value)}"
        )
    axes, shape, codebook_sizes = value
    for axis in axes:
        _check_identifier(axis, "axis name")
    if len(set(axes)) != len(axes) or len(shape) != len(axes):
        raise FormatError(
            f"expected one size for each of different axes in stream {name!r}, "
            f"got axes {_quoted(axes)} and shape {_quoted(shape)}"
        )
    limits.check("grid_rank", len(axes), f"axes in stream {name!r}")
    is_open = bool(shape) and shape[0] is None
    if is_open:
        shape = [0, *shape[1:]]
    for size in shape:
        _check_integer(size, 0, f"grid size in stream {name!r}")
        limits.check("num_tokens", size, f"positions along an axis of stream {name!r}")
    if not codebook_sizes:
        raise FormatError(f"expected at least one codebook in stream {name!r}, got none")
    for size in codebook_sizes:
        _check_integer(size, 1, f"codebook size in stream {name!r}")
        limits.check("codebook_size", size, f"codes in a codebook of stream {name!r}")
    return StreamHeader(name, tuple(axes), tuple(shape), tuple(codebook_sizes), is_open)


def _check_totals(streams: tuple[StreamHeader, ...], limits: Limits) -> None:
    num_tokens = num_free_tokens = 0
    for stream in streams:
        # An empty axis must not hide the size of the others, whose product strides overflow.
        num_positions = math.prod(max(size, 1) for size in stream.shape)
        num_tokens += num_positions * len(stream.codebook_sizes)
        num_free_tokens += num_positions * stream.codebook_sizes.count(1)
    limits.check("num_tokens", num_tokens, "tokens")
    limits.check("num_free_tokens", num_free_tokens, "tokens of codebooks with one code")


def _check_media(value: Any) -> None:
    if type(value) is not dict:
        raise FormatError(f"expected media sizes by name, got {_quoted(value)}")
    for name, size in value.items():
        _check_identifier(name, "media size name")
        if size is None:
            continue
        _check_integer(size, 0, f"media size {name!r}")
        if size > _MAX_MEDIA_SIZE:
            raise FormatError(f"expected a media size {name!r} up to {_MAX_MEDIA_SIZE}, got {size}")


def _check_tokenizer(value: Any) -> None:
    if type(value) is not str or len(value) > _MAX_TOKENIZER_LENGTH or not value.isprintable():
        raise FormatError(
            f"expected a tokenizer id of up to {_MAX_TOKENIZER_LENGTH} printable characters, "
            f"got {_quoted(value)}"
        )


def _check_identifier(value: Any, what: str) -> None:
    if type(value) is not str or not _IDENTIFIER.fullmatch(value):
        raise FormatError(
            f"expected as {what} up to 32 characters a-z, 0-9, '_', '.' and '-', "
            f"got {_quoted(value)}"
        )


def _check_integer(value: Any, lowest: int, what: str) -> None:
    if type(value) is not int or value < lowest:
        raise FormatError(f"expected a whole {what} >= {lowest}, got {_quoted(value)}")


def _quoted(value: Any) -> str:
    """A value for a message: short, and harmless on a terminal."""
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
