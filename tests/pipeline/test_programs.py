"""The programs that kill, resume and disturb, at a small size."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


def results_of(program: str, folder: Path, *words: str) -> dict[str, Any]:
    subprocess.run(
        [sys.executable, "-m", f"benchmarks.{program}", "--output", str(folder), *words],
        cwd=ROOT,
        check=True,
        timeout=280,
    )
    (path,) = folder.glob("*.json")
    results: dict[str, Any] = json.loads(path.read_text())
    return results


def test_a_killed_job_loses_and_doubles_nothing(tmp_path: Path) -> None:
    results = results_of("kill_and_resume", tmp_path, "--runs", "6", "--ray-every", "0")
    assert results["num_kills"] >= results["num_runs"] == 6
    assert results["num_lost"] == results["num_doubled"] == results["num_other_problems"] == 0


def test_a_cluster_that_loses_a_node_and_a_worker_loses_nothing(tmp_path: Path) -> None:
    results = results_of("cluster", tmp_path, "--sleeping-shards", "12")
    disturbed = results["disturbed"]
    assert len(disturbed["happened"]) == 2
    assert disturbed["num_shards"] == 40
    assert disturbed["problems"] == []
