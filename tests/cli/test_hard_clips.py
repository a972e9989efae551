"""Clips of every hard kind through the verbs: file, tokens, file; or an error that says why."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Run
from tests.cli.tiny_clips import fading, tiny_video_tokenizer, toned
from tests.media.video_files import by_ffmpeg, clip, written
from vqkit.media import VideoReader, find_videos, read_audio, read_video, video_info

NUM_FRAMES = 6


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "video"
    tiny_video_tokenizer().save_pretrained(folder)
    return folder


def deep() -> bytes:
    """10 bits."""
    luma = np.full((24, 32), 500, np.uint16)
    chroma = [np.full((12, 16), 512 + shift, np.uint16) for shift in (-40, 30)]
    frames = [[luma + 20 * number, *chroma] for number in range(NUM_FRAMES)]
    return by_ffmpeg(
        frames, container="matroska", encoding="ffv1", pixel_format="yuv420p10le", rate=10
    )


def rotated() -> bytes:
    """A quarter to the right."""
    one, neutral = 1 << 16, np.full((12, 16), 128, np.uint8)
    frames = [
        [np.full((24, 32), 40 * number, np.uint8), neutral, neutral] for number in range(NUM_FRAMES)
    ]
    matrix = (0, one, 0, -one, 0, 0, 0, 0, 1 << 30)
    settings = {"container": "mov", "encoding": "libx264", "pixel_format": "yuv420p"}
    return by_ffmpeg(frames, matrix=matrix, rate=10, **settings)


# What makes the file; then height and width as they are to be seen.
HARD: dict[str, tuple[Callable[[], bytes], tuple[int, int]]] = {
    "odd": (lambda: written(clip(NUM_FRAMES, 143, 175), 10, format="mp4"), (143, 175)),
    "deep": (deep, (24, 32)),
    "rotated": (rotated, (32, 24)),
    "animated": (lambda: written(fading(NUM_FRAMES, 9, 7), 10, format="gif"), (9, 7)),
}


@pytest.mark.parametrize("name", HARD)
def test_hard_clips_are_kept(run: Run, model: Path, name: str) -> None:
    make, size = HARD[name]
    Path("clip").write_bytes(make())
    assert run("encode", "clip", "-m", model, "-o", "clip.vqt").status == 0
    assert run("decode", "clip.vqt", "-m", model, "-o", "back.mkv").status == 0
    back = read_video("back.mkv")
    assert back.frames.shape == (3, NUM_FRAMES, *size)
    assert back.frame_rate == 10
    assert float(back.times.seconds) == pytest.approx(NUM_FRAMES / 10, abs=0.001)


def test_a_sound_longer_than_the_picture(run: Run, model: Path) -> None:
    Path("clip.mp4").write_bytes(toned(3, 1.2))
    assert run("encode", "clip.mp4", "-m", model).status == 0
    for ending in ("mp4", "mkv"):
        target = f"back.{ending}"
        assert run("decode", "clip.mp4.vqt", "-m", model, "-o", target).status == 0
        assert read_video(target).frames.shape[1] == 3
        assert read_audio(target).samples.shape[1] / 32_000 == pytest.approx(1.2, abs=0.05)


@pytest.mark.parametrize(
    ("name", "make", "reason"),
    [
        ("none.y4m", lambda: written(clip(0), format="y4m"), "at least one frame in the file"),
        ("cut.mp4", lambda: toned(5, 0.5)[:-300], "cut short"),
        ("text.mkv", lambda: b"no clip at all", "got something else"),
        ("empty.webm", lambda: b"", "the file is empty"),
    ],
)
def test_clips_that_cannot_be_kept(
    run: Run, model: Path, name: str, make: Callable[[], bytes], reason: str
) -> None:
    Path(name).write_bytes(make())
    ran = run("encode", name, "-m", model)
    assert ran.status == 1
    assert name in ran.err
    assert reason in ran.err
    assert not list(Path().glob("*.vqt"))


@pytest.mark.slow
def test_small_real_clips_there_and_back(run: Run, model: Path, development_media: Path) -> None:
    """``python -m benchmarks.clips_there_and_back`` takes all of them."""
    paths = [
        path
        for path in find_videos(development_media / "video")
        if path.stat().st_size < 150_000 or path.suffix == ".webm"
    ]
    small = [path for path in paths if video_info(path).height <= 300]
    assert len(small) >= 8
    for path in small:
        assert run("encode", path, "-m", model, "-o", "clip.vqt", "-f").status == 0, path
        assert run("decode", "clip.vqt", "-m", model, "-o", "back.mkv", "-f").status == 0, path
        info, back = video_info(path), video_info("back.mkv")
        assert (back.height, back.width) == (info.height, info.width), path
        assert bool(back.audio) == bool(info.audio), path
        times = []
        for file in (path, "back.mkv"):
            with VideoReader(file, channels=1) as reader:
                num_frames = sum(block.shape[1] for block in reader.blocks(16))
                assert num_frames == len(reader.times.ticks)
                times.append(reader.times)
        assert len(times[0].ticks) == len(times[1].ticks), path
        assert abs(times[0].seconds - times[1].seconds) <= times[0].time_base + 0.001, path
