"""``vqkit encode SOUNDS --dataset``: mixed formats, broken files, bit rates, and back to sounds."""

import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.cli.tiny_sounds import BROKEN, SOUNDS, tiny_sound_tokenizer, write_sounds
from vqkit.files import read_tokens
from vqkit.files.dataset import Manifest, read_shard, verify_dataset
from vqkit.files.storage import Storage
from vqkit.media import read_audio


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sounds(tmp_path_factory.mktemp("dataset") / "sounds")


@pytest.fixture(scope="module")
def sound_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "sound"
    tiny_sound_tokenizer().save_pretrained(folder)
    return folder


def words(folder: Path, model: Path, *more: object) -> list[object]:
    return ["encode", folder, "-m", model, "--dataset", "tokens", "--engine", "inline", *more]


@pytest.mark.parametrize("engine", ["inline", "process"])
def test_tokens_are_those_of_the_files_one_by_one(
    run: Run, folder: Path, sound_model: Path, engine: str
) -> None:
    files = run("encode", folder, "-r", "-m", sound_model, "--output-dir", "files", "--json")
    ran = run(*words(folder, sound_model, "--engine", engine, "--workers", 1, "--json"))
    assert files.status == ran.status == 1
    document = ran.document
    assert (document["num_done"], document["num_failed"]) == (len(SOUNDS), len(BROKEN))
    for key, reason in document["failed"]:
        assert BROKEN[key] in reason
        assert key in ran.err
    storage = Storage.at("tokens")
    assert verify_dataset(storage).problems == ()
    shards = Manifest.read(storage).shards
    samples = [sample for shard in shards for sample in read_shard(storage, shard.name)]
    assert sorted(sample.key for sample in samples) == sorted([*SOUNDS, *BROKEN])
    for sample in samples:
        if sample.tokens is not None:
            assert sample.tokens.same_as(read_tokens(Path("files", f"{sample.key}.vqt")))

    seconds = sum(item.get("media_seconds", 0.0) for item in files.document["items"])
    assert document["media_seconds"] == pytest.approx(seconds)
    assert document["times_real_time"] == pytest.approx(seconds / document["seconds"])
    assert f"; {seconds:.1f} s of sound, " in ran.err
    assert "kbit/s" in ran.err
    assert "times real time" in ran.err


def test_there_and_back(run: Run, folder: Path, sound_model: Path) -> None:
    assert run(*words(folder, sound_model)).status == 1
    told = run("dataset", "info", "tokens")
    assert "kind: data set of audio tokens" in told.out
    assert "duration: 3." in told.out
    assert "kbit/s" in told.out
    for reason in BROKEN.values():
        assert reason in told.out
    facts = run("dataset", "info", "tokens", "--json").document
    assert facts["bits_per_second"] == pytest.approx(
        8 * facts["size_bytes"] / facts["media_seconds"]
    )
    assert run("dataset", "verify", "tokens").status == 0
    keys = [word for key in SOUNDS if key != "voice.m4a" for word in ("--key", key)]
    ran = run("dataset", "decode", "tokens", "-m", sound_model, "-o", "back", *keys)
    assert ran.status == 0, ran.err
    assert "times real time" in ran.err
    for key in keys[1::2]:
        was, now = read_audio(folder / key), read_audio(Path("back", key).with_suffix(".wav"))
        assert now.sample_rate_hz == was.sample_rate_hz
        assert now.samples.shape == was.samples.shape
    one = ("--key", "voice.m4a", "--format", "flac")
    assert run("dataset", "decode", "tokens", "-m", sound_model, "-o", "back", *one).status == 0
    assert read_audio(Path("back", "voice.flac")).sample_rate_hz == 48_000


@pytest.mark.parametrize(("more", "levels"), [(["--bitrate", 0.93], 2), (["--codebooks", 1], 1)])
def test_fewer_bits(
    run: Run, folder: Path, sound_model: Path, more: list[object], levels: int
) -> None:
    assert run(*words(folder, sound_model, *more)).status == 1
    layout = Manifest.read(Storage.at("tokens")).header.streams["tokens"]
    assert layout.codebook_sizes == (625,) * levels


def test_bit_rates_that_there_are_none(
    run: Run, folder: Path, sound_model: Path, model: Path
) -> None:
    ran = run(*words(folder, sound_model, "--bitrate", 0.3))
    assert ran.status == 2
    assert "audio/tiny has at least 0.464 kbit/s" in ran.err
    ran = run(*words(folder, model, "--trust", "tests", "--bitrate", 1))
    assert ran.status == 2
    assert "image/tiny has no rate. Use --codebooks" in ran.err
    assert not Path("tokens").exists()


def test_a_terminal_shows_how_long_the_sounds_are(
    run: Run, folder: Path, sound_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = run(*words(folder, sound_model, "-v")).err
    assert "0 of 1 shards, 0 of 9 files, 0 failed; starting" in told
    assert "1 of 1 shards, 9 of 9 files, 3.0 s of sound, 2 failed; " in told
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    command = words(folder, sound_model)
    command[command.index("tokens")] = "others"
    shown = run(*command).err
    for text in ("9/9", "/s, 3.0 s, ", " times real time"):
        assert text in shown, text
