"""``vqkit dataset``: every action, on a small data set of real tokens."""

import json
import math
from pathlib import Path

import pytest
import torch

from tests.cli.conftest import Run
from tests.cli.tiny import tiny_tokenizer
from vqkit.cli.dataset_decoding import path_of_key
from vqkit.files.dataset import (
    DatasetHeader,
    Manifest,
    Sample,
    ShardWriter,
    record_name,
    shard_name,
)
from vqkit.files.dataset.export import EXPORT_FORMATS, read_export
from vqkit.files.storage import Storage
from vqkit.media import read_image

KEYS = ["cats/a.jpg", "cats/b.png", "../up.png", "dogs//c.jpg", "d"]
TRUST = ["--trust", "tests"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, torch.Tensor]]:
    """A data set of two shards with a failure, its model, and what its samples decode to."""
    folder = tmp_path_factory.mktemp("made")
    tokenizer = tiny_tokenizer(levels=2)
    tokenizer.save_pretrained(folder / "model")
    header = DatasetHeader.of(tokenizer.spec, plan_id="plan-1")
    storage = Storage.at(folder / "set")
    generator = torch.Generator().manual_seed(0)
    records, decoded = [], {}
    for number, keys in enumerate((KEYS[:3], KEYS[3:])):
        writer = ShardWriter(header, number, 2)
        for key in keys:
            media = torch.rand(3, 20, 30, generator=generator) * 2 - 1
            tokens = tokenizer.encode([media])
            writer.add(Sample(key, tokens))
            decoded[key] = tokenizer.decode(tokens)[0]
        if number == 1:
            writer.add(Sample("broken.jpg", error="cannot identify image"))
        data, record = writer.finish()
        storage.write(record.name, data)
        storage.write(record_name(record.name), record.to_bytes())
        records.append(record)
    storage.write("manifest.json", Manifest.of(header, records).to_bytes())
    return folder / "set", folder / "model", decoded


@pytest.fixture
def dataset(made: tuple[Path, Path, dict[str, torch.Tensor]], tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    copy = Storage.at(tmp_path / "set")
    original = Storage.at(made[0])
    for name in original.names():
        copy.write(name, original.read(name))
    return tmp_path / "set"


def test_info(run: Run, dataset: Path) -> None:
    ran = run("dataset", "info", dataset)
    assert (ran.status, ran.err) == (0, "")
    for text in (
        "kind: data set of image tokens", "plan: plan-1", "samples: 5, and 1 that failed",
        "tokens: 120", "codebook 1 of tokens: 125 codes", "bits of entropy", "nominal size",
        "ideal size", "failed 1 times: cannot identify image",
    ):  # fmt: skip
        assert text in ran.out, text
    facts = json.loads(run("dataset", "info", dataset, "--json").out)
    stream = facts["streams"]["tokens"]
    assert stream["num_positions"] == 60
    assert facts["nominal_bits"] == pytest.approx(120 * math.log2(125))
    assert 0 < facts["ideal_bytes"] < facts["nominal_bits"] / 8
    assert facts["failures"] == [{"key": "broken.jpg", "reason": "cannot identify image"}]
    assert facts["bits_per_token"] == pytest.approx(8 * facts["size_bytes"] / 120)


def test_verify(run: Run, dataset: Path) -> None:
    ran = run("dataset", "verify", dataset)
    assert (ran.status, ran.out) == (0, "")
    assert ran.err == "Verified 2 shard(s), 5 samples, 120 tokens: all sound.\n"
    shard = dataset / shard_name(1, 2)
    data = bytearray(shard.read_bytes())
    data[100] ^= 4
    shard.write_bytes(data)
    assert run("dataset", "verify", dataset, "--quick").status == 0
    ran = run("dataset", "verify", dataset, "--json")
    assert ran.status == 1
    facts = json.loads(ran.out)
    assert any(
        problem.startswith(f"{shard.name}: expected SHA-256") for problem in facts["problems"]
    )
    assert f"vqkit dataset: {shard.name}: expected SHA-256" in ran.err
    shard.unlink()
    for words in ((), ("--quick",)):
        ran = run("dataset", "verify", dataset, *words)
        assert ran.status == 1
        assert f"{shard.name}: Cannot" in ran.err
    (dataset / "manifest.json").unlink()
    ran = run("dataset", "verify", dataset)
    assert ran.status == 1
    assert "expected a token data set with manifest.json, found none" in ran.err


@pytest.mark.parametrize("format", EXPORT_FORMATS)
def test_export(run: Run, dataset: Path, tmp_path: Path, format: str) -> None:
    target = tmp_path / "export"
    words = ["dataset", "export", dataset, "-o", target, "--format", format]
    ran = run(*words, "--order", "delay", "--level-offsets", "--separator", "both")
    assert (ran.status, ran.out) == (0, "")
    assert "5 samples" in ran.err
    assert "begin 250, end 251, padding 252" in ran.err
    assert [sample.key for sample in read_export(target)] == KEYS
    ran = run(*words)
    assert ran.status == 2
    assert "it exists" in ran.err
    facts = json.loads(run(*words, "-f", "--json").out)
    assert (facts["vocabulary_size"], facts["offsets"], facts["num_ids"]) == (125, [0, 0], 120)


def test_decode(run: Run, made: tuple[Path, Path, dict[str, torch.Tensor]], tmp_path: Path) -> None:
    dataset, model, decoded = made
    target = tmp_path / "media"
    ran = run("dataset", "decode", dataset, "-m", model, *TRUST, "-o", target, "-q")
    assert (ran.status, ran.out, ran.err) == (0, "", "")
    written = sorted(p.relative_to(target).as_posix() for p in target.rglob("*") if p.is_file())
    assert written == ["%2E%2E/up.png", "cats/a.png", "cats/b.png", "d.png", "dogs/%/c.png"]
    for key, name in (("cats/a.jpg", "cats/a.png"), ("../up.png", "%2E%2E/up.png")):
        assert (read_image(target / name) - decoded[key]).abs().max() <= 1 / 127.5
    ran = run("dataset", "decode", dataset, "-m", model, *TRUST, "-o", target, "--key", "d")
    assert ran.status == 1
    assert "d.png': the file exists" in ran.err


def test_decode_of_chosen_keys(
    run: Run, made: tuple[Path, Path, dict[str, torch.Tensor]], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    dataset, model, _ = made
    monkeypatch.setenv("VQKIT_MODELS", str(model.parent))
    target = tmp_path / "media"
    keys = ["--key", "d", "--key", "broken.jpg", "--key", "absent"]
    ran = run(
        "dataset", "decode", dataset, "-o", target, *keys, *TRUST, "--codebooks", "1", "--format",
        "jpeg", "--json",
    )  # fmt: skip
    assert ran.status == 1
    facts = json.loads(ran.out)
    assert [item["status"] for item in facts["items"]] == ["done", "failed", "failed"]
    assert "cannot identify image" in facts["items"][1]["error"]
    assert "there is no such key" in facts["items"][2]["error"]
    assert [path.name for path in target.iterdir()] == ["d.jpg"]


def test_keys_of_one_name_do_not_overwrite_each_other(run: Run, tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.save_pretrained(tmp_path / "model")
    header = DatasetHeader.of(tokenizer.spec, plan_id="p")
    writer = ShardWriter(header, 0, 1)
    for key in ("a.jpg", "a.png"):
        writer.add(Sample(key, tokenizer.encode([torch.zeros(3, 8, 8)])))
    data, record = writer.finish()
    storage = Storage.at(tmp_path / "set")
    storage.write(record.name, data)
    storage.write("manifest.json", Manifest.of(header, [record]).to_bytes())
    places = ["-m", tmp_path / "model", "-o", tmp_path / "m"]
    ran = run("dataset", "decode", tmp_path / "set", *places, *TRUST, "-f")
    assert ran.status == 1
    assert "'a.png': " in ran.err
    assert "is another sample's" in ran.err


def test_paths_of_keys_stay_inside(tmp_path: Path) -> None:
    for key in ("/etc/passwd", "../../x", "a/../../b", "..", ".", "c:\\x", "a\0b", "%2E%2E/x", "*"):
        path = tmp_path / path_of_key(key)
        assert path.resolve().is_relative_to(tmp_path)
        assert path.resolve() != tmp_path
        assert path.name.isprintable()
    assert len({path_of_key(key) for key in ("..", "%2E%2E", "a//b", "a/%/b", "a/b")}) == 5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["other", "x"], "Action 'other': expected one of info, verify, export, decode."),
        (["info"], "expected one data set, got 0"),
        (["info", "a", "b"], "expected one data set, got 2"),
        (["info", "x", "--key", "k"], "--key is not an option of info."),
        (["verify", "x", "--level-offsets"], "--level-offsets is not an option of verify."),
        (["export", "x", "--format", "memmap"], "expected -o DIR, got none"),
        (["export", "x", "-o", "y"], "expected --format with one of megatron, datatrove"),
        (["decode", "x", "-o", "y", "--format", "docx"], "--format docx: expected one of png"),
        (["info", "nosuch://x"], "Storage 'nosuch://x': expected"),
    ],
)
def test_wrong_usage(run: Run, words: list[str], message: str) -> None:
    ran = run("dataset", *words)
    assert ran.status == 2
    assert message in ran.err
    assert len(ran.err.splitlines()) == 1


def test_an_interrupted_export_leaves_nothing(
    run: Run, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vqkit.files.dataset.export import writing

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(writing, "_line", interrupt)
    ran = run("dataset", "export", dataset, "-o", tmp_path / "e", "--format", "litdata")
    assert ran.status == 130
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "set"]


def test_on_an_object_store(run: Run, dataset: Path) -> None:
    remote = Storage.at("memory://remote-set")
    for path in dataset.iterdir():
        remote.write(path.name, path.read_bytes())
    assert run("dataset", "verify", "memory://remote-set").status == 0
    assert "samples: 5" in run("dataset", "info", "memory://remote-set").out
