import io
from typing import Any

import pytest

from tests.files.crafted import SOUND, SYMBOLS, varint
from vqkit.errors import TokenFileError
from vqkit.files import read_info, read_tokens
from vqkit.files.format_error import FormatError
from vqkit.files.reader import Reader


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, (1 << 63) - 1])
def test_varints(value: int) -> None:
    reader = Reader(io.BytesIO(varint(value) + b"rest"), "data")
    assert reader.varint() == value
    assert reader.exactly(4) == b"rest"


def test_errors_say_where_in_which_file() -> None:
    reader = Reader(io.BytesIO(b"0123456789"), "photo.vqt")
    reader.exactly(4)
    reader.begin("chunk 7")
    reader.exactly(3)
    with (
        pytest.raises(
            TokenFileError,
            match=r"^Cannot read photo.vqt: expected 5 more bytes, got the end of the file "
            r"\(chunk 7 at byte 4\). The file is damaged: fetch an intact copy or encode",
        ),
        reader.explained(),
    ):
        reader.exactly(8)


def test_reads_in_pieces_and_never_more_than_asked() -> None:
    asked = []

    class Zeros:
        def read(self, size: int) -> bytes:
            asked.append(size)
            return bytes(min(size, 3 << 18))

    reader = Reader(Zeros(), "zeros")
    assert reader.exactly((2 << 20) + 5) == bytes((2 << 20) + 5)
    assert max(asked) <= 1 << 20
    assert reader.offset == (2 << 20) + 5


def test_an_endless_stream_ends_at_the_first_lie() -> None:
    class Endless:
        def __init__(self, start: bytes) -> None:
            self.start = io.BytesIO(start)
            self.num_bytes = 0

        def read(self, size: int) -> bytes:
            piece = self.start.read(size) or bytes(size)
            self.num_bytes += len(piece)
            assert self.num_bytes < len(SOUND) + 100
            return piece

    for start in (b"", SOUND[:8], SOUND[:30], SOUND[:-3], SOUND):
        with pytest.raises(TokenFileError):
            read_tokens(Endless(start))


def test_a_stream_is_taken_from_where_it_stands() -> None:
    stream = io.BytesIO(b"before" + SOUND)
    stream.seek(6)
    assert read_tokens(stream).indices.flatten().tolist() == SYMBOLS
    stream.seek(6)
    assert read_info(stream) == read_info(SOUND)


class Broken:
    """A stream that gives something else than bytes."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.name = "broken"

    def read(self, size: int) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "broken: expected bytes, got NoneType.*binary, blocking mode"),
        ("text", "broken: expected bytes, got str"),
        (OSError(5, "Input/output error"), r"broken: Input/output error \(byte 0\)"),
    ],
)
def test_broken_streams(answer: Any, message: str) -> None:
    with pytest.raises(TokenFileError, match=message):
        read_tokens(Broken(answer))


def test_problems_outside_a_file_stay_internal() -> None:
    with pytest.raises(FormatError):
        Reader(io.BytesIO(b""), "data").exactly(1)
