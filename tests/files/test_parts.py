"""Parts of files: the right tokens, and no more bytes than they need."""

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.files.coded_samples import RESOURCES, skewed
from tests.files.samples import SAMPLES, cartoon, photo, speech
from tests.files.test_recovery import flip, layout_of, written
from vqkit.errors import ShapeError, TokenFileError
from vqkit.files import dumps, read_part


class Counting(io.RawIOBase):
    """A file that says which of its bytes were read."""

    def __init__(self, data: bytes) -> None:
        self.data = io.BytesIO(data)
        self.was_read = bytearray(len(data))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.data.seek(offset, whence)

    def read(self, size: int = -1) -> bytes:
        start = self.data.tell()
        piece = self.data.read(size)
        self.was_read[start : start + len(piece)] = b"\1" * len(piece)
        return piece


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_any_part_is_that_part(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(SAMPLES)))
    tokens, _ = SAMPLES[name]
    stream_name = data.draw(st.sampled_from(sorted(tokens.streams)))
    stream = tokens.streams[stream_name]
    ranges = {}
    for axis, size in zip(stream.axes, stream.grid, strict=True):
        if size and data.draw(st.booleans()):
            start = data.draw(st.integers(0, size - 1))
            ranges[axis] = (start, data.draw(st.integers(start + 1, size)))
    codebooks = data.draw(st.one_of(st.none(), st.integers(1, 10)))
    part = read_part(written(name), ranges, codebooks=codebooks, stream=stream_name)
    tile = [slice(*ranges.get(axis, (None, None))) for axis in stream.axes]
    expected = stream.indices[(slice(None), *tile, slice(codebooks))]
    assert torch.equal(part.indices, expected)
    assert part.codebook_sizes == stream.codebook_sizes[:codebooks]
    assert part.axes == stream.axes


@pytest.mark.parametrize("coder", ["auto", "fixed"])
def test_only_the_chunks_that_are_needed_are_read(coder: str) -> None:
    data = dumps(photo(), chunk_rows=2, coder=coder)
    file = Counting(data)
    part = read_part(file, {"height": (9, 13), "width": (5, 20)})
    assert torch.equal(part.indices, photo().indices[:, 9:13, 5:20])
    chunks = layout_of(data)
    for number, placed in enumerate(chunks):
        touched = sum(file.was_read[placed.offset : placed.offset + placed.chunk.size_bytes])
        assert touched == (placed.chunk.size_bytes if 4 <= number <= 6 else 0)
    assert sum(file.was_read) < 0.45 * len(data)


def test_other_chunks_may_be_damaged() -> None:
    data = dumps(photo(), chunk_rows=5)
    chunks = layout_of(data)
    damaged = flip(data, chunks[3].offset + 40)
    part = read_part(damaged, {"height": (0, 15)})
    assert torch.equal(part.indices, photo().indices[:, :15])
    with pytest.raises(TokenFileError, match=r"CRC-32.*chunk of rows from 15"):
        read_part(damaged, {"height": (14, 16)})
    with pytest.raises(TokenFileError, match="a chunk as the index says"):
        read_part(flip(data, chunks[3].offset + 1), {"height": (15, 16)})


def test_tables_in_the_file_and_of_the_model_are_used() -> None:
    tokens = skewed(0, (200, 30))
    own, models = dumps(tokens, chunk_rows=4), dumps(tokens, chunk_rows=4, resources=RESOURCES)
    assert layout_of(own)[0].chunk.mode == 6
    for data, resources in ((own, None), (models, RESOURCES)):
        part = read_part(data, {"height": (50, 60)}, codebooks=1, resources=resources)
        assert torch.equal(part.indices, tokens.indices[:, 50:60, :, :1])
    with pytest.raises(TokenFileError, match="expected the tables with digest"):
        read_part(models, {"height": (50, 60)})


def test_paths_and_whole_streams(tmp_path: Path) -> None:
    path = tmp_path / "clip.vqt"
    path.write_bytes(dumps(cartoon(), chunk_rows=1))
    assert read_part(path).same_as(cartoon().streams["tokens"])
    assert read_part(path, {"time": (2, 3)}).indices.shape == (1, 1, 9, 17, 2)


@pytest.mark.parametrize(
    ("ranges", "stream", "message"),
    [
        ({"height": (0, 1)}, "tokens", r"No axis 'height' .*one of \['time', 'band'\]"),
        ({"time": (0, 76)}, "tokens", "positions within 0 to 75, got 0 to 76"),
        ({"time": (3, 3)}, "tokens", "got 3 to 3"),
        ({"time": (-1, 3)}, "tokens", "got -1 to 3"),
        ({}, "text", r"No stream 'text' .*'gain', 'pauses', 'speaker', 'tokens'"),
        ({"time": (0, 1)}, "speaker", r"No axis 'time' .*one of \[\]"),
    ],
)
def test_parts_that_are_not_there(ranges: Any, stream: str, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        read_part(dumps(speech()), ranges, stream=stream)


def test_a_pipe_has_no_parts() -> None:
    class Pipe:
        def read(self, size: int) -> bytes:
            return b""

    with pytest.raises(TokenFileError, match=r"expected a file, got a pipe.*TokenReader"):
        read_part(Pipe(), {"height": (0, 1)})
