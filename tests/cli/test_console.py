"""Talk and data: what goes where, and in which characters."""

import io
import json
import os
import pty
import subprocess
import sys

import pytest

from tests.cli.conftest import Stream
from vqkit.cli.console import Console, explain, named_reason
from vqkit.cli.progress import progress_bar
from vqkit.errors import VqkitError


def test_how_much_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    for verbosity, expected in ((-1, "p: e\n"), (0, "p: e\nn\n"), (1, "p: e\nn\nd\n")):
        console = Console("p", verbosity)
        console.error("e")
        console.note("n")
        console.detail("d")
        assert capsys.readouterr() == ("", expected)


def test_explanations_are_one_line() -> None:
    assert explain(VqkitError("It failed.\n  Do this.")) == "It failed. Do this."
    assert explain(FileNotFoundError(2, "No such file", "a\nb")) == "No such file (a b)"
    assert explain(MemoryError()) == "there is not enough memory"
    assert "--debug" in explain(ValueError("x"))
    assert named_reason("a.png", "a.png is bad") == "a.png is bad"
    assert named_reason("a.png", "it is bad") == "a.png: it is bad"


def test_data_survive_a_narrow_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(buffer, encoding="ascii"))
    Console("p").data("é")
    Console("p").document({"name": "é\udc80"})
    sys.stdout.flush()
    line, document = buffer.getvalue().split(b"\n", 1)
    assert line == b"\\xe9"
    assert json.loads(document) == {"name": "é\udc80"}


def test_no_bar_without_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress_bar(5, "Encoding", wanted=True) as advance:
        advance()
    assert capsys.readouterr() == ("", "")
    for wanted, total in ((False, 5), (True, 1)):
        stream = Stream(terminal=True)
        monkeypatch.setattr(sys, "stderr", stream)
        with progress_bar(total, "Encoding", wanted=wanted) as advance:
            advance()
        stream.flush()
        assert isinstance(stream.buffer, io.BytesIO)
        assert stream.buffer.getvalue() == b""


_PROGRAM = """
import sys
from vqkit.cli.console import Console
from vqkit.cli.progress import progress_bar
with progress_bar(2, "Encoding", wanted=True) as advance:
    advance()
    Console("vqkit").error("talk")
    print("data")
"""


@pytest.mark.parametrize("no_colour", [False, True])
def test_a_bar_on_a_terminal_leaves_data_alone(no_colour: bool) -> None:
    """Standard error is a terminal, standard output a pipe."""
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80"}
    environment.pop("NO_COLOR", None)
    if no_colour:
        environment["NO_COLOR"] = "1"
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM], stdout=subprocess.PIPE, stderr=slave, env=environment
    )
    os.close(slave)
    shown = b""
    while True:
        try:
            piece = os.read(master, 4096)
        except OSError:  # Linux says so when the other side is closed
            break
        if not piece:
            break
        shown += piece
    os.close(master)
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, b"data\n")
    assert b"Encoding" in shown
    assert b"vqkit: talk" in shown
    assert (b"\x1b[38;" in shown) != no_colour
