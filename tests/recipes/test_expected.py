"""Each recipe says what it gives; the quickstart is held to it."""

import json

import pytest

from vqkit.cli.train import main
from vqkit.evaluation import Report, unexpected
from vqkit.paths import recipe_dir

RECIPES = sorted(path.parent for path in recipe_dir().rglob("recipe.yaml"))


@pytest.mark.parametrize("folder", RECIPES, ids=lambda folder: folder.name)
def test_a_recipe_is_described(folder):
    name = str(folder.relative_to(recipe_dir()))
    readme = (folder / "README.md").read_text()
    for word in ("Goal", "Command", "Hardware", "Time", name):
        assert word in readme, word
    expected = json.loads((folder / "expected.json").read_text())
    assert expected["recipe"] == name
    keys = {"recipe", "command", "hardware", "minutes", "source", "metrics"}
    assert set(expected) - {"references"} == keys
    for metric, row in expected["metrics"].items():
        assert set(row) == {"value", "tolerance"}, metric
        assert row["tolerance"] >= 0


@pytest.mark.recipe
@pytest.mark.timeout(900)
def test_quickstart_reaches_its_numbers(tmp_path):
    assert main([f"output_dir={tmp_path}"]) == 0
    held_out = json.loads((tmp_path / "report.json").read_text())
    training = json.loads((tmp_path / "training_images" / "report.json").read_text())
    expected = json.loads((recipe_dir() / "image/quickstart/expected.json").read_text())["metrics"]
    seen = {
        "psnr_db": held_out["metrics"]["psnr"]["mean"],
        "bits_per_pixel_of_file": held_out["metrics"]["actual_bits_per_pixel"]["mean"],
        "usage_of_training_photos": training["codebooks"][0]["usage"],
    }
    for name, value in seen.items():
        assert value == pytest.approx(expected[name]["value"], abs=expected[name]["tolerance"])
    assert seen["psnr_db"] >= 27.0
    assert seen["bits_per_pixel_of_file"] <= 0.12
    assert seen["usage_of_training_photos"] >= 0.9


@pytest.mark.recipe
@pytest.mark.timeout(900)
def test_quickstart_of_sounds_reaches_its_numbers(tmp_path):
    assert main(["recipe=audio/quickstart", f"output_dir={tmp_path}"]) == 0
    expected = json.loads((recipe_dir() / "audio/quickstart/expected.json").read_text())
    assert unexpected(Report.load(tmp_path), expected) == ()
