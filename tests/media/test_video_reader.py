"""Videos read block by block and from anywhere: always the frames of the whole."""

import functools
import io
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.media.video_files import by_ffmpeg, clip, written
from vqkit.errors import ConfigError, MediaError
from vqkit.media import FrameTimes, Video, VideoReader, exact_rate, read_video

SLOW = pytest.mark.slow
CLIP = clip(40, 32, 48)
TICKS = [0, 1, 2, 5, 6, 7, 11, 12, 13, 14, 20, 21, 22, 23, 24, 30, 31, 32, 33, 40]


def neutral(frames: torch.Tensor) -> list[list[np.ndarray]]:
    levels = ((frames[0] + 1) * 127.5).round().to(torch.uint8).numpy()
    flat = np.full((16, 24), 128, np.uint8)
    return [[level, flat, flat] for level in levels]


def _mp4() -> bytes:
    """A key frame in seven, frames that refer to later ones, groups that are not closed."""
    return by_ffmpeg(
        neutral(CLIP), container="mp4", encoding="libx264", pixel_format="yuv420p",
        options={"g": "7", "bf": "3", "x264-params": "open-gop=1:keyint=7:scenecut=0"},
    )  # fmt: skip


def _webm() -> bytes:
    return by_ffmpeg(
        neutral(CLIP), container="webm", encoding="libvpx-vp9", pixel_format="yuv420p",
        options={"g": "9", "cpu-used": "8", "auto-alt-ref": "1", "lag-in-frames": "16"},
    )  # fmt: skip


def _times() -> bytes:
    return by_ffmpeg(
        neutral(CLIP[:, :20]), container="matroska", encoding="libx264", pixel_format="yuv420p",
        options={"g": "5"}, pts=TICKS, time_base=Fraction(1, 10),
    )  # fmt: skip


MAKERS = {
    "mp4": _mp4,
    "webm": _webm,
    "times": _times,
    "y4m": lambda: written(CLIP, format="y4m"),
    "gif": lambda: written(CLIP[:, :9], format="gif"),
}
QUICK = ("mp4", "times")
NAMES = [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in MAKERS]


@functools.cache
def file_of(name: str) -> bytes:
    return MAKERS[name]()


@functools.cache
def whole_of(name: str) -> Video:
    return read_video(file_of(name))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "num_frames", [7, pytest.param(1, marks=SLOW), pytest.param(10**9, marks=SLOW)]
)
def test_blocks_joined_are_the_whole(name, num_frames):
    with VideoReader(file_of(name)) as reader:
        blocks, ticks = [], []
        for block in reader.blocks(num_frames):
            blocks.append(block)
            ticks += reader.block_times.ticks
        assert tuple(ticks) == whole_of(name).times.ticks
        assert reader.read(3).shape == (3, 0, 32, 48)
        assert reader.times == whole_of(name).times
    assert torch.equal(torch.cat(blocks, 1), whole_of(name).frames)
    assert all(block.shape[1] == num_frames for block in blocks[:-1])


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(
    name=st.sampled_from(QUICK),
    moves=st.lists(st.tuples(st.integers(0, 4100), st.integers(0, 9)), min_size=1, max_size=3),
)
def test_whatever_is_read_is_a_part_of_the_whole(name, moves):
    whole = whole_of(name)
    with VideoReader(file_of(name)) as reader:
        for milliseconds, length in moves:
            seconds = Fraction(milliseconds, 1000)
            reader.seek(seconds)
            begins = [tick * whole.times.time_base for tick in whole.times.ticks]
            first = sum(begin < seconds - Fraction(1, 2000) for begin in begins)
            assert torch.equal(reader.read(length), whole.frames[:, first : first + length])
            assert reader.times.ticks == tuple(whole.times.ticks[first : first + length])


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(
    name=st.sampled_from(QUICK),
    start=st.integers(0, 4100),
    steps=st.lists(st.integers(0, 300), max_size=6),
    before=st.integers(0, 20),
)
def test_the_frame_nearest_to_a_time(name, start, steps, before):
    whole = whole_of(name)
    times = [Fraction(start + sum(steps[:i]), 1000) for i in range(len(steps) + 1)]
    with VideoReader(file_of(name)) as reader:
        reader.read(before)
        found = reader.nearest(times)

    def naive(seconds):
        gaps = [abs(tick * whole.times.time_base - seconds) for tick in whole.times.ticks]
        return gaps.index(min(gaps))

    chosen = [naive(seconds) for seconds in times]
    assert torch.equal(found, whole.frames[:, chosen])
    assert chosen == [whole.times.nearest(seconds) for seconds in times]


@pytest.mark.parametrize(
    "name", ["times", *(pytest.param(n, marks=SLOW) for n in ("webm", "gif", "mp4"))]
)
def test_every_time_of_every_file(name):
    whole = whole_of(name)
    begins = [tick * whole.times.time_base for tick in whole.times.ticks]
    with VideoReader(file_of(name)) as reader:
        for seconds in [*begins, *(begin + Fraction(1, 70) for begin in begins[::3])][::-1]:
            reader.seek(seconds)
            first = sum(begin < seconds - Fraction(1, 2000) for begin in begins)
            assert torch.equal(reader.read(1), whole.frames[:, first : first + 1])
            assert torch.equal(
                reader.nearest([seconds])[:, 0], whole.frames[:, whole.times.nearest(seconds)]
            )


def test_seeking_decodes_from_the_key_frame_on(monkeypatch):
    """And not from the start of the file."""
    from vqkit.media.video_pyav import PyAVVideoDecoder

    decoded = []
    plain = PyAVVideoDecoder._decoded

    def counted(self, **options):
        for frame in plain(self, **options):
            decoded.append(frame.ticks)
            yield frame

    monkeypatch.setattr(PyAVVideoDecoder, "_decoded", counted)
    with VideoReader(file_of("times")) as reader:
        decoded.clear()
        reader.nearest([Fraction(31, 10)])
    assert len(decoded) < 9
    assert min(decoded) * whole_of("times").times.time_base >= Fraction(25, 10)


def test_a_pipe_is_read_too():
    class Pipe(io.BytesIO):
        def seekable(self):
            return False

    with VideoReader(Pipe(file_of("mp4"))) as reader:
        assert torch.equal(torch.cat(list(reader.blocks(16)), 1), whole_of("mp4").frames)


def test_a_closed_reader_says_so():
    reader = VideoReader(file_of("y4m"))
    reader.close()
    reader.close()
    for act in (
        lambda: reader.read(1),
        lambda: reader.seek(0),
        lambda: next(reader.blocks(1)),
        lambda: reader.nearest([Fraction(0)]),
    ):
        with pytest.raises(ConfigError, match="reader is closed"):
            act()


def test_numbers_that_are_none():
    with VideoReader(file_of("y4m")) as reader:
        for act, reason in (
            (lambda: reader.read(-1), "expected 0 or more, got -1"),
            (lambda: next(reader.blocks(0)), "expected 1 or more, got 0"),
            (lambda: reader.seek(-0.1), "expected 0 or more, got -0.1"),
            (lambda: reader.nearest([]), "expected one or more"),
            (lambda: reader.nearest([Fraction(1), Fraction(0)]), "none before its predecessor"),
        ):
            with pytest.raises(ConfigError, match=reason):
                act()


def test_files_are_closed_whatever_happens(tmp_path):
    """An open file that is forgotten would be a ResourceWarning, which is an error here."""
    path = tmp_path / "clip"
    for content in (*map(file_of, QUICK), file_of("mp4")[:900], b"DKIF", b"none", b""):
        path.write_bytes(content)
        try:
            with VideoReader(path) as reader:
                reader.read(2)
                reader.seek(0)
        except MediaError:
            continue
    assert path.stat().st_size == 0


def test_rates_as_fractions():
    assert exact_rate(29.97) == exact_rate(30000 / 1001) == Fraction(30000, 1001)
    assert exact_rate(23.976) == exact_rate(23.98) == Fraction(24000, 1001)
    assert exact_rate(59.94) == Fraction(60000, 1001)
    assert [exact_rate(rate) for rate in (25, 12.5, 0.1, 24.0)] == [
        25, Fraction(25, 2), Fraction(1, 10), 24,
    ]  # fmt: skip
    for rate in (0, -1.0, 1001):
        with pytest.raises(ConfigError, match="frame_rate: expected above 0"):
            exact_rate(rate)


def test_times():
    times = FrameTimes((0, 10, 20, 45), 5, Fraction(1, 100))
    assert times.durations == (10, 10, 25, 5)
    assert (times.end, times.seconds, times.frame_rate) == (50, Fraction(1, 2), 8)
    assert not times.is_constant
    assert FrameTimes((0, 33, 67, 100), 33, Fraction(1, 1000)).is_constant
    assert [times.nearest(s) for s in (0, Fraction(1, 20), 0.051, 0.32, 0.33, 9)] == [
        0,
        0,
        1,
        2,
        3,
        3,
    ]
    assert times.in_ticks_of(Fraction(1, 10)) == FrameTimes((0, 1, 2, 4), 1, Fraction(1, 10))
    none = FrameTimes((), 0, Fraction(1))
    assert (none.durations, none.seconds, none.frame_rate, none.is_constant) == ((), 0, None, True)
    with pytest.raises(ConfigError, match="no frames"):
        none.nearest(0)
