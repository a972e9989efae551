"""The verbs on clips: files in, tokens, and the same frames, size, rate and times back."""

from fractions import Fraction
from pathlib import Path

import pytest
import torch

from tests.cli.conftest import Run
from vqkit.clips import DURATION_STREAM, frame_times_of
from vqkit.errors import ShapeError
from vqkit.files import read_tokens
from vqkit.media import VideoWriter, read_video, video_info, write_image, write_video
from vqkit.nets import LightVideoDecoder, LightVideoEncoder
from vqkit.quantizers import FSQ
from vqkit.tokenizers import Tokenizer, VideoFrontend


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Strides 4x8x8."""
    torch.manual_seed(0)
    sizes = {"dim": 4, "widths": [8, 8], "num_blocks": [1, 1]}
    encoder, decoder = LightVideoEncoder(**sizes), LightVideoDecoder(**sizes)
    tokenizer = Tokenizer(VideoFrontend(), encoder, FSQ([5] * 4), decoder, "video/x")
    folder = tmp_path_factory.mktemp("models") / "video"
    tokenizer.save_pretrained(folder)
    return folder


def fading(num_frames: int, height: int = 24, width: int = 40) -> torch.Tensor:
    level = torch.linspace(-0.9, 0.9, num_frames)[None, :, None, None]
    across = torch.linspace(-0.1, 0.1, width)
    return (level + across).expand(3, num_frames, height, width).contiguous()


def test_there_and_back(run: Run, model: Path, tmp_path: Path) -> None:
    clips, tokens, back = (tmp_path / name for name in ("clips", "tokens", "back"))
    (clips / "inner").mkdir(parents=True)
    write_video(fading(11), clips / "film.mp4", Fraction(30_000, 1001))
    write_video(fading(1, 17, 9), clips / "inner" / "still.mkv", 25)
    (clips / "broken.mp4").write_bytes((clips / "film.mp4").read_bytes()[:900])
    ran = run("encode", clips, "-r", "-m", model, "--output-dir", tokens, "--json")
    assert ran.status == 1
    assert "broken.mp4" in ran.err
    items = {Path(item["input"]).name: item for item in ran.document["items"]}
    assert sorted(items) == ["broken.mp4", "film.mp4", "still.mkv"]
    assert items["film.mp4"]["num_tokens"] == 4 * 3 * 5
    assert items["film.mp4"]["media_seconds"] == pytest.approx(11 * 1001 / 30_000)

    assert run("decode", tokens, "-r", "-m", model, "--output-dir", back).status == 0
    film = video_info(back / "film.mp4")
    assert (film.height, film.width) == (24, 40)
    assert read_video(back / "film.mp4").frames.shape[1] == 11
    assert film.frame_rate == Fraction(30_000, 1001)
    still = read_video(back / "inner" / "still.mp4")
    assert still.frames.shape == (3, 1, 17, 9)


def test_times_that_vary_come_back(run: Run, model: Path, tmp_path: Path) -> None:
    ticks = [0, 40, 100, 140, 300, 340]
    frames = fading(6)
    with VideoWriter(tmp_path / "vary.mkv", 20, 24, 40, time_base=Fraction(1, 1000)) as writer:
        writer.write(frames, ticks, last_duration=60)
    assert run("encode", tmp_path / "vary.mkv", "-m", model).status == 0
    tokens = read_tokens(tmp_path / "vary.mkv.vqt")
    times = frame_times_of(tokens)
    assert times is not None
    assert [tick * times.time_base * 1000 for tick in times.ticks] == ticks
    assert (
        run("decode", tmp_path / "vary.mkv.vqt", "-m", model, "-o", tmp_path / "b.mkv").status == 0
    )
    back = read_video(tmp_path / "b.mkv").times
    assert [tick * back.time_base * 1000 for tick in back.ticks] == ticks
    # A format without times has the average rate.
    assert (
        run("decode", tmp_path / "vary.mkv.vqt", "-m", model, "-o", tmp_path / "b.y4m").status == 0
    )
    assert read_video(tmp_path / "b.y4m").frames.shape == frames.shape
    lost = tokens.with_indices(DURATION_STREAM, tokens.streams[DURATION_STREAM].indices * 0 - 1)
    with pytest.raises(ShapeError, match="some are lost"):
        frame_times_of(lost)


def test_chunks_of_frames_and_a_reconstruction(run: Run, model: Path, tmp_path: Path) -> None:
    write_video(fading(30), tmp_path / "film.mkv", 10)
    for name, options in (("a", ["--chunk-frames", 4]), ("b", ["--tile-pixels", 16])):
        output = tmp_path / f"{name}.vqt"
        assert run("encode", tmp_path / "film.mkv", "-m", model, "-o", output, *options).status == 0
        assert read_tokens(output).indices.shape == (1, 9, 3, 5, 1)
    ran = run("reconstruct", tmp_path / "film.mkv", "-m", model, "-o", tmp_path / "r.webm")
    assert ran.status == 0
    assert "dB" in ran.out
    assert video_info(tmp_path / "r.webm").frame_rate == 10


def test_a_part_of_the_frames(run: Run, model: Path, tmp_path: Path) -> None:
    write_video(fading(30), tmp_path / "film.mkv", 10)
    tokens = tmp_path / "film.vqt"
    assert run("encode", tmp_path / "film.mkv", "-m", model, "-o", tokens).status == 0
    for name, part in (("whole", []), ("part", ["--part", "time=7:10,height=8:24"])):
        target = tmp_path / f"{name}.y4m"
        assert run("decode", tokens, "-m", model, "-o", target, *part).status == 0
    # The luma: colour differences are shared by neighbours, which a part has not.
    files = (tmp_path / f"{name}.y4m" for name in ("whole", "part"))
    whole, found = (read_video(file, channels=1).frames for file in files)
    assert found.shape == (1, 3, 16, 40)
    assert video_info(tmp_path / "part.y4m").frame_rate == 10
    assert torch.allclose(found, whole[:, 7:10, 8:24], atol=0.02)


def test_formats_of_other_media_are_refused(run: Run, model: Path, tmp_path: Path) -> None:
    write_video(fading(5), tmp_path / "film.mp4", 10)
    write_image(torch.zeros(3, 8, 8), tmp_path / "photo.png")
    ran = run("encode", tmp_path / "photo.png", "-m", model)
    assert ran.status == 1
    assert "photo.png" in ran.err
    ran = run("encode", tmp_path / "film.mp4", "-m", model, "-o", tmp_path / "film.mkv")
    assert ran.status == 2
    assert "a video's" in ran.err
    assert run("encode", tmp_path / "film.mp4", "-m", model).status == 0
    ran = run("decode", tmp_path / "film.mp4.vqt", "-m", model, "-o", tmp_path / "film.png")
    assert ran.status == 1
    assert "expected a format of a video (mp4, mov, mkv, webm, gif, y4m)" in ran.err
