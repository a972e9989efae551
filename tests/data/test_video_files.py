"""Clips in files: any frames at any rate, and what is broken left out."""

from fractions import Fraction
from pathlib import Path

import pytest
import torch

from tests.media.video_files import clip, written
from vqkit.data import (
    Chain,
    EveryFrame,
    ImageFolder,
    JoinedVideos,
    MovingShapes,
    RandomCrop,
    RandomFrames,
    SampleStream,
    StillVideos,
    VideoFileList,
    VideoFiles,
    VideoFolder,
    video_training_chain,
)
from vqkit.errors import ConfigError, MediaError
from vqkit.media import read_video, write_image, write_video

SLOW = pytest.mark.slow


@pytest.fixture(scope="session")
def clip_files() -> dict[str, bytes]:
    """Of many formats, sizes and rates, of 6 to 20 frames."""
    return {
        "0.mp4": written(clip(20, 48, 64), 25),
        "1.mkv": written(clip(12, 40, 40), 30000 / 1001, format="mkv"),
        "2.webm": written(clip(9, 36, 50), 10, format="webm"),
        "3.gif": written(clip(6, 33, 35), 10, format="gif"),
        "4.y4m": written(clip(15, 64, 48), 50, format="y4m"),
    }


@pytest.fixture
def clips(tmp_path, clip_files) -> Path:
    folder = tmp_path / "clips"
    folder.mkdir()
    for name, content in clip_files.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def damaged_clips(clips) -> Path:
    """The same; 1 is empty, 3 is cut short, 4 is no video."""
    (clips / "1.mkv").write_bytes(b"")
    (clips / "3.gif").write_bytes((clips / "3.gif").read_bytes()[:-20])
    (clips / "4.y4m").write_bytes(b"hello")
    return clips


@pytest.mark.slow
def test_whole_clips(clips):
    source = VideoFolder(clips)
    assert [Path(name).name for name, _ in source.items()] == [
        "0.mp4", "1.mkv", "2.webm", "3.gif", "4.y4m",
    ]  # fmt: skip
    for name, frames in source.items():
        whole = read_video(name, dtype=torch.uint8).frames
        assert torch.equal(frames, whole / 127.5 - 1)
    assert source.kind == "clips"


@pytest.mark.parametrize("rate", [24, pytest.param(5, marks=SLOW), pytest.param(60.0, marks=SLOW)])
def test_another_frame_rate_takes_the_nearest_frames(clips, rate):
    source = VideoFolder(clips, frame_rate=rate)
    for name, frames in source.items():
        video = read_video(name, dtype=torch.uint8)
        count = max(1, round(video.times.seconds * Fraction(rate)))
        chosen = [video.times.nearest(Fraction(i) / Fraction(rate)) for i in range(count)]
        assert torch.equal(frames, video.frames[:, chosen] / 127.5 - 1)


@pytest.mark.parametrize(
    "cache_size_bytes",
    [
        pytest.param(0, marks=SLOW),
        pytest.param(200_000, marks=SLOW),
        pytest.param(1 << 30, marks=SLOW),
    ],
)
def test_a_part_is_a_part_of_the_whole(clips, cache_size_bytes):
    source = VideoFolder(clips, frame_rate=20, cache_size_bytes=cache_size_bytes)
    for index, (_, whole) in enumerate(VideoFolder(clips, frame_rate=20).items()):
        for _ in range(2):
            with source.open(index) as part:
                assert part.num_frames == whole.shape[1]
                for start, count in ((0, 1), (2, 3), (part.num_frames - 1, 1)):
                    frames = part.read(start, count)
                    assert frames.dtype is torch.uint8
                    assert torch.equal(frames / 127.5 - 1, whole[:, start : start + count])
                for start, count in ((-1, 2), (0, 0), (part.num_frames, 1)):
                    with pytest.raises(ConfigError, match="Part of a clip"):
                        part.read(start, count)


def test_samples_are_functions_of_seed_and_position(damaged_clips, caplog):
    transform = video_training_chain(4, 16, (0.5, 1.0))
    stream = SampleStream(VideoFolder(damaged_clips), transform, 3)
    forwards = [stream[i] for i in range(10)]
    assert all(sample.shape == (3, 4, 16, 16) for sample in forwards)
    messages = [record.getMessage() for record in caplog.records]
    assert sum("4.y4m" in line and "got something else" in line for line in messages) == 1
    assert stream.source.num_skipped == len(messages) == 3
    other = SampleStream(VideoFolder(damaged_clips, cache_size_bytes=1 << 20), transform, 3)
    assert all(torch.equal(other[i], forwards[i]) for i in reversed(range(10)))
    assert not torch.equal(SampleStream(VideoFolder(damaged_clips), transform, 4)[0], forwards[0])


def test_all_frames_of_a_sample_get_the_same_crop():
    still = clip(1, 40, 40).expand(-1, 6, -1, -1)
    crop = Chain({"frames": RandomFrames(4), "crop": EveryFrame(RandomCrop(16, (0.5, 1.5)))})
    for seed in range(4):
        sample = crop(still, torch.Generator().manual_seed(seed))
        assert torch.equal(sample, sample[:, :1].expand_as(sample))


@pytest.mark.slow
def test_decoding_begins_at_the_key_frame(clips, monkeypatch):
    """Of a long clip no more is decoded than what lies between, whatever its length."""
    from vqkit.media.video_pyav import PyAVVideoDecoder

    path = clips / "long.mp4"
    write_video(clip(300, 16, 16), path, 25)
    source = VideoFiles([path])
    with source.open(0):
        pass
    decoded = []
    plain = PyAVVideoDecoder.picture
    monkeypatch.setattr(
        PyAVVideoDecoder, "picture", lambda self, *a: decoded.append(a[0].ticks) or plain(self, *a)
    )
    with source.open(0) as part:
        part.read(290, 3)
    assert len(decoded) == 3


def test_lists_and_folders(clips, tmp_path):
    (tmp_path / "list.txt").write_text("# two\nclips/2.webm\n\nclips/0.mp4\n")
    source = VideoFileList(tmp_path / "list.txt")
    assert [Path(source.name(i)).name for i in range(len(source))] == ["2.webm", "0.mp4"]
    assert len(VideoFolder([clips, clips])) == 10
    (tmp_path / "empty").mkdir()
    with pytest.raises(MediaError, match="No clips in"):
        VideoFolder(tmp_path / "empty")
    with pytest.raises(MediaError, match="needs at least one file"):
        VideoFiles([])
    for settings in ({"channels": 2}, {"frame_rate": 0}):
        with pytest.raises(ConfigError):
            VideoFolder(clips, **settings)
    assert next(iter(VideoFolder(clips, channels=1).items()))[1].shape[0] == 1


def test_nothing_that_can_be_read(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no")
    with pytest.raises(MediaError, match="None of the 1 clips can be read"):
        VideoFolder(tmp_path)[0]


def test_images_as_clips_that_stand_still(tmp_path, clips):
    image = clip(1, 40, 60)[:, 0]
    (tmp_path / "images").mkdir()
    write_image(image, tmp_path / "images" / "a.png")
    stills = StillVideos(ImageFolder(tmp_path / "images"))
    assert torch.equal(stills[0], image[:, None])
    both = JoinedVideos({"clips": VideoFolder(clips, frame_rate=20), "stills": stills})
    assert (len(both), both.frame_rate, both.channels) == (6, 20, 3)
    assert both.name(5) == f"stills/{tmp_path / 'images' / 'a.png'}"
    assert both.name(0) == f"clips/{clips / '0.mp4'}"
    sample = both.sample(5, video_training_chain(3, 16), torch.Generator().manual_seed(0))
    assert sample.shape == (3, 3, 16, 16)
    assert torch.equal(sample[:, 0], sample[:, 2])
    assert torch.equal(both[1], VideoFolder(clips, frame_rate=20)[1])
    with pytest.raises(ConfigError, match="one set or more"):
        JoinedVideos({})
    with pytest.raises(ConfigError, match="same channels and frame rate"):
        JoinedVideos(
            {"a": VideoFolder(clips, frame_rate=20), "b": VideoFolder(clips, frame_rate=9)}
        )
    with pytest.raises(ConfigError, match="same channels and frame rate"):
        JoinedVideos({"a": VideoFolder(clips, channels=1), "b": MovingShapes(2)})
