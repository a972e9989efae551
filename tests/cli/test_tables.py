"""``vqkit tables``."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.cli.conftest import Run
from tests.cli.tiny import tiny_tokenizer
from vqkit.files import CodingResources, dumps, loads, read_info, write_tokens


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    """Token files of pictures that are alike."""
    folder = tmp_path / "tokens"
    folder.mkdir()
    for seed in range(20):
        write_tokens(tiny_tokenizer().encode([picture(seed)]), folder / f"{seed:02}.vqt")
    return folder


def picture(seed: int) -> torch.Tensor:
    random = np.random.Generator(np.random.PCG64(seed))
    return torch.from_numpy(random.normal(0, 0.9, (3, 96, 96)).clip(-1, 1).astype(np.float32))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_tables_make_files_of_the_model_smaller(run: Run, folder: Path, tokens: Path) -> None:
    ran = run("tables", tokens, "-m", folder, "--json")
    assert ran.status == 0
    assert "tables of 2,880 tokens from 20 of 20 files" in ran.err
    resources = CodingResources.of_model(folder)
    assert resources.tables is not None
    digest = resources.tables.digests["tokens"].hex()
    assert ran.document["streams"] == {"tokens": {"digest": digest, "codebook_sizes": [512]}}
    unseen = tiny_tokenizer().encode([picture(1000)])
    data = dumps(unseen, resources=resources)
    assert read_info(data).streams[0].modes[0] in (1, 7)
    assert len(data) < len(dumps(unseen))
    assert loads(data, resources=resources).same_as(unseen)


def test_tables_are_replaced_on_demand_alone(run: Run, folder: Path, tokens: Path) -> None:
    assert run("tables", tokens / "00.vqt", "-m", folder).status == 0
    before = (folder / "tables.safetensors").read_bytes()
    ran = run("tables", tokens, "-m", folder)
    assert ran.status == 2
    assert "files that were coded with it need it" in ran.err
    assert (folder / "tables.safetensors").read_bytes() == before
    assert run("tables", tokens, "-m", folder, "-f").status == 0
    assert (folder / "tables.safetensors").read_bytes() != before


def test_files_of_other_models_and_broken_ones_are_named(
    run: Run, folder: Path, tokens: Path
) -> None:
    other = tiny_tokenizer(gain=0.5)
    write_tokens(other.encode([picture(0)]), tokens / "other.vqt")
    (tokens / "broken.vqt").write_bytes(b"no tokens")
    ran = run("tables", tokens, "-m", folder)
    assert ran.status == 1
    assert "other.vqt: Counting codes: expected tokens of the model" in ran.err
    assert "broken.vqt" in ran.err
    assert "from 20 of 22 files" in ran.err


def test_nothing_is_written_of_nothing(run: Run, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.vqt").write_bytes(b"no tokens")
    ran = run("tables", tmp_path / "broken.vqt", "-m", folder)
    assert ran.status == 1
    assert "No tables were written" in ran.err
    assert not (folder / "tables.safetensors").exists()
    ran = run("tables", tmp_path / "broken.vqt", "-m", tmp_path / "absent")
    assert ran.status == 2
    assert "expected a model folder" in ran.err


def test_info_reads_files_that_need_tables(
    run: Run, folder: Path, tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("tables", tokens, "-m", folder)
    path = tmp_path / "x.vqt"
    item = tiny_tokenizer().encode([picture(1000)])
    write_tokens(item, path, resources=CodingResources.of_model(folder))
    ran = run("info", path)
    assert ran.status == 0
    assert "not known, the tokens cannot be read" in ran.out
    assert "expected the tables with digest" in ran.out
    monkeypatch.setenv("VQKIT_MODELS", str(folder.parent))
    ran = run("info", path)
    assert "bytes by the tokens' own frequencies" in ran.out


def test_tables_of_a_data_set_are_those_of_its_files(
    run: Run, folder: Path, photos: Path, tmp_path: Path
) -> None:
    options = ("-m", folder, "--trust", "tests", "--no-progress")
    files, dataset = tmp_path / "files", tmp_path / "dataset"
    assert run("encode", photos, "-r", *options, "--output-dir", files).status == 0
    ran = run("encode", photos, "--dataset", dataset, *options, "--engine", "inline")
    assert ran.status == 0, ran.err
    told = []
    for source in (files, dataset):
        ran = run("tables", source, "-r", "-m", folder, "-f", "--json")
        assert ran.status == 0, ran.err
        told.append((ran.document["num_tokens"], ran.document["streams"]))
    assert told[0] == told[1]
