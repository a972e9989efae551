"""The verbs on clips with sound, and on parts of sounds and clips."""

from pathlib import Path

import pytest
import torch

from tests.cli.conftest import Pipe, Run
from tests.cli.tiny_clips import fading, tiny_video_tokenizer, toned
from tests.cli.tiny_sounds import tiny_sound_tokenizer
from vqkit.clip_sound import SOUND_STREAM, sound_of
from vqkit.files import read_tokens, write_tokens
from vqkit.media import read_audio, read_video, video_info, write_video


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny_video_tokenizer().save_pretrained(folder / "video")
    tiny_sound_tokenizer().save_pretrained(folder / "sound")
    return folder


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("films") / "film.mp4"
    path.write_bytes(toned(11, 1.0))
    return path


def test_sound_is_kept_unless_told_otherwise(run: Run, models: Path, film: Path) -> None:
    model = models / "video"
    assert run("encode", film, "-m", model, "-o", "a.vqt").status == 0
    assert run("encode", film, "-m", model, "-o", "none.vqt", "--audio", "none").status == 0
    write_video(read_video(film), "silent.mkv")
    ran = run("info", "a.vqt")
    assert "sound: aac, 1 channel(s), 32000 Hz, 1.0" in ran.out
    (item,) = run("info", "a.vqt", "--json").document["items"]
    assert item["sound"]["encoding"] == "aac"
    assert (
        item["sound"]["size_bytes"]
        == {s["name"]: s["payload_bytes"] for s in item["streams"]}[SOUND_STREAM]
    )
    assert "sound" not in run("info", "none.vqt", "--json").document["items"][0]
    assert "sound" not in run("info", "none.vqt").out
    assert run("verify", "a.vqt").status == 0

    assert run("decode", "a.vqt", "-m", model, "-o", "a.mp4").status == 0
    assert torch.equal(read_audio("a.mp4").samples, read_audio(film).samples)
    assert run("decode", "a.vqt", "-m", model, "-o", "quiet.mp4", "--no-audio").status == 0
    assert video_info("quiet.mp4").audio == ()
    # Not bit for bit: a network's rounding depends on where in memory its inputs lie, and the codec
    # spreads a level that has moved.
    difference = read_video("quiet.mp4").frames - read_video("a.mp4").frames
    assert difference.abs().mean() < 0.1 * (2 / 255)
    ran = run("decode", "a.vqt", "-m", model, "-o", "a.y4m")
    assert ran.status == 0
    assert "a.y4m: y4m holds no sound, which is left out." in ran.err


def test_files_without_sound_are_as_before(run: Run, models: Path) -> None:
    """Byte for byte what the tokens of the frames alone make."""
    write_video(fading(6), "silent.mp4", 10)
    assert run("encode", "silent.mp4", "-m", models / "video").status == 0
    tokenizer = tiny_video_tokenizer()
    video = read_video("silent.mp4")
    write_tokens(tokenizer.encode([video.frames], frame_rate=video.frame_rate), "frames.vqt")
    assert Path("silent.mp4.vqt").read_bytes() == Path("frames.vqt").read_bytes()


def test_sound_as_tokens(
    run: Run, models: Path, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["-m", models / "video", "--audio", models / "sound"]
    assert run("encode", film, *words, "-o", "a.vqt").status == 0
    ran = run("info", "a.vqt")
    assert "sound: tokens of audio/tiny (" in ran.out
    decode = ["decode", "a.vqt", "-m", models / "video", "-o", "a.mp4"]
    ran = run(*decode)
    assert ran.status == 1
    assert "expected the model 'audio/tiny'" in ran.err
    assert "--audio-model, or leave the sound out with --no-audio" in ran.err
    assert not Path("a.mp4").exists()
    assert run(*decode, "--audio-model", models / "sound").status == 0
    monkeypatch.setenv("VQKIT_MODELS", str(models))
    assert run(*decode, "-f").status == 0
    sound = read_audio("a.mp4")
    assert sound.samples.shape[1] / sound.sample_rate_hz == pytest.approx(1.0, abs=0.1)
    monkeypatch.delenv("VQKIT_MODELS")
    ran = run("reconstruct", film, *words, "--start", "0.2", "-o", "r.mkv")
    assert ran.status == 0, ran.err
    assert video_info("r.mkv").audio
    assert read_video("r.mkv").frames.shape[1] == 9


def test_a_part_of_a_file(run: Run, models: Path, film: Path) -> None:
    times = ["--start", "0.25", "--end", "0.8"]
    assert run("encode", film, "-m", models / "video", "-o", "v.vqt", *times).status == 0
    assert read_tokens("v.vqt").media[0]["frames"] == 5
    assert run("encode", film, "-m", models / "sound", "-o", "s.vqt", *times).status == 0
    heard = read_audio(film).samples[:, 8_000:25_600]
    expected = tiny_sound_tokenizer().encode([heard], sample_rate_hz=32_000)
    assert read_tokens("s.vqt").same_as(expected)
    for model, what in (("video", "at least one frame"), ("sound", "no sound in the time")):
        ran = run("encode", film, "-m", models / model, "-o", "x.vqt", "--start", "7")
        assert ran.status == 1
        assert what in ran.err


def test_a_pipe_is_read_for_frames_and_sound(pipe: Pipe, models: Path, film: Path) -> None:
    words = ("encode", "-", "-m", models / "video", "-o", "-")
    status, out, talk = pipe(*words, data=film.read_bytes())
    assert status == 0, talk
    sound = sound_of(read_tokens(out))
    assert sound is not None
    assert torch.equal(read_audio(sound).samples, read_audio(film).samples)


@pytest.mark.parametrize(
    ("verb", "words", "reason"),
    [
        ("sound", ["--audio", "copy"], "--audio: expected a model of videos with it, got one of"),
        ("video", ["--audio", "MODELS/video"], "expected copy, none or a model of sounds, got a"),
        ("video", ["--start", "2", "--end", "2"], "--end: expected more than --start, got 2"),
        ("video", ["--start", "-1"], "expected seconds from 0 on, got"),
        ("video", ["--start", "1", "--dataset", "d"], "--start: a data set is made of whole files"),
        ("tiny", ["--end", "1"], "expected a model of sounds or videos, got one of images"),
    ],
)
def test_wrong_usage(
    run: Run, models: Path, model: Path, film: Path, verb: str, words: list[str], reason: str
) -> None:
    folder = model if verb == "tiny" else models / verb
    words = [word.replace("MODELS", str(models)) for word in words]
    ran = run("encode", film, "-m", folder, "--trust", "tests", "-o", "x.vqt", *words)
    if "--dataset" in words:
        ran = run("encode", film, "-m", folder, *words)
    assert ran.status == 2
    assert reason in ran.err
