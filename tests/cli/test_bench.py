"""``vqkit bench``: a small run from end to end, what is refused, the pictures of cells."""

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.conftest import Run
from vqkit.evaluation.cards.cells import CELLS

SMALL = ("--steps", 2, "--source", "gaussian", "--source", "sphere", "--no-costs")


def test_page_picture_and_json(run: Run, tmp_path: Path) -> None:
    page, picture = tmp_path / "out" / "cards.md", tmp_path / "pictures" / "cards.png"
    words = ("bench", "quantizers", *SMALL, "--quantizer", "pyramid_unit", "--quantizer", "fsq")
    ran = run(*words, "-o", tmp_path / "out" / "cards", "--picture", picture, "--json")
    assert ran.status == 0
    document = json.loads((tmp_path / "out" / "cards.json").read_text())
    assert ran.document == document
    gaussian, sphere = document["sources"]
    assert (gaussian["name"], gaussian["bound"], sphere["name"]) == ("gaussian", "exact", "sphere")
    (fsq,) = gaussian["quantizers"]
    assert (fsq["quantizer"], fsq["bits"], fsq["is_projected"]) == ("fsq", 8.0, True)
    assert fsq["bound_snr_db"] == pytest.approx(12.04, abs=0.01)
    assert fsq["gap_db"] == pytest.approx(fsq["bound_snr_db"] - fsq["snr_db"])
    assert fsq["num_tokens"] == 16384
    assert 0.0 < fsq["relative_usage"] <= 1.01
    # Only the sphere has use for a quantizer of directions; the best comes first.
    names = [row["quantizer"] for row in sphere["quantizers"]]
    assert sorted(names) == ["fsq", "pyramid_unit"]
    gaps = [row["gap_db"] for row in sphere["quantizers"]]
    assert gaps == sorted(gaps)
    assert document["costs"] == []
    assert document["setting"] == {
        "dim": 4, "bits": 8, "num_steps": 2, "batch_size": 2048, "seed": 0,
    }  # fmt: skip
    text = page.read_text()
    assert "](../pictures/cards.png)" in text
    assert "--quantizer pyramid_unit --quantizer fsq" in text
    assert f"| `fsq` | FSQ, levels 4-4-4-4 \\* | 8.00 | {fsq['snr_db']:.2f} |" in text
    assert "torch" in text
    assert "Speed" not in text
    with Image.open(picture) as opened:
        assert opened.format == "PNG"


def test_the_same_seed_gives_the_same_numbers(run: Run) -> None:
    words = ("bench", "quantizers", *SMALL, "--quantizer", "fsq", "--json", "--seed")
    first, again, other = (run(*words, seed).document["sources"] for seed in (3, 3, 4))
    assert first == again != other


def test_without_a_file_the_page_goes_to_standard_output(run: Run) -> None:
    ran = run("bench", "quantizers", *SMALL, "--quantizer", "fsq", "-q")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith("# Quantizer cards\n")
    assert "![" not in ran.out


@pytest.mark.parametrize("existing", ["cards.md", "cards.json", "cards.png"])
def test_nothing_is_overwritten_without_force(run: Run, tmp_path: Path, existing: str) -> None:
    (tmp_path / existing).write_text("precious")
    words = ("bench", "quantizers", *SMALL, "--quantizer", "fsq", "-o", tmp_path / "cards.md")
    ran = run(*words)
    assert ran.status == 2
    assert "-f" in ran.err
    assert (tmp_path / existing).read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [existing]
    assert run(*words, "-f").status == 0
    assert (tmp_path / existing).read_bytes() != b"precious"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("quantizers", "--quantizer", "vq_emma"), "Quantizer 'vq_emma': expected one of vq_ema, "),
        (("quantizers", "--source", "cauchy"), "Source 'cauchy': expected one of gaussian, "),
        (("quantizers", "--picture", "a.png"), "--picture: expected -o NAME beside it"),
        (("quantizers", "--device", "abacus"), "--device abacus"),
        (("cells",), "expected -o DIR"),
        (("cells", "-o", "x", "--source", "gaussian"), "--source: of quantizers, not of cells"),
        (("cells", "-o", "x", "--quantizer", "vq_ema"), "expected one of vq, "),
        (("speed",), "Bench 'speed': expected quantizers or cells"),
        (("quantizers", "--steps", "0"), "expected a whole number from 1 on"),
    ],
)
def test_wrong_usage(run: Run, words: tuple[str, ...], reason: str) -> None:
    ran = run("bench", *words)
    assert ran.status == 2
    assert reason in ran.err
    assert ran.out == ""


def test_cells(run: Run, tmp_path: Path) -> None:
    names = ("grouped", "multiscale")
    words = ["bench", "cells", "-o", tmp_path / "cells", "--steps", 3]
    words += [word for name in names for word in ("--quantizer", name)]
    ran = run(*words, "--json")
    assert ran.status == 0
    for name in names:
        file = Path(ran.document["pictures"][name])
        assert file.stat().st_size < 60_000
        with Image.open(file) as opened:
            assert opened.size == (400, CELLS[name].height)
            assert len(opened.convert("RGB").getcolors() or ()) > 10
    assert run(*words).status == 2
    assert run(*words, "-f").status == 0
