"""One contract for all executors."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipeline.errands import Errands
from vqkit.errors import ConfigError, MediaError, MissingExtraError, VqkitError
from vqkit.pipeline.executors import (
    Executor,
    InlineExecutor,
    ProcessExecutor,
    RayExecutor,
    ShardOutcome,
)

pytestmark = [
    # Ray 2.60 about its own settings and files, not ours to change.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
    pytest.mark.filterwarnings("ignore::FutureWarning:ray"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
RAY_TAKES_LONG = pytest.param("ray", marks=pytest.mark.slow)


@pytest.fixture(scope="module")
def ray_here() -> Iterator[None]:
    """A Ray for all tests of this file: each start takes seconds."""
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.fixture
def executor(request: pytest.FixtureRequest) -> Executor:
    if request.param == "inline":
        return InlineExecutor()
    if request.param == "process":
        return ProcessExecutor(2)
    request.getfixturevalue("ray_here")
    return RayExecutor(2)


def run(executor: Executor, work: Errands, numbers: range) -> dict[int, ShardOutcome]:
    outcomes = [*executor.map_shards(work, numbers)]
    assert sorted(outcome.number for outcome in outcomes) == [*numbers]  # each of them once
    return {outcome.number: outcome for outcome in outcomes}


@pytest.mark.parametrize("executor", ["inline", "process", RAY_TAKES_LONG], indirect=True)
def test_every_shard_is_run_once(executor: Executor, tmp_path: Path) -> None:
    work = Errands(tmp_path)
    for number, outcome in run(executor, work, range(9)).items():
        assert outcome == ShardOutcome(number, {"square": number * number}, 0)
        assert len(work.pids(number)) == 1
    started = (tmp_path / "starts").read_text().split()
    assert 1 <= len(started) == len(set(started)) <= 2, "work starts once in each worker"


@pytest.mark.parametrize("executor", ["inline", "process", RAY_TAKES_LONG], indirect=True)
def test_nothing_to_do_starts_nothing(executor: Executor, tmp_path: Path) -> None:
    assert run(executor, Errands(tmp_path), range(0)) == {}
    assert not (tmp_path / "starts").exists()


@pytest.mark.parametrize("executor", ["process", RAY_TAKES_LONG], indirect=True)
def test_a_shard_of_a_dead_worker_is_run_again(executor: Executor, tmp_path: Path) -> None:
    work = Errands(tmp_path, ((2, "dies once"), (5, "lost once")))
    for number, outcome in run(executor, work, range(8)).items():
        assert outcome.summary == {"square": number * number}
        assert outcome.num_deaths == (number in (2, 5))
    for number in (2, 5):
        first, second = work.pids(number)
        assert first != second


@pytest.mark.parametrize("executor", ["process", RAY_TAKES_LONG], indirect=True)
def test_a_poisonous_shard_is_given_up(executor: Executor, tmp_path: Path) -> None:
    work = Errands(tmp_path, ((1, "poison"),))
    outcomes = run(executor, work, range(5))
    assert outcomes.pop(1) == ShardOutcome(1, None, 3)
    assert len(work.pids(1)) == 3
    assert all(outcome.summary is not None for outcome in outcomes.values())


@pytest.mark.parametrize("executor", ["inline", "process", RAY_TAKES_LONG], indirect=True)
@pytest.mark.parametrize(
    ("kind", "expected", "message"),
    [
        ("bad file", MediaError, "^a bad file$"),
        ("bug", (VqkitError, KeyError), "a bug"),
    ],
)
def test_an_exception_ends_the_run(
    executor: Executor, tmp_path: Path, kind: str, expected: type[Exception], message: str
) -> None:
    with pytest.raises(expected, match=message):
        run(executor, Errands(tmp_path, ((3, kind),)), range(6))


@pytest.mark.parametrize("executor", ["inline", "process", RAY_TAKES_LONG], indirect=True)
def test_work_that_cannot_start_says_why(executor: Executor, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^no such model$"):
        run(executor, Errands(tmp_path, trouble_at_start="raises"), range(3))


def test_workers_that_die_before_they_begin_end_the_run(tmp_path: Path) -> None:
    with pytest.raises(VqkitError, match="Cannot start workers: 3 in a row died"):
        run(ProcessExecutor(2), Errands(tmp_path, trouble_at_start="dies"), range(3))


def test_no_worker_outlives_the_run(tmp_path: Path) -> None:
    outcomes = ProcessExecutor(2).map_shards(Errands(tmp_path), range(4))
    next(outcomes)
    outcomes.close()  # as Ctrl-C does
    for pid in map(int, (tmp_path / "starts").read_text().split()):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_ray_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"vqkit\[ray\]"):
        run(RayExecutor(1), Errands(tmp_path), range(1))
