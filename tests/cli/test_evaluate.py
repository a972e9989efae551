"""``vqkit evaluate``."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from vqkit.evaluation import Report
from vqkit.media import is_image


def test_report_and_pictures(run: Run, model: Path, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran = run("evaluate", pictures, "-m", model, "--trust", "tests", "--output-dir", out)
    assert ran.status == 1
    assert len(ran.err.splitlines()) == 2
    assert "cut.jpg" in ran.err.splitlines()[0]
    assert "PSNR" in ran.out
    names = {path.name for path in out.iterdir()}
    assert names == {"report.json", "reconstruction.png", "usage.png", "rate_quality.png"}
    assert all(is_image(path) for path in out.glob("*.png"))
    report = Report.load(out)
    assert report.setting.dataset == pictures.name
    assert len(report.items) == 7
    (failure,) = report.failures
    assert (failure.name, failure.error) == (str(pictures / "cut.jpg"), "MediaError")
    assert json.loads((out / "report.json").read_text())["dataset"]["num_failures"] == 1


def test_json_limit_name_and_reference(run: Run, model: Path, photos: Path, tmp_path: Path) -> None:
    options = ("-m", model, "--trust", "tests", "--output-dir", tmp_path / "out", "-q")
    ran = run(
        "evaluate", "-r", photos, *options, "--json", "--limit", 2,
        "--dataset", "two photos", "--reference", "jpeg",
    )  # fmt: skip
    assert (ran.status, ran.err) == (0, "")
    document = ran.document
    assert document == json.loads((tmp_path / "out" / "report.json").read_text())
    assert document["dataset"]["name"] == "two photos"
    assert [row["name"] for row in document["items"]] == [
        str(photos / n) for n in ("a.png", "b.png")
    ]


def test_a_report_is_not_overwritten(run: Run, model: Path, photos: Path) -> None:
    Path("out").mkdir()
    Path("out/report.json").write_text("mine")
    options = ("-m", model, "--trust", "tests", "--output-dir", "out", "-q")
    ran = run("evaluate", photos / "a.png", *options)
    assert ran.status == 2
    assert "-f" in ran.err
    assert Path("out/report.json").read_text() == "mine"
    assert run("evaluate", photos / "a.png", *options, "-f").status == 0
    assert Report.load("out").setting.dataset == "a.png"


def test_nothing_but_broken_images(run: Run, model: Path, pictures: Path) -> None:
    options = ("-m", model, "--trust", "tests", "--output-dir", "out", "-q", "--reference", "webp")
    ran = run("evaluate", pictures / "cut.jpg", "missing.png", *options)
    assert ran.status == 1
    assert len(Report.load("out").failures) == 2


def test_lpips_without_weights_is_a_note_in_the_report(
    run: Run, model: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    options = ("-m", model, "--trust", "tests", "--output-dir", "out", "-q", "--lpips")
    ran = run("evaluate", photos / "a.png", *options)
    assert ran.status == 0
    assert "VGG16" in (Report.load("out").metrics["lpips"].reason or "")
