"""``vqkit verify``."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.cli.tiny import tiny_tokenizer


@pytest.fixture
def tokens(run: Run, model: Path, photos: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "tokens"
    options = ("-m", model, "--trust", "tests", "--output-dir", folder)
    assert run("encode", "-r", photos, *options).status == 0
    return folder


def test_sound_files(run: Run, tokens: Path) -> None:
    before = {path: path.read_bytes() for path in tokens.rglob("*.vqt")}
    ran = run("verify", "-r", tokens)
    assert (ran.status, ran.out) == (0, "")
    assert "Verified 3 files" in ran.err
    assert {path: path.read_bytes() for path in tokens.rglob("*") if path.is_file()} == before
    assert run("verify", "-r", tokens, "-q") == (0, "", "")
    assert run("verify", "-r", tokens, "-v").err.count("all sound") == 3


@pytest.mark.parametrize("place", [0, 30, 0.5, -30, -1])
def test_a_flipped_byte_is_found_and_the_rest_is_read(
    run: Run, tokens: Path, place: int | float
) -> None:
    file = tokens / "a.png.vqt"
    data = bytearray(file.read_bytes())
    data[int(place * len(data)) if isinstance(place, float) else place] ^= 1
    file.write_bytes(data)
    ran = run("verify", "-r", tokens, "--json")
    assert ran.status == 1
    assert [item["status"] for item in ran.document["items"]] == ["failed", "done", "done"]
    assert str(file) in ran.document["items"][0]["error"]
    assert f"{file}" in ran.err


def test_other_files_and_missing_ones(run: Run, tokens: Path, photos: Path) -> None:
    ran = run("verify", photos / "a.png", "missing.vqt", tokens)
    assert ran.status == 1
    assert "got an image" in ran.err
    assert "missing.vqt" in ran.err
    assert "Verified 2 of 4 files" in ran.err


def test_with_a_model_it_decodes(run: Run, model: Path, tokens: Path, tmp_path: Path) -> None:
    options = ("--trust", "tests")
    assert run("verify", "-r", tokens, "-m", model, *options).status == 0
    tiny_tokenizer(gain=0.5).save_pretrained(tmp_path / "other")
    ran = run("verify", "-r", tokens, "-m", tmp_path / "other", *options)
    assert ran.status == 1
    assert "Failed: 3 of 3 files" in ran.err


def test_json_says_what_was_read(run: Run, tokens: Path) -> None:
    document = run("verify", tokens / "a.png.vqt", "--json").document
    assert (document["command"], document["decoded"]) == ("verify", False)
    (item,) = document["items"]
    assert item["model"] == "image/tiny"
    assert item["fingerprint"] == tiny_tokenizer().fingerprint
    assert item["num_tokens"] == 7 * 9
    assert item["size_bytes"] == (tokens / "a.png.vqt").stat().st_size
    assert json.loads(json.dumps(item)) == item
