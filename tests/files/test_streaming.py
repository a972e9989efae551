"""Token files written and read while their tokens are being made."""

import io
import os
import threading
import tracemalloc
from typing import Any

import pytest
import torch

from tests.files.coded_samples import RESOURCES, skewed
from tests.files.samples import SAMPLES, speech
from tests.files.specification import read_vqt, says_the_same
from vqkit.errors import ConfigError, ShapeError, TokenFileError
from vqkit.files import (
    FileHeader,
    Limits,
    StreamHeader,
    TokenReader,
    TokenWriter,
    dumps,
    loads,
    read_info,
    verify,
)
from vqkit.tokenizers.tokens import Tokens, TokenStream


def open_header(*streams: StreamHeader, **media: int | None) -> FileHeader:
    return FileHeader("audio", media, "audio/example", "0" * 32, streams)


FRAMES = StreamHeader("tokens", ("time", "band"), (0, 2), (1024, 3), is_open=True)


def frames(count: int, seed: int = 0) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    columns = [torch.randint(size, (count, 2, 1), generator=random) for size in (1024, 3)]
    return torch.cat(columns, dim=-1)


def as_tokens(rows: torch.Tensor, **media: int) -> Tokens:
    stream = TokenStream(rows[None], (1024, 3), ("time", "band"))
    return Tokens({"tokens": stream}, (media,), "audio", "audio/example", "0" * 32)


@pytest.mark.parametrize("pieces", [[25], [1] * 25, [7, 0, 11, 7], []])
def test_rows_may_come_in_any_pieces(pieces: list[int]) -> None:
    rows, target = frames(sum(pieces)), io.BytesIO()
    with TokenWriter(
        target, open_header(FRAMES, samples=None, sample_rate_hz=16_000), chunk_rows=10
    ) as writer:
        for piece in rows.split(pieces):
            writer.append(piece)
        writer.close({"samples": 320 * len(rows)})
    data = target.getvalue()
    expected = as_tokens(rows, samples=320 * len(rows), sample_rate_hz=16_000)
    assert loads(data).same_as(expected)
    assert says_the_same(data, expected)
    assert read_info(data) == read_info(io.BytesIO(data)) == verify(data)
    assert read_info(data).media == {"samples": 320 * len(rows), "sample_rate_hz": 16_000}
    assert read_info(data).num_chunks == -(-len(rows) // 10)
    assert read_info(data).token_hash == read_info(dumps(expected)).token_hash


def test_a_file_of_known_length_can_be_streamed_too() -> None:
    rows, target = frames(20), io.BytesIO()
    closed = StreamHeader("tokens", ("time", "band"), (20, 2), (1024, 3))
    with TokenWriter(target, open_header(closed, samples=6400), chunk_rows=8) as writer:
        writer.append(rows)
    assert target.getvalue() == dumps(as_tokens(rows, samples=6400), chunk_rows=8)


def test_streams_may_be_mixed() -> None:
    tokens, target = speech(), io.BytesIO()
    streams = [
        StreamHeader(name, s.axes, (0, *s.grid[1:]), s.codebook_sizes, is_open=True)
        if s.axes
        else StreamHeader(name, (), (), s.codebook_sizes)
        for name, s in sorted(tokens.streams.items())
    ]
    header = FileHeader("audio", tokens.media[0], tokens.tokenizer, tokens.fingerprint, (*streams,))
    with TokenWriter(target, header, chunk_rows=8) as writer:
        for start in range(0, 75, 15):
            writer.append(tokens.indices[0, start : start + 15])
            writer.append(tokens.streams["gain"].indices[0, start // 8 : (start + 15) // 8], "gain")
        writer.append(tokens.streams["gain"].indices[0, 9:], "gain")
        speaker = tokens.streams["speaker"]
        writer.append(speaker.indices, "speaker")
    assert loads(target.getvalue()).same_as(tokens)
    assert read_info(target.getvalue()).token_hash == read_info(dumps(tokens)).token_hash


def test_chunks_leave_as_soon_as_their_rows_are_there() -> None:
    target = io.BytesIO()
    writer = TokenWriter(target, open_header(FRAMES, samples=None), chunk_rows=10)
    sizes = [len(target.getvalue())]
    for _ in range(4):
        writer.append(frames(5))
        sizes.append(len(target.getvalue()))
    assert sizes[0] == sizes[1] < sizes[2] == sizes[3] < sizes[4]


def test_rows_are_read_before_the_footer_is_written() -> None:
    read_end, write_end = os.pipe()
    sink = os.fdopen(write_end, "wb", buffering=0)
    with os.fdopen(read_end, "rb") as source:
        writer = TokenWriter(sink, open_header(FRAMES, samples=None), chunk_rows=5)
        with TokenReader(source) as reader:
            assert reader.header.open_media == ["samples"]
            assert reader.header.streams[0].is_open
            rows = iter(reader)
            for start in (0, 5):
                writer.append(frames(5, seed=start))
                got = next(rows)
                assert (got.stream, got.start_row) == ("tokens", start)
                assert torch.equal(got.indices, frames(5, seed=start))
            writer.close({"samples": 3200})
            sink.close()
            assert list(rows) == []
            assert reader.header.media == {"samples": 3200}
            assert reader.header.streams[0].shape == (10, 2)
            assert reader.info.num_chunks == 2


def test_memory_is_that_of_a_chunk() -> None:
    """Two million rows through a pipe whose reader forgets them."""
    read_end, write_end = os.pipe()
    num_rows, step = 2_000_000, 20_000
    single = StreamHeader("tokens", ("time",), (0,), (4,), is_open=True)

    def feed() -> None:
        with (
            os.fdopen(write_end, "wb") as sink,
            TokenWriter(sink, open_header(single), chunk_rows=step, coder="fixed") as writer,
        ):
            for _ in range(num_rows // step):
                writer.append(torch.ones(step, 1, dtype=torch.int64))

    tracemalloc.start()
    feeder = threading.Thread(target=feed)
    feeder.start()
    with os.fdopen(read_end, "rb") as source, TokenReader(source) as reader:
        count = sum(len(rows.indices) for rows in reader)
    feeder.join()
    assert count == num_rows
    assert tracemalloc.get_traced_memory()[1] < 4 << 20  # all of them would be 16 MB
    tracemalloc.stop()


@pytest.mark.parametrize("name", SAMPLES)
def test_any_file_is_read_chunk_by_chunk(name: str) -> None:
    tokens, chunk_rows = SAMPLES[name]
    parts: dict[str, list[torch.Tensor]] = {}
    with TokenReader(dumps(tokens, chunk_rows=chunk_rows)) as reader:
        for rows in reader:
            assert rows.start_row == sum(map(len, parts.get(rows.stream, [])))
            parts.setdefault(rows.stream, []).append(rows.indices)
    for stream, pieces in parts.items():
        joined = torch.cat(pieces)
        assert torch.equal(
            joined.reshape(tokens.streams[stream].indices[0].shape),
            tokens.streams[stream].indices[0],
        )


def test_tables_of_the_model_are_used() -> None:
    tokens, target = skewed(0), io.BytesIO()
    stream = StreamHeader("tokens", ("height", "width"), (0, 30), (400, 100), is_open=True)
    header = FileHeader("image", tokens.media[0], tokens.tokenizer, tokens.fingerprint, (stream,))
    with TokenWriter(target, header, chunk_rows=10, resources=RESOURCES) as writer:
        writer.append(tokens.indices[0])
    assert read_info(target.getvalue()).streams[0].modes == (1,)
    assert loads(target.getvalue(), resources=RESOURCES).same_as(tokens)
    with (
        TokenReader(target.getvalue()) as reader,
        pytest.raises(TokenFileError, match="expected the tables with digest"),
    ):
        list(reader)


def test_a_writer_that_fails_leaves_an_incomplete_file() -> None:
    target = io.BytesIO()

    def write() -> None:
        with TokenWriter(target, open_header(FRAMES), chunk_rows=5) as writer:
            writer.append(frames(12))
            writer.append(frames(1) + 5000)

    with pytest.raises(ShapeError):
        write()
    with pytest.raises(TokenFileError):
        loads(target.getvalue())
    with TokenReader(target.getvalue()) as reader:
        rows = iter(reader)
        assert [len(next(rows).indices), len(next(rows).indices)] == [5, 5]
        with pytest.raises(TokenFileError, match="end of the file"):
            next(rows)


def test_damage_is_found_when_it_comes() -> None:
    target = io.BytesIO()
    with TokenWriter(target, open_header(FRAMES), chunk_rows=5) as writer:
        writer.append(frames(10))
    data = bytearray(target.getvalue())
    data[-40] ^= 1
    with TokenReader(data) as reader, pytest.raises(TokenFileError):
        list(reader)
    data = bytearray(target.getvalue())
    data[20] ^= 1
    with pytest.raises(TokenFileError, match="CRC-32"), TokenReader(data):
        pass


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        (lambda w: w.append(frames(2), "gain"), TokenFileError, "expected one of .'tokens'."),
        (lambda w: w.append(frames(2)[:, :1]), TokenFileError, r"rows of \[2\] pos.*got \[1\]"),
        (lambda w: w.append(frames(2) + 5000), ShapeError, "codebook 0 of 1024"),
        (lambda w: w.append(frames(2)[..., :1]), ShapeError, r"codebook\(s\), got"),
        (lambda w: w.close(), TokenFileError, r"the media sizes \['samples'\], got \[\]"),
        (lambda w: w.close({"b": 1}), TokenFileError, r"\['samples'\], got \['b'\]"),
        (lambda w: w.close({"samples": 1 << 60}), TokenFileError, "up to 9007199254740992"),
    ],
)
def test_what_does_not_fit_is_refused(
    act: Any, error: type[Exception], message: str, unchecked_shapes: None
) -> None:
    writer = TokenWriter(io.BytesIO(), open_header(FRAMES, samples=None), chunk_rows=5)
    with pytest.raises(error, match=message):
        act(writer)


def test_settings_of_a_writer_are_checked() -> None:
    for settings in ({"chunk_rows": 0}, {"chunk_rows": 5, "coder": "zip"}):
        with pytest.raises(ConfigError):
            TokenWriter(io.BytesIO(), open_header(FRAMES), **settings)
    huge = StreamHeader("tokens", ("time",), (1 << 40,), (2,))
    with pytest.raises(TokenFileError, match="positions along an axis"):
        TokenWriter(io.BytesIO(), open_header(huge), chunk_rows=5)
    short = StreamHeader("tokens", ("time", "band"), (3, 2), (1024, 3))
    writer = TokenWriter(io.BytesIO(), open_header(short), chunk_rows=5)
    writer.append(frames(2))
    with pytest.raises(TokenFileError, match="expected 12 symbols in stream 'tokens', got 8"):
        writer.close()
    writer = TokenWriter(io.BytesIO(), open_header(short), chunk_rows=2)
    with pytest.raises(TokenFileError, match="of the 4 symbols that stream 'tokens' has left"):
        writer.append(frames(5))


def test_an_open_file_is_held_to_the_limits() -> None:
    target = io.BytesIO()
    free = StreamHeader("tokens", ("time",), (0,), (1, 7), is_open=True)
    with TokenWriter(target, open_header(free), chunk_rows=100) as writer:
        writer.append(torch.zeros(1000, 2, dtype=torch.int64))
    data = target.getvalue()
    assert loads(data, limits=Limits(num_tokens=2000, num_free_tokens=1000)).num_tokens == 2000
    for limits in (Limits(num_tokens=1999), Limits(num_free_tokens=999)):
        for read in (loads, read_info, verify):
            with pytest.raises(TokenFileError, match=r"expected at most|of the 1999 symbols"):
                read(data, limits=limits)
    assert read_vqt(data)[0]["streams"]["tokens"][1] == [1000]
