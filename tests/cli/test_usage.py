"""What the command line refuses before it begins: exit status 2, one line, nothing written."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from vqkit.cli.main import main


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([], "expected a verb"),
        (["encod"], "did you mean encode?"),
        (["--frobnicate"], "--frobnicate"),
        (["encode", "a.png"], "--model"),
        (["encode", "-m", "M"], "expected at least one MEDIA"),
        (["encode", "", "-m", "M"], "got an empty one"),
        (["encode", "a.png", "-m"], "expected one argument"),
        (["encode", "a.png", "-m", "M", "--frobnicate"], "--frobnicate"),
        (["encode", "a.png", "-m", "M", "--codebook", "2"], "--codebook"),
        (["encode", "a.png", "-m", "M", "--codebooks", "0"], "from 1 on"),
        (["encode", "a.png", "-m", "M", "-q", "-v"], "not allowed with"),
        (["encode", "a.png", "-m", "M", "-o", "x", "--output-dir", "y"], "not allowed with"),
        (["encode", "-", "-", "-m", "M"], "got it twice"),
        (["encode", "a.png", "b.png", "-m", "M", "-o", "x"], "expected one input, got 2"),
        (["encode", "a.png", "-m", "M", "-o", "x.png"], "vqkit reconstruct"),
        (["encode", "a.png", "-m", "M", "-o", "."], "got a folder"),
        (["encode", "x/a.png", "y/a.png", "-m", "M", "--output-dir", "T"], "would both be written"),
        (["decode", "a.jpg.vqt", "a.png.vqt", "--output-dir", "T"], "would both be written"),
        (["decode", "a.vqt", "-o", "a.docx"], "ends in .png, .jpg"),
        (["decode", "a.vqt", "-o", "a.vqt", "--format", "png", "-f"], "is an input"),
        (["decode", "a.vqt", "--format", "docx"], "invalid choice"),
        (["reconstruct", "a.png", "-m", "M"], "--output-dir or -o"),
        (["evaluate", "a.png", "-m", "M"], "--output-dir"),
        (["list", "quantisers"], "expected one of quantizers"),
        (["encode", "a.png", "-m", "no/such/model"], "found none of them"),
    ],
)
def test_wrong_usage(run: Run, words: list[str], reason: str) -> None:
    ran = run(*words)
    assert ran.status == 2
    assert ran.out == ""
    assert len(ran.err.splitlines()) == 1
    assert ran.err.startswith("vqkit")
    assert reason in ran.err
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("device", ["abacus", "cuda:77", "meta meta"])
def test_unknown_device(run: Run, model: Path, device: str) -> None:
    ran = run("encode", "a.png", "-m", model, "--device", device)
    assert ran.status == 2
    assert f"--device {device}: expected a device of this machine" in ran.err


def test_options_and_names_in_any_order(
    run: Run, model: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos)
    (photos / "-v.png").write_bytes((photos / "a.png").read_bytes())
    ran = run("encode", "a.png", "-m", model, "b.png", "-n", "--", "-v.png", "--", "-o")
    assert ran.out.splitlines() == [
        "a.png -> a.png.vqt",
        "b.png -> b.png.vqt",
        "-v.png -> -v.png.vqt",
    ]
    assert (
        ran.status == 1
    )  # "--" and "-o" after the first "--" are names, of files that are not there
    assert "'-o'" in ran.err or "(-o)" in ran.err


def test_a_foreign_class_is_not_built_without_trust(run: Run, model: Path, photos: Path) -> None:
    ran = run("encode", photos / "a.png", "-m", model, "-o", "a.vqt")
    assert ran.status == 2
    assert "tests.cli.tiny.BlockMeans" in ran.err


def test_version(run: Run) -> None:
    import vqkit

    for option in ("-V", "--version"):
        assert run(option) == (0, f"vqkit {vqkit.__version__}\n", "")


def test_train_gets_its_words_untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    import vqkit.cli.train

    seen = []

    def train(words: list[str]) -> int:
        seen.append(words)
        return 7

    monkeypatch.setattr(vqkit.cli.train, "main", train)
    words = ["recipe=image/quickstart", "--help", "-q", "--", "trainer.max_steps=2"]
    assert main(["train", *words]) == 7
    assert seen == [words]


def test_a_reader_who_leaves_is_no_traceback() -> None:
    program = [
        sys.executable,
        "-c",
        "import sys; from vqkit.cli.main import main; sys.exit(main())",
    ]
    process = subprocess.Popen(
        [*program, "list", "configs"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    _, talk = process.communicate(timeout=120)
    assert (process.returncode, talk) == (1, b"")
