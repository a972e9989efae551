"""Damaged videos: frames of the right kind or a MediaError, and nothing else."""

import functools

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.media.video_files import by_ffmpeg, clip, written
from vqkit.errors import MediaError
from vqkit.media import VideoEncoding, is_video, read_video, video_info

NUM_FILES = 10


@functools.cache
def files() -> list[bytes]:
    small = clip(6, 32, 48)
    luma = ((small[0] + 1) * 127.5).round().to(torch.uint8).numpy()
    flat = np.full((16, 24), 128, np.uint8)
    planes = [[frame, flat, flat] for frame in luma]
    return [
        written(small, format="mp4"),
        written(small, format="mkv", encoding=VideoEncoding("ffv1")),
        written(small, format="webm"),
        written(small, format="gif"),
        written(small, format="y4m"),
        *(
            by_ffmpeg(planes, container=container, encoding=encoding, pixel_format="yuv420p")
            for container, encoding in (
                ("avi", "mpeg4"),
                ("ivf", "libvpx"),
                ("h264", "libx264"),
                ("mpegts", "mpeg4"),
                ("flv", "libx264"),
            )
        ),
    ]


HEADS = [
    b"", b"\0\0\0 ftypisom", b"\x1aE\xdf\xa3\xa3B\x86\x81\x01", b"GIF89a0\0 \0", b"YUV4MPEG2 W48",
    b"RIFF\0\0\0\0AVI ", b"DKIF\0\0 \0VP80", b"\0\0\0\1gB\xc0\n", b"G@\x11\x10", b"FLV\1\1\0\0\0\t",
]  # fmt: skip


def is_read_or_refused(file: bytes) -> bool:
    message = ""
    try:
        video = read_video(file, max_values=1 << 22, dtype=torch.uint8)
    except MediaError as error:
        message = str(error)
    if message:
        assert message.startswith("Cannot read the video <bytes>: ")
        assert message.endswith(".")
        return False
    assert video.frames.dtype == torch.uint8
    assert video.frames.shape[1] == len(video.times.ticks)
    assert all(duration > 0 for duration in video.times.durations)
    assert video.frame_rate > 0
    info = video_info(file)
    assert video.frames.shape[2:] == (info.height, info.width)
    return True


@pytest.mark.slow
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), number=st.integers(0, NUM_FILES - 1))
def test_flipped_bits(data, number):
    file = bytearray(files()[number])
    for _ in range(data.draw(st.integers(1, 4))):
        end = data.draw(st.sampled_from([64, 600, len(file)]))
        file[data.draw(st.integers(0, min(end, len(file)) - 1))] ^= 1 << data.draw(
            st.integers(0, 7)
        )
    is_read_or_refused(bytes(file))


@pytest.mark.slow
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), number=st.integers(0, NUM_FILES - 1), filler=st.binary(max_size=40))
def test_pieces_left_out_and_put_in(data, number, filler):
    file = files()[number]
    start = data.draw(st.integers(0, len(file)))
    end = data.draw(st.integers(start, min(len(file), start + 500)))
    is_read_or_refused(file[:start] + filler + file[end:])


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    start=st.sampled_from(HEADS),
    rest=st.binary(max_size=3000),
)
def test_noise_behind_a_good_beginning(start, rest):
    is_read_or_refused(start + rest)
    assert is_video(start + rest) in (True, False)


@pytest.mark.slow
def test_the_files_themselves_are_read():
    assert len(files()) == NUM_FILES
    assert all(is_read_or_refused(file) for file in files())


@pytest.mark.parametrize(
    "text",
    [
        b"#EXTM3U\nfile:///etc/passwd\n",
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\n",
        b"<?xml version='1.0'?><MPD></MPD>",
        b"ffconcat version 1.0\nfile x.mp4\n",
    ],
)
def test_playlists_are_no_videos(text, tmp_path):
    """FFmpeg would open what they name."""
    path = tmp_path / "list.mp4"
    path.write_bytes(text)
    assert not is_video(path)
    with pytest.raises(MediaError, match="got something else"):
        read_video(path)
