"""``vqkit encode --dataset``: broken files, resumption, interruption, plans, wrong usage."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import Run
from vqkit.files.dataset import Manifest, read_shard, verify_dataset
from vqkit.files.storage import Storage

NUM_PHOTOS = 196
NUM_COPIES = 2
BROKEN = {
    "empty.png": "the file is empty",
    "cut.jpg": "damaged or cut short",
    "text.png": "got something else",
    "mislabelled.jpg": "PDF is not supported",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 files, 2 % of them no pictures: empty, truncated, text, another format."""
    folder = tmp_path_factory.mktemp("dataset") / "photos"
    random = np.random.default_rng(0)
    for number in range(NUM_PHOTOS):
        path = folder / f"{number % 4}" / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (8 + 8 * (number % 2), 16, 3), np.uint8)
        Image.fromarray(pixels).save(path)
    whole = folder / "cut.jpg"
    Image.effect_noise((64, 64), 80).save(whole)
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    (folder / "0" / "empty.png").touch()
    (folder / "1" / "text.png").write_text("no picture")
    (folder / "3" / "mislabelled.jpg").write_bytes(b"%PDF-1.7 and so on")
    return folder


def words(folder: Path, model: Path, *more: object) -> list[object]:
    return [
        "encode", folder, "-m", model, "--trust", "tests", "--dataset", "tokens",
        "--engine", "inline", "--shard-size", "1M", *more,
    ]  # fmt: skip


def test_broken_files_are_named_and_all_others_encoded(run: Run, folder: Path, model: Path) -> None:
    ran = run(*words(folder, model, "--json"))
    assert ran.status == 1
    document = ran.document
    assert (document["num_done"], document["num_failed"]) == (NUM_PHOTOS, len(BROKEN))
    assert document["complete"] is True
    assert "Encoded 196 of 200 files with image/tiny on cpu" in ran.err
    storage = Storage.at("tokens")
    assert verify_dataset(storage).problems == ()
    manifest = Manifest.read(storage)
    assert len(manifest.failed) == len(BROKEN)
    for key, reason in manifest.failed:
        assert BROKEN[Path(key).name] in reason
        assert key in ran.err
        assert [key, reason] in document["failed"]
    assert manifest.num_samples == NUM_PHOTOS
    keys = [s.key for shard in manifest.shards for s in read_shard(storage, shard.name)]
    assert sorted(keys) == sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*.*")
    )

    again = run(*words(folder, model))
    assert again.status == 1
    assert "of them before." in again.err


def test_many_failures_are_not_all_told(run: Run, model: Path) -> None:
    Path("list.txt").write_text("".join(f"missing-{number:02d}.png\n" for number in range(50)))
    ran = run(*words(Path("list.txt"), model))
    assert ran.status == 1
    assert "50 of 50 inputs failed" in ran.err
    assert "missing-19.png: No such file or directory" in ran.err
    assert "missing-20.png" not in ran.err
    assert "and 30 more, in manifest.json of tokens" in ran.err


@pytest.mark.parametrize("policy", ["fail", "skip:1%"])
def test_a_policy_ends_the_run(run: Run, folder: Path, model: Path, policy: str) -> None:
    ran = run(*words(folder, model, "--on-error", policy))
    assert ran.status == 1
    assert f"Encoding stopped, as told on errors ({policy})" in ran.err
    assert not Path("tokens/manifest.json").exists()
    assert run(*words(folder, model, "--on-error", "skip:2%")).status == 1
    assert Path("tokens/manifest.json").exists()


def test_tasks_of_an_array(run: Run, folder: Path, model: Path) -> None:
    planned = run(*words(folder, model, "--plan-only"))
    assert (planned.status, planned.out) == (0, "")
    assert planned.err == "Planned 200 inputs in 6 shards.\n"
    first = run(*words(folder, model, "--shard-range", "1/2"))
    assert "Shards of other tasks are missing" in first.err
    assert not Path("tokens/manifest.json").exists()
    second = run(*words(folder, model, "--shard-range", "2/2", "--json"))
    assert second.document["complete"] is True
    assert first.status == second.status == 1  # each has a broken file
    assert verify_dataset(Storage.at("tokens")).problems == ()


def test_the_plan_is_listed_and_nothing_written(run: Run, folder: Path, model: Path) -> None:
    ran = run(*words(folder, model, "-n"))
    assert ran.status == 0
    lines = ran.out.splitlines()
    assert len(lines) == 6
    assert lines[0].startswith("shard 0: ")
    assert lines[0].endswith(" inputs from 0/000.png on")
    assert "200 inputs" in ran.err
    ran = run(*words(folder, model, "-n", "--json", "--shard-range", "2/6"))
    assert [shard["number"] for shard in ran.document["shards"]] == [1]
    assert not Path("tokens").exists()


def test_shards_are_told_when_verbose(run: Run, folder: Path, model: Path) -> None:
    ran = run(*words(folder, model, "-v"))
    assert "0 of 6 shards, 0 of 200 files, 0 failed; starting" in ran.err
    assert "6 of 6 shards, 200 of 200 files, 4 failed; " in ran.err
    assert "Time of all workers together: read " in ran.err


def test_a_terminal_shows_files_rate_and_stages(
    run: Run, folder: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    shown = run(*words(folder, model)).err
    for text in ("Encoding", "0/200", "200/200", "/s", "encode ", "wait "):
        assert text in shown, text
    assert "0/200" not in run(*words(folder, model, "--no-progress")).err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["-o", "x.vqt"], "--output: a data set goes where --dataset says"),
        (["--output-dir", "x"], "--output-dir: a data set goes where --dataset says"),
        (["-f"], "--force: a data set goes where --dataset says"),
        (["again"], "expected one folder, list, Parquet or tar file, got 2"),
        (["--address", "auto"], "--address: expected --engine ray"),
        (["--on-error", "ignore"], "expected fail, skip or skip:2%, got 'ignore'"),
        (["--shard-range", "3/2"], "expected a task from 1 to 2, got 3"),
        (["--shard-size", "big"], "expected a size such as 64M, got 'big'"),
        (["--timeout-seconds", "0"], "a time limit above 0 s"),
        (["--engine", "ray", "--device", "toaster"], "--device toaster: expected cpu, cuda"),
        (["--codebooks", "2"], "--codebooks 2: image/tiny has 1 codebook(s)"),
    ],
)
def test_wrong_usage(run: Run, folder: Path, model: Path, more: list[str], message: str) -> None:
    ran = run(*words(folder, model, *more))
    assert ran.status == 2
    assert message in ran.err
    assert not Path("tokens").exists()


def test_options_of_a_data_set_need_one(run: Run, folder: Path, model: Path) -> None:
    ran = run("encode", folder, "-m", model, "--workers", "2")
    assert ran.status == 2
    assert "--workers: expected --dataset with it" in ran.err


def test_another_job_in_the_same_folder_is_wrong_usage(run: Run, folder: Path, model: Path) -> None:
    assert run(*words(folder, model, "--plan-only")).status == 0
    ran = run(*words(folder, model, "--alpha", "black"))
    assert ran.status == 2
    assert "expected alpha 'white', got 'black'" in ran.err


# On a busy machine the job may end before the signal comes: a slow test.
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_command_can_be_given_again(
    run: Run, folder: Path, model: Path, number: signal.Signals, tmp_path: Path
) -> None:
    """In a process of its own, with workers: none of them outlives it."""
    marked = tmp_path / "marked-model"
    marked.symlink_to(model)
    # So much work that it goes on for seconds after the first shard, however late that is seen.
    inputs = tmp_path / "inputs"
    for copy in range(NUM_COPIES):
        shutil.copytree(folder, inputs / f"{copy}")
    program = [sys.executable, "-m", "vqkit", *map(str, words(inputs, marked))]
    program[program.index("inline")] = "process"
    program += ["--workers", "1", "--shard-size", "64K"]
    process = subprocess.Popen(program, stderr=subprocess.PIPE, text=True, cwd=Path.cwd())
    deadline = time.monotonic() + 120
    while not list(Path("tokens").glob("part-*.json")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert "interrupted; the same command again goes on" in told
    assert "Traceback" not in told
    assert not Path("tokens/manifest.json").exists()
    num_before = len(list(Path("tokens").glob("part-*.json")))
    ran = run(*words(inputs, marked, "--shard-size", "64K", "--json"))
    assert ran.document["num_earlier_shards"] == num_before >= 1
    assert ran.document["complete"] is True
    assert verify_dataset(Storage.at("tokens")).problems == ()
    assert json.loads(ran.out)["num_failed"] == NUM_COPIES * len(BROKEN)


def run_on_ray(folder: Path, model: Path, *more: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "vqkit", *map(str, words(folder, model, "--json", *more))]
    program[program.index("inline")] = "ray"
    root = str(Path(__file__).resolve().parents[2])
    return subprocess.run(
        program,
        capture_output=True,
        text=True,
        timeout=280,
        env=os.environ | {"PYTHONPATH": root},
    )


@pytest.mark.slow
def test_ray_from_the_command_line(folder: Path, model: Path) -> None:
    """Only the document on standard output, whatever Ray has to say."""
    ran = run_on_ray(folder, model, "--workers", "2")
    assert ran.returncode == 1
    assert json.loads(ran.stdout)["num_failed"] == len(BROKEN)
    assert verify_dataset(Storage.at("tokens")).problems == ()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ray_on_a_cluster_that_runs(
    folder: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.cluster_utils import Cluster

    # Ray's nodes start their workers with the environment that they were started with.
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    try:
        ran = run_on_ray(folder, model, "--address", cluster.address)
    finally:
        cluster.shutdown()
    assert ran.returncode == 1, ran.stderr
    assert json.loads(ran.stdout)["num_failed"] == len(BROKEN)
    assert verify_dataset(Storage.at("tokens")).problems == ()
