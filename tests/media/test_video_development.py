"""Every real clip is read in full and written again: count, size, rate and duration are kept."""

from fractions import Fraction

import pytest
import torch

from vqkit.media import (
    AudioTrack,
    VideoEncoding,
    VideoReader,
    VideoWriter,
    find_videos,
    is_video,
    video_info,
)

# Frames of each file as its README or its name says; pictures per second where the file does.
COUNTS = {
    "karma_854x480.mp4": 362,
    "bunny_320x180_16f_lossless.mkv": 16,
    "two_people_320x192_9f_raw.y4m": 9,
    "park_joy_480x270_10f.y4m": 10,
    "crowd_720x480_150f.mp4": 150,
    "nasa_13013_320x180.mp4": 325,
    "multi_scene_qcif_1700f_LS_SVA_D.264": 1700,
    "sample_av1_1080x720.mp4": 30,
    "bear-vp9_320x240.webm": 82,
    "ice_hockey_cif_30f_1410.ivf": 30,
    "bottle-detection.mp4": 1189,
}
QUICK = ("two_people_320x192_9f_raw.y4m", "foreman_qcif_30f_hq_BAMQ1_JVC_C.264")


def rewritten(path, target) -> None:
    """Written again, by blocks, in grey: every frame of it."""
    info = video_info(path)
    num_frames = 0
    audio = AudioTrack(path) if info.audio else None
    with (
        VideoReader(path, channels=1, dtype=torch.uint8) as reader,
        VideoWriter(
            target,
            info.frame_rate,
            info.height,
            info.width,
            encoding=VideoEncoding("h264", "ultrafast", crf=40),
            time_base=info.time_base,
            audio=audio,
        ) as writer,
    ):
        for block in reader.blocks(16):
            block_times = reader.block_times
            writer.write(block, block_times.ticks, last_duration=max(1, block_times.last_ticks))
            num_frames += block.shape[1]
        times = reader.times
    again = video_info(target)
    assert (again.height, again.width) == (info.height, info.width)
    assert len(again.audio) == bool(info.audio)
    with VideoReader(target, channels=1, dtype=torch.uint8) as reader:
        assert sum(block.shape[1] for block in reader.blocks(16)) == num_frames
        found = reader.times
    if path.name in COUNTS:
        assert num_frames == COUNTS[path.name]
    assert abs(found.seconds - times.seconds) <= times.time_base + Fraction(1, 1000)
    assert found.frame_rate is not None
    assert times.frame_rate is not None
    assert abs(found.frame_rate / times.frame_rate - 1) < Fraction(1, 500)
    wanted = times.in_ticks_of(Fraction(1, 1000)).ticks
    ours = found.in_ticks_of(Fraction(1, 1000)).ticks
    assert max(abs(a - b) for a, b in zip(ours, wanted, strict=True)) <= 1


@pytest.mark.parametrize("name", QUICK)
def test_small_real_clips(development_media, name, tmp_path):
    (path,) = (p for p in find_videos(development_media / "video") if p.name == name)
    rewritten(path, tmp_path / "again.mp4")


@pytest.mark.slow
def test_all_real_clips(development_media, tmp_path):
    paths = find_videos(development_media / "video")
    assert len(paths) == 53
    assert all(is_video(path) for path in paths)
    for number, path in enumerate(paths):
        rewritten(path, tmp_path / f"{number}.{'mp4' if number % 2 else 'mkv'}")
