"""Video files of every kind, read whole."""

import functools
import io
import itertools
import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.media.audio_files import by_ffmpeg as sound_file
from tests.media.audio_files import sound
from tests.media.video_files import by_ffmpeg, clip, psnr, written
from vqkit.errors import ConfigError, MediaError
from vqkit.media import (
    VIDEO_SUFFIXES,
    find_videos,
    from_levels,
    has_video_suffix,
    is_image,
    is_video,
    read_video,
    video_info,
    walk_videos,
    write_image,
)


def planes_of(frames: torch.Tensor) -> list[list[np.ndarray]]:
    """Y of 8 bits with neutral colour differences, 4:2:0."""
    levels = ((frames[0] + 1) * 127.5).round().to(torch.uint8).numpy()
    neutral = np.full((-(-levels.shape[1] // 2), -(-levels.shape[2] // 2)), 128, np.uint8)
    return [[level, neutral, neutral] for level in levels]


# Container, encoding, settings; what the reader calls the format.
KINDS = {
    "mp4": ("mp4", "libx264", {}, "mp4"),
    "mov": ("mov", "mpeg4", {}, "mp4"),
    "mkv": ("matroska", "ffv1", {}, "matroska"),
    "webm vp9": ("webm", "libvpx-vp9", {"cpu-used": "8"}, "matroska"),
    "webm vp8": ("webm", "libvpx", {"cpu-used": "8"}, "matroska"),
    "avi": ("avi", "mpeg4", {"bf": "2"}, "avi"),
    "ivf": ("ivf", "libvpx", {"cpu-used": "8"}, "ivf"),
    "h264": ("h264", "libx264", {"preset": "ultrafast"}, "h264"),
    "hevc": ("hevc", "libx265", {"preset": "ultrafast", "x265-params": "log-level=none"}, "hevc"),
    "mpegts": ("mpegts", "libx264", {"preset": "ultrafast"}, "mpegts"),
    "flv": ("flv", "libx264", {"preset": "ultrafast"}, "flv"),
}
CLIP = clip(9, 48, 64)


QUICK = ("mp4", "mkv", "h264")
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in KINDS if name not in QUICK]


@functools.cache
def file_of(name: str) -> bytes:
    container, encoding, options, _ = KINDS[name]
    return by_ffmpeg(
        planes_of(CLIP),
        container=container,
        encoding=encoding,
        pixel_format="yuv420p",
        options=options,
    )


@pytest.mark.parametrize("name", [*QUICK, *SLOW])
def test_all_containers(name):
    video = read_video(file_of(name))
    assert video.frames.shape == (3, 9, 48, 64)
    assert video.frame_rate == 25
    assert [round(float(tick * video.times.time_base), 3) for tick in video.times.ticks] == [
        round(i / 25, 3) for i in range(9)
    ]
    assert float(video.times.seconds) == pytest.approx(9 / 25, abs=0.0011)
    grey = ((CLIP[0] + 1) * 127.5 - 16) / 109.5 - 1
    assert psnr(video.frames[1], grey.clamp(-1, 1)) > 25
    info = video_info(io.BytesIO(file_of(name)))
    assert (info.format, info.height, info.width) == (KINDS[name][3], 48, 64)
    assert is_video(file_of(name))
    assert not is_image(file_of(name))


@pytest.mark.parametrize(
    "name",
    [
        "mp4",
        "mkv",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("mov", "webm vp9", "avi", "ivf")),
    ],
)
def test_a_truncated_file_is_an_error(name):
    file = file_of(name)
    for length in (40, len(file) // 2, len(file) - 1):
        with pytest.raises(MediaError, match=r"^Cannot read the video <bytes>: it is "):
            read_video(file[:length])


def test_damage_within_is_an_error():
    """Decoders cover it up, or leave frames out, and say little."""
    file = file_of("mp4")
    end = file.index(b"moov")
    for place in range(end - 300, end - 100, 40):
        wrong = bytes(byte ^ 0x55 for byte in file[place : place + 60])
        with pytest.raises(MediaError, match="it is damaged"):
            read_video(file[:place] + wrong + file[place + 60 :])


@pytest.mark.slow
def test_truncated_gif_and_y4m():
    for settings in ({"format": "gif"}, {"format": "y4m"}):
        file = written(CLIP, **settings)
        for length in (100, len(file) // 2, len(file) - 1):
            with pytest.raises(MediaError, match=r"cut short|something else"):
                read_video(file[:length])


def test_variable_frame_rate_keeps_every_tick():
    ticks = [0, 3, 4, 9, 10, 17, 30]
    for container, encoding in (("mp4", "libx264"), ("matroska", "ffv1")):
        file = by_ffmpeg(
            planes_of(CLIP[:, :7]),
            container=container,
            encoding=encoding,
            pixel_format="yuv420p",
            pts=ticks,
            time_base=Fraction(1, 100),
        )
        times = read_video(file).times
        assert [tick * times.time_base * 100 for tick in times.ticks] == ticks
        assert times.durations[:6] == tuple(
            (b - a) * Fraction(1, 100) / times.time_base for a, b in itertools.pairwise(ticks)
        )
        assert not times.is_constant


def test_a_file_whose_times_begin_later():
    file = by_ffmpeg(
        planes_of(CLIP), container="matroska", encoding="ffv1", pixel_format="yuv420p",
        pts=range(50, 59),
    )  # fmt: skip
    assert read_video(file).times.ticks == tuple(40 * i for i in range(9))


# a, b, c and d of the matrix that a display applies to columns and rows; what numpy makes of it.
TURNS = {
    "as it is": ((1, 0, 0, 1), lambda x: x),
    "quarter to the right": ((0, 1, -1, 0), lambda x: np.rot90(x, -1)),
    "upside down": ((-1, 0, 0, -1), lambda x: np.rot90(x, 2)),
    "quarter to the left": ((0, -1, 1, 0), lambda x: np.rot90(x, 1)),
    "mirrored": ((-1, 0, 0, 1), np.fliplr),
    "over the diagonal": ((0, 1, 1, 0), lambda x: x.T),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n == "quarter to the right" else pytest.mark.slow) for n in TURNS],
)
def test_rotation(name):
    (a, b, c, d), turn = TURNS[name]
    one = 1 << 16
    matrix = (a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    settings = {"container": "mov", "encoding": "libx264", "pixel_format": "yuv420p"}
    file = by_ffmpeg(planes_of(CLIP), matrix=matrix, **settings)
    plain = read_video(by_ffmpeg(planes_of(CLIP), **settings)).frames
    video = read_video(file)
    expected = turn(plain[0, 3].numpy())
    assert video.frames.shape[2:] == expected.shape
    assert np.array_equal(video.frames[0, 3].numpy(), expected)
    info = video_info(file)
    assert (info.height, info.width) == expected.shape


@pytest.mark.parametrize(
    ("height", "width"),
    [
        (143, 175),
        *(pytest.param(*size, marks=pytest.mark.slow) for size in ((1, 1), (2, 3), (33, 16))),
    ],
)
def test_odd_sizes(height, width):
    frames = clip(2, height, width)
    for settings in (
        {"format": "mp4"},
        {"format": "webm"},
        {"format": "y4m"},
        {"format": "gif"},
    ):
        video = read_video(written(frames, **settings))
        assert video.frames.shape == (3, 2, height, width), settings


@pytest.mark.slow
def test_one_frame_and_none():
    for name in ("mp4", "mkv", "webm", "y4m"):
        video = read_video(written(CLIP[:, :1], format=name))
        assert video.frames.shape == (3, 1, 48, 64)
        assert float(video.times.seconds) == pytest.approx(0.04)
    none = read_video(written(CLIP[:, :0], format="y4m"))
    assert none.frames.shape == (3, 0, 48, 64)
    assert none.times.ticks == ()
    assert none.times.seconds == 0
    assert video_info(written(CLIP[:, :0], format="y4m")).num_frames == 0


@pytest.mark.slow
def test_pictures_of_bytes_and_floats_are_the_same():
    file = written(CLIP, format="mp4")
    floats, levels = read_video(file).frames, read_video(file, dtype=torch.uint8).frames
    assert torch.equal(levels, ((floats + 1) * 127.5).round().to(torch.uint8))
    assert torch.equal(
        read_video(written(CLIP, format="gif")).frames,
        from_levels(read_video(written(CLIP, format="gif"), dtype=torch.uint8).frames),
    )


def test_what_is_no_video():
    song = sound_file(sound(2), container="mp4", encoding="aac")
    assert not is_video(song)
    with pytest.raises(MediaError, match="it has no video"):
        read_video(song)
    for nothing, reason in ((b"", "the file is empty"), (b"hello" * 100, "got something else")):
        assert not is_video(nothing)
        with pytest.raises(MediaError, match=reason):
            read_video(nothing)
    with pytest.raises(MediaError, match="No such file"):
        read_video("missing.mp4")
    assert not is_video("missing.mp4")


def test_a_gif_of_one_picture_is_an_image():
    still, moving = written(CLIP[:, :1], format="gif"), written(CLIP, format="gif")
    assert is_image(still)
    assert not is_video(still)
    with pytest.raises(MediaError, match="got something else"):
        read_video(still)
    assert is_video(moving)
    assert is_image(moving), "its first picture can be read as one"


def test_tracks():
    file = sound_file(
        sound(1),
        sound(2),
        container="mp4",
        encoding="aac",
        with_video=True,
        metadata={"title": "A"},
    )
    info = video_info(file)
    assert [(track.encoding, track.channels) for track in info.audio] == [("aac", 1), ("aac", 2)]
    assert (info.num_streams, info.metadata["title"]) == (1, "A")
    assert read_video(file).num_audio_streams == 2
    with pytest.raises(MediaError, match="expected video_stream below 1, got 1"):
        read_video(file, video_stream=1)


def test_limits_and_arguments(unchecked_shapes):
    file = written(CLIP, format="mkv")
    with pytest.raises(MediaError, match=r"more than 20000 values .* VideoReader"):
        read_video(file, max_values=20_000)
    for settings in (
        {"channels": 2},
        {"video_stream": -1},
        {"alpha": "green"},
        {"dtype": torch.float16},
        {"start_seconds": -1.0},
        {"stop_seconds": float("nan")},
        {"frame_rate": 0},
    ):
        with pytest.raises(ConfigError):
            read_video(file, **settings)


@pytest.mark.parametrize(
    ("start", "stop"),
    [
        (0.1, 0.2),
        *(
            pytest.param(*span, marks=pytest.mark.slow)
            for span in ((0, 0.12), (0.12, 0.2), (0.1, 0.13), (0.3, None), (9, 10))
        ),
    ],
)
def test_a_range_of_time(start, stop):
    for name in ("mp4", "y4m", "mkv"):
        whole = read_video(written(CLIP, format=name))
        part = read_video(written(CLIP, format=name), start_seconds=start, stop_seconds=stop)
        chosen = [i for i in range(9) if start <= i / 25 < (stop or 99)]
        assert torch.equal(part.frames, whole.frames[:, chosen])
        assert part.times.ticks == tuple(whole.times.ticks[i] for i in chosen)


def test_the_rate_of_streams_that_have_none():
    assert read_video(file_of("h264"), frame_rate=50).times.seconds == Fraction(9, 50)
    assert read_video(file_of("mp4"), frame_rate=50).times.seconds == Fraction(9, 25), (
        "it has times"
    )


def test_a_sequence_of_pictures(tmp_path: Path):
    for number, frame in enumerate(CLIP.unbind(1)):
        write_image(frame, tmp_path / f"x_{number + 8}.png")
    (tmp_path / "notes.txt").write_text("no picture")
    for source in (tmp_path, str(tmp_path / "x_%d.png")):
        video = read_video(source, frame_rate=30)
        assert torch.equal(video.frames, CLIP)
        assert video.times.seconds == Fraction(9, 30)
        assert is_video(source)
    info = video_info(tmp_path)
    assert (info.format, info.encoding, info.num_frames, info.frame_rate) == (
        "images",
        "png",
        9,
        25,
    )
    assert torch.equal(read_video(tmp_path, start_seconds=0.2).frames, CLIP[:, 5:])
    write_image(CLIP[:, 0, :20], tmp_path / "x_12.png", overwrite=True)
    with pytest.raises(MediaError, match=r"expected 64 x 48 pixels .* got 64 x 20 in .*x_12.png"):
        read_video(tmp_path)
    (tmp_path / "x_12.png").unlink()
    with pytest.raises(MediaError, match="picture 12 is missing"):
        read_video(tmp_path / "x_%d.png")
    with pytest.raises(MediaError, match="no picture has a name like this"):
        read_video(tmp_path / "y_%03d.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MediaError, match="the folder holds no pictures"):
        read_video(tmp_path / "empty")


def test_a_frame_of_another_size_midway():
    other = by_ffmpeg(
        planes_of(clip(2, 24, 32)), container="h264", encoding="libx264", pixel_format="yuv420p"
    )
    with pytest.raises(MediaError, match="its size changes midway from 64 x 48 to 32 x 24"):
        read_video(file_of("h264") + other)


def test_headers_that_promise_too_much():
    header = b"YUV4MPEG2 W60000 H60000 F25:1\nFRAME\n"
    with pytest.raises(MediaError):
        read_video(header + bytes(100))
    ivf = b"DKIF" + struct.pack("<HH4sHHIIII", 0, 32, b"VP80", 65535, 65535, 25, 1, 9, 0)
    with pytest.raises(MediaError):
        read_video(ivf)


def test_videos_are_found(tmp_path: Path):
    for name in ("b.MP4", "a.mkv", "c/d.y4m", "photo.jpg", "song.wav", ".hidden.mp4"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / "still.gif").write_bytes(written(CLIP[:, :1], format="gif"))
    (tmp_path / "moving.gif").write_bytes(written(CLIP, format="gif"))
    found = [path.relative_to(tmp_path).as_posix() for path in find_videos(tmp_path)]
    assert found == ["a.mkv", "b.MP4", "c/d.y4m", "moving.gif"]
    assert sorted(walk_videos(tmp_path)) == find_videos(tmp_path)
    assert len(find_videos(tmp_path, recursive=False)) == 3
    assert has_video_suffix(Path("x.WebM"))
    assert not has_video_suffix(Path("x.ts"))
    assert ".264" in VIDEO_SUFFIXES
    with pytest.raises(MediaError, match=r"list the videos in .*no such path"):
        find_videos(tmp_path / "absent")
