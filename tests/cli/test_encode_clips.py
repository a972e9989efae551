"""``vqkit encode --dataset`` on clips, and ``vqkit dataset decode`` back to files."""

import io
import tarfile
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from tests.cli.conftest import Run
from tests.cli.tiny_clips import fading, tiny_video_tokenizer, toned
from vqkit.files.dataset import TokenIterableDataset, TokenLoader
from vqkit.media import VideoWriter, read_video, video_info, write_video

TICKS = [0, 40, 100, 140, 300, 340]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "video"
    tiny_video_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    (folder / "inner").mkdir()
    (folder / "film.mp4").write_bytes(toned(11, 1.0))
    (folder / "cut.mp4").write_bytes(toned(11, 1.0)[:-900])
    write_video(fading(3, 17, 9), folder / "inner" / "film.webm", Fraction(30_000, 1001))
    with VideoWriter(folder / "vary.mkv", 20, 24, 40, time_base=Fraction(1, 1000)) as writer:
        writer.write(fading(6), TICKS, last_duration=60)
    return folder


def test_clips_there_and_back(run: Run, clips: Path, model: Path) -> None:
    words = ["encode", clips, "-m", model, "--dataset", "tokens", "--engine", "inline", "-v"]
    ran = run(*words)
    assert ran.status == 1
    assert "cut.mp4" in ran.err
    assert "Encoded 3 of 4 files" in ran.err
    assert "1.6 s of video, " in ran.err
    ran = run("dataset", "info", "tokens")
    assert "data set of video tokens" in ran.out
    assert "duration: 1.6 s, " in ran.out
    assert run("dataset", "verify", "tokens").status == 0
    ran = run("dataset", "decode", "tokens", "-o", "back", "-m", model, "--format", "mkv")
    assert ran.status == 0, ran.err
    film = video_info("back/film.mkv")
    assert (film.height, film.width, film.frame_rate, film.audio) == (24, 40, 10, ())
    assert read_video("back/film.mkv").frames.shape[1] == 11
    inner = video_info("back/inner/film.mkv")
    assert (inner.height, inner.width) == (17, 9)
    assert inner.frame_rate == pytest.approx(30_000 / 1001, abs=0.03)
    times = read_video("back/vary.mkv").times
    assert [tick * times.time_base * 1000 for tick in times.ticks] == TICKS
    assert times.seconds == Fraction(400, 1000)

    assert run("dataset", "export", "tokens", "-o", "e", "--format", "webdataset").status == 0
    assert Path("e/export.json").is_file()
    (batch,) = TokenLoader(TokenIterableDataset("tokens"), batch_size=3)
    assert sorted(batch["key"]) == ["film.mp4", "inner/film.webm", "vary.mkv"]


def test_a_tar_file_of_clips(run: Run, clips: Path, model: Path) -> None:
    with tarfile.open("clips.tar", "w") as archive:
        archive.add(clips / "film.mp4", "000.mp4")
        label = tarfile.TarInfo("000.cls")
        label.size = 1
        archive.addfile(label, io.BytesIO(b"4"))
    words = ["-m", model, "--dataset", "tokens", "--engine", "inline"]
    assert run("encode", "clips.tar", *words).status == 0
    assert run("encode", clips / "film.mp4", "-m", model, "-o", "film.vqt").status == 0
    assert run("decode", "film.vqt", "-m", model, "-o", "film.mp4").status == 0
    assert run("dataset", "decode", "tokens", "-o", "back", "-m", model).status == 0
    ours, theirs = read_video("back/000.mp4").frames, read_video("film.mp4").frames
    assert torch.equal(ours, theirs)
