"""Help texts as golden files; ``VQKIT_REGENERATE_GOLDEN=1`` writes them anew, the diff is read."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from vqkit.cli.main import make_parser

FOLDER = Path(__file__).resolve().parents[1] / "golden" / "cli"
VERBS = (
    "bench",
    "codebook",
    "convert",
    "dataset",
    "decode",
    "encode",
    "evaluate",
    "info",
    "list",
    "prior",
    "reconstruct",
    "report",
    "tables",
    "usage",
    "verify",
)


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help(run: Run, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")  # the text does not follow the terminal
    ran = run(*verb.split(), "--help")
    assert (ran.status, ran.err) == (0, "")
    path = FOLDER / f"{verb or 'vqkit'}.txt"
    if os.environ.get("VQKIT_REGENERATE_GOLDEN") == "1":
        path.write_text(ran.out)
    assert ran.out == path.read_text()
    assert max(map(len, ran.out.splitlines())) <= 100


def test_every_help_text_is_tested() -> None:
    assert sorted(make_parser()[1]) == [*VERBS]
    assert {path.stem for path in FOLDER.iterdir()} == {"vqkit", *VERBS}


def test_help_and_version_load_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "from vqkit.cli.main import main\n"
        "assert main(['--help']) == main(['encode', '--help']) == main(['-V']) == 0\n"
        "assert main(['encode']) == 2\n"
        "heavy = {'torch', 'numpy', 'PIL', 'rich', 'hydra', 'lightning', 'einops', 'matplotlib'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, timeout=60)


def test_console_entry() -> None:
    """The installed command and ``python -m vqkit`` are the same program."""
    entry = Path(sys.executable).parent / "vqkit"
    commands = [[sys.executable, "-m", "vqkit"]]
    if entry.exists():
        commands.append([str(entry)])
    for command in commands:
        ran = subprocess.run([*command, "--help"], capture_output=True, text=True, timeout=60)
        assert (ran.returncode, ran.stderr) == (0, "")
        assert ran.stdout == (FOLDER / "vqkit.txt").read_text()
        ran = subprocess.run([*command, "encode"], capture_output=True, text=True, timeout=60)
        assert ran.returncode == 2
        assert len(ran.stderr.splitlines()) == 1
