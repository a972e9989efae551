"""The fuzzing target works: a few seconds of it, on its seed corpus."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("atheris", reason="atheris, of the development environment, is not installed")

TARGET = [sys.executable, "-m", "tests.fuzz.fuzz_token_file"]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*TARGET, *words], capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.slow
def test_the_target_runs_and_finds_nothing(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    assert "files in" in run("--seed", str(corpus)).stdout
    ran = run(str(corpus), "-max_total_time=5", "-rss_limit_mb=2048", "-timeout=20")
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert "INITED" in ran.stderr
    assert "Done" in ran.stderr
