"""Which model a name or a token file means."""

import os
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.cli.tiny import tiny_tokenizer
from vqkit.cli import model_search
from vqkit.cli.models import resolve
from vqkit.errors import ConfigError


@pytest.fixture
def file(run: Run, model: Path, pictures: Path, tmp_path: Path) -> Path:
    path = tmp_path / "photo.vqt"
    run("encode", pictures / "photo.png", "-m", model, "--trust", "tests", "-o", path)
    return path


@pytest.mark.parametrize(
    "place", ["image/tiny", "runs/image/tiny/2025/model", "runs/tiny/2025/model"]
)
def test_decode_finds_the_model_below_the_working_folder(
    run: Run, model: Path, file: Path, place: str
) -> None:
    shutil.copytree(model, place)
    ran = run("decode", file, "--trust", "tests", "-o", "a.png", "-v")
    assert ran.status == 0
    assert f"from {place} on" in ran.err


def test_decode_finds_the_model_in_named_folders(
    run: Run, model: Path, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(model, tmp_path / "second" / "deep" / "er" / "any name")
    folders = [tmp_path / "missing", tmp_path / "second"]
    monkeypatch.setenv("VQKIT_MODELS", os.pathsep.join(map(str, folders)))
    ran = run("decode", file, "--trust", "tests", "-o", "a.png", "-v")
    assert ran.status == 0
    assert "any name" in ran.err


def test_models_are_told_apart_by_their_fingerprints(run: Run, model: Path, file: Path) -> None:
    """Same id, other weights; broken models; folders of other programs: none is taken for it."""
    tiny_tokenizer(gain=0.5).save_pretrained("image/tiny")
    tiny_tokenizer(gain=0.25).save_pretrained("runs/a/1/model")
    for name, text in (("2", "{"), ("3", '{"model_type": "bert"}'), ("4", '{"format_version": 1}')):
        Path("runs/a", name, "model").mkdir(parents=True)
        Path("runs/a", name, "model", "config.json").write_text(text)
    ran = run("decode", file, "--trust", "tests", "-o", "a.png")
    assert ran.status == 1
    fingerprint = tiny_tokenizer().fingerprint
    for part in ("'image/tiny'", fingerprint, "-m", "VQKIT_MODELS"):
        assert part in ran.err
    assert not Path("a.png").exists()
    shutil.copytree(model, "runs/b/1/model")
    assert run("decode", file, "--trust", "tests", "-o", "a.png").status == 0


def test_one_batch_of_several_models(run: Run, pictures: Path) -> None:
    for number, gain in enumerate((1.0, 0.5)):
        tiny_tokenizer(f"m{number}", gain=gain).save_pretrained(f"runs/m{number}/1/model")
        options = ("-m", f"m{number}", "--trust", "tests", "-o", f"{number}.vqt")
        assert run("encode", pictures / "photo.png", *options).status == 0
    ran = run("decode", "0.vqt", "1.vqt", "--trust", "tests", "--output-dir", "R", "--json")
    assert ran.status == 0
    assert [item["model"] for item in ran.document["items"]] == ["m0", "m1"]


def test_an_id_from_a_file_never_leads_outside(tmp_path: Path, model: Path) -> None:
    fingerprint = tiny_tokenizer().fingerprint
    (tmp_path / "outside").symlink_to(model)
    for name in ("../outside", str(tmp_path / "outside"), "a/../../outside", ""):
        assert model_search.find_fingerprint(name, fingerprint) is None
    shutil.copytree(model, "inside")
    assert model_search.find_fingerprint("inside", fingerprint) == Path("inside")


def test_names_that_an_option_may_give(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_folder = Path("runs/tiny/2025")
    shutil.copytree(model, run_folder / "model")
    assert resolve(str(model)) == str(model)
    assert resolve(str(run_folder)) == str(run_folder / "model")
    assert resolve("image/tiny") == str(run_folder / "model")  # by its id
    monkeypatch.setenv("VQKIT_MODELS", str(model.parent))
    assert resolve("tiny") == str(model)
    assert resolve("organisation/name") == "organisation/name"
    with pytest.raises(ConfigError, match=r"Did you mean .*image/tiny"):
        resolve("./image/tony")
    with pytest.raises(ConfigError, match="found none"):
        resolve("something else entirely")


def test_an_id_that_two_models_bear(model: Path) -> None:
    shutil.copytree(model, "runs/a/1/model")
    shutil.copytree(model, "runs/a/2/model")
    assert resolve("image/tiny") == "runs/a/1/model"  # copies of one model
    tiny_tokenizer(gain=0.5).save_pretrained("runs/a/3/model")
    with pytest.raises(ConfigError, match="found several"):
        resolve("image/tiny")


def test_hidden_and_deep_folders_are_left_out(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in (".hidden/m", "a/b/c/d/e", "1/2/3/4"):
        shutil.copytree(model, Path("root", place))
    monkeypatch.setenv("VQKIT_MODELS", "root")
    assert [found.path for found in model_search.local_models()] == [Path("root/1/2/3/4")]


def test_a_changed_model_is_not_used(run: Run, model: Path, file: Path) -> None:
    shutil.copytree(model, "changed")
    weights = Path("changed/model.safetensors")
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    ran = run("decode", file, "-m", "changed", "--trust", "tests", "-o", "a.png")
    assert ran.status == 2
    assert "changed or damaged" in ran.err


def test_no_network_for_a_name_from_a_file(
    run: Run, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The id looks like one of the hub; only what was downloaded before is looked at."""
    from vqkit.tokenizers import hub

    asked = []

    def download(repo_id: str, **settings: object) -> Path:
        asked.append((repo_id, settings["local_files_only"]))
        raise ConfigError("not there")

    monkeypatch.setattr(hub, "download", download)
    assert run("decode", file, "--trust", "tests", "-o", "a.png").status == 1
    assert asked == [("image/tiny", True)]
    assert run("decode", file, "-m", "image/tiny", "-o", "a.png").status == 2
    assert asked[1:] == [("image/tiny", False)]


def test_a_model_is_looked_for_and_loaded_once(
    run: Run, model: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vqkit.cli import models

    calls = []

    def find(*words: str) -> Path | None:
        calls.append(words)
        return model_search.find_fingerprint(*words)

    monkeypatch.setattr(models, "find_fingerprint", find)
    for name in ("a.vqt", "b.vqt"):
        shutil.copy(file, name)
    assert run("decode", "a.vqt", "b.vqt", "--trust", "tests", "--output-dir", "R").status == 1
    assert len(calls) == 1
    shutil.copytree(model, "runs/tiny/1/model")
    ran = run("decode", "a.vqt", "b.vqt", "--trust", "tests", "--output-dir", "R", "-v")
    assert ran.status == 0
    assert len(calls) == 2
    assert ran.err.count("Model image/tiny from") == 1
