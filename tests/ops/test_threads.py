"""Tasks on torch's threads: each once, errors raised, no threads inside threads."""

import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
import torch

from vqkit.ops import nearest_code, threads
from vqkit.ops.threads import on_all_threads, shares_threads_of_torch

SHARES = shares_threads_of_torch()


@pytest.fixture(params=["runtime", "pool"], autouse=True)
def region(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Torch's runtime, or the thread pool that serves where it cannot be found."""
    if request.param == "pool":
        monkeypatch.setattr(threads, "_parallel_region", lambda: None)
    elif not SHARES:
        pytest.skip("torch's OpenMP runtime has no GOMP_parallel here")
    return str(request.param)


@pytest.fixture(params=[1, 3], autouse=True)
def num_threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="OpenMP of another kind")
def test_torch_of_linux_shares_its_threads() -> None:
    """The pool would serve as well, more slowly and without a word."""
    assert SHARES


@pytest.mark.parametrize("num_tasks", [0, 1, 2, 100])
def test_every_task_once(num_tasks: int) -> None:
    done: list[int] = []
    on_all_threads(done.append, num_tasks)
    assert sorted(done) == list(range(num_tasks))


def test_tasks_run_side_by_side(num_threads: int) -> None:
    barrier = threading.Barrier(num_threads, timeout=60)
    on_all_threads(lambda _: barrier.wait() and None, num_threads)


def test_first_exception_is_raised_and_ends_the_work() -> None:
    begun: list[int] = []

    def fail(task: int) -> None:
        begun.append(task)
        raise KeyboardInterrupt(task)

    with pytest.raises(KeyboardInterrupt):
        on_all_threads(fail, 1000)
    assert len(begun) <= 3
    test_every_task_once(5)  # and the threads still work


def test_a_region_inside_starts_no_more_threads(region: str) -> None:
    """As for torch's own operations, which ask the same runtime."""
    if region == "pool":
        pytest.skip("the pool is outside of torch's runtime")
    inside: list[set[int]] = []

    def run_another(_: int) -> None:
        seen: set[int] = set()
        on_all_threads(lambda _: seen.add(threading.get_ident()), 4)
        inside.append(seen)

    on_all_threads(run_another, 2)
    assert [len(seen) for seen in inside] == [1, 1]


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_searches_in_every_mode(mode: type) -> None:
    """Inference tensors can be written to in inference mode alone, which threads do not inherit."""
    pytest.importorskip("numba")
    with mode():
        z, codes = torch.randn(3000, 8), torch.randn(512, 8)
        index = nearest_code(z, codes, backend="compiled")
        assert torch.equal(index, torch.cdist(z.double(), codes.double()).argmin(1))


@pytest.mark.slow
def test_a_process_that_was_forked_before_the_first_use() -> None:
    code = (
        "import os, torch\n"
        "from vqkit.ops.threads import on_all_threads\n"
        "torch.set_num_threads(2)\n"
        "child = os.fork()\n"
        "done = []\n"
        "on_all_threads(done.append, 9)\n"
        "assert sorted(done) == list(range(9))\n"
        "if child: assert os.waitpid(child, 0)[1] == 0\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
