"""``vqkit list``."""

import shutil
from pathlib import Path

import pytest

import vqkit.paths
from tests.cli.conftest import Run
from tests.cli.tiny import tiny_tokenizer


def test_classes_of_the_facades(run: Run) -> None:
    listed = run("list", "quantizers", "encoders", "decoders", "losses", "--json").document
    assert {"FSQ", "Residual", "VectorQuantizer"} <= listed["quantizers"].keys()
    assert not {"Quantizer", "EMA", "QuantizerOutput"} & listed["quantizers"].keys()
    assert "VQGANEncoder" in listed["encoders"]
    assert "VQGANDecoder" in listed["decoders"]
    assert {"L1", "LPIPS", "Hinge"} <= listed["losses"].keys()
    assert not {"AdversarialLoss", "AdversarialSchedule"} & listed["losses"].keys()
    assert all(text for rows in listed.values() for text in rows.values())


def test_configurations_and_recipes(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "quantizer").mkdir()
    (tmp_path / "train.yaml").write_text("seed: 0\n# later\n")
    (tmp_path / "quantizer" / "new.yaml").write_text("# @package _global_\n# Brand new.\na: 1\n")
    (tmp_path / "image" / "quick").mkdir(parents=True)
    (tmp_path / "image" / "quick" / "recipe.yaml").write_text("#  Trains fast.\n")
    monkeypatch.setattr(vqkit.paths, "config_dir", lambda: tmp_path)
    monkeypatch.setattr(vqkit.paths, "recipe_dir", lambda: tmp_path)
    assert run("list", "recipes").out == "image/quick  Trains fast.\n"
    assert run("list", "configs").out.splitlines() == [
        "image/quick/recipe  Trains fast.",
        "quantizer/new       Brand new.",
        "train",
    ]


def test_what_ships_is_listed(run: Run) -> None:
    assert "quantizer/fsq" in run("list", "configs", "--json").document["configs"]


def test_models(run: Run, model: Path) -> None:
    assert run("list", "models") == (0, "", "")
    shutil.copytree(model, "runs/image/tiny/2025/model")
    fingerprint = tiny_tokenizer().fingerprint
    assert run("list", "models").out == (
        f"runs/image/tiny/2025/model  image/tiny ({fingerprint}), 0.1406 bits per pixel\n"
    )


def test_several_kinds_have_headings(run: Run) -> None:
    lines = run("list", "encoders", "models").out.splitlines()
    assert lines[0] == "encoders"
    assert lines[1].startswith("  ")
    assert lines[-1] == "models"
