"""``vqkit usage``: counts of token files, tables of models, limits and their exit status."""

import json
from pathlib import Path

import pytest
import torch

from tests.cli.conftest import Run
from vqkit.files import write_tokens
from vqkit.nets import FastDecoder, FastEncoder
from vqkit.quantizers import Residual, VectorQuantizer
from vqkit.tokenizers import ImageFrontend, Tokenizer, Tokens


def residual_model(seed: int = 0) -> Tokenizer:
    torch.manual_seed(seed)
    size = {"widths": (8, 8), "num_blocks": (1, 1)}
    quantizer = Residual(VectorQuantizer(4, 16), 2)
    for _ in range(3):
        quantizer(torch.randn(4, 64, 4))
    return Tokenizer(
        ImageFrontend(), FastEncoder(dim=4, **size), quantizer, FastDecoder(dim=4, **size), "two"
    )


def write(tokenizer: Tokenizer, path: Path, indices: torch.Tensor) -> None:
    """A token file with these indices, whatever image they would be."""
    made = tokenizer.encode([torch.zeros(3, 8 * indices.shape[0], 8 * indices.shape[1])])
    stream = made.streams["tokens"]
    streams = {"tokens": type(stream)(indices[None], stream.codebook_sizes, stream.axes)}
    write_tokens(Tokens(streams, made.media, made.modality, made.tokenizer, made.fingerprint), path)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "tokens"
    folder.mkdir()
    model = residual_model()
    for number in range(3):
        first = torch.randint(0, 16, (20, 20))
        # The second codebook repeats the first and leaves its upper half unused.
        write(model, folder / f"{number}.vqt", torch.stack((first, first // 2), dim=-1))
    return folder


def test_counts_over_all_files(run: Run, files: Path) -> None:
    ran = run("usage", files, "--json")
    assert (ran.status, ran.err) == (0, "")
    first, second = ran.document["codebooks"]["levels"]
    assert (first["num_tokens"], first["usage"], first["num_dead"]) == (1200, 1.0, 0)
    assert (second["usage"], second["dead_codes"]) == (0.5, list(range(8, 16)))
    (pair,) = ran.document["mutual_information"]
    assert pair["shared"] > 0.95
    assert ran.document["tables"] == []


def test_limits_decide_the_exit_status(run: Run, files: Path) -> None:
    assert run("usage", files, "--min-usage", "0.4", "--min-entropy", "0.5").status == 0
    ran = run("usage", files, "--min-usage", "0.6", "--max-shared", "0.5")
    assert ran.status == 1
    assert "Codebook 2, corrected usage: expected at least 0.6, got 0.5" in ran.err
    assert "shared information" in ran.err
    assert len(ran.err.splitlines()) == 2
    ran = run("usage", files, "--max-twins", "0.5")
    assert ran.status == 2
    assert "expected the tables of a model" in ran.err
    assert run("usage", files, "--min-usage", "1.5").status == 2


def test_table_picture_and_json_in_a_folder(run: Run, files: Path, tmp_path: Path) -> None:
    ran = run("usage", files, "--output-dir", tmp_path / "report")
    assert ran.status == 0
    assert "codebook  codes  tokens" in ran.out
    assert "1 and 2" in ran.out
    assert {path.name for path in (tmp_path / "report").iterdir()} == {"usage.json", "usage.png"}
    assert json.loads((tmp_path / "report" / "usage.json").read_text())["codebooks"]
    ran = run("usage", files, "--output-dir", tmp_path / "report")
    assert ran.status == 2
    assert "-f" in ran.err
    assert run("usage", files, "--output-dir", tmp_path / "report", "-f").status == 0


def test_a_model_and_another_checkpoint(run: Run, tmp_path: Path) -> None:
    model = residual_model()
    model.save_pretrained(tmp_path / "before")
    table = model.quantizer.tables()["levels.1"]
    table[9] = table[2]
    model.quantizer.levels[1].codebook.copy_(table)
    model.save_pretrained(tmp_path / "after")
    ran = run("usage", tmp_path / "after", "--against", tmp_path / "before", "--json")
    assert ran.status == 0
    first, second = ran.document["tables"]
    assert (first["name"], first["num_twins"], first["drift"]["maximum"]) == ("levels.0", 0, 0.0)
    assert (second["twins"], second["drift"]["num_exchanged"]) == ([[9, 2]], 1)
    assert run("usage", tmp_path / "after", "--max-twins", "0.05").status == 1
    assert run("usage", tmp_path / "before", "--max-twins", "0").status == 0
    text = run("usage", tmp_path / "after", "--against", tmp_path / "before").out
    assert "levels.1" in text


def test_tokens_and_model_together_and_divergence(run: Run, files: Path, tmp_path: Path) -> None:
    residual_model().save_pretrained(tmp_path / "model")
    other = tmp_path / "other.vqt"
    write(residual_model(), other, torch.zeros(20, 20, 2, dtype=torch.int64))
    ran = run("usage", files, tmp_path / "model", "--against", other, "--json")
    assert ran.status == 0
    assert len(ran.document["tables"]) == 2
    assert all(0.5 < bits <= 1 for bits in ran.document["divergence_bits"])
    same = run("usage", files, "--against", files, "--json").document["divergence_bits"]
    assert same == [0.0, 0.0]


def test_files_of_two_models_are_not_added_up(run: Run, files: Path) -> None:
    write(residual_model(seed=1), files / "9.vqt", torch.zeros(2, 2, 2, dtype=torch.int64))
    ran = run("usage", files, "--json")
    assert ran.status == 1
    assert "Count each model by itself" in ran.err
    assert ran.document["codebooks"]["levels"][0]["num_tokens"] == 1200


def test_what_makes_no_sense(run: Run, files: Path, tmp_path: Path) -> None:
    residual_model().save_pretrained(tmp_path / "model")
    assert run("usage").status == 2
    assert run("usage", tmp_path / "model", tmp_path / "model").status == 2
    assert run("usage", tmp_path / "model", "--against", files).status == 2
    assert run("usage", tmp_path / "missing").status == 1
