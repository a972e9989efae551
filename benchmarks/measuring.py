"""Time and memory of calls, on a CPU or a GPU, for all benchmarks alike."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from vqkit.evaluation.memory import extra_memory_bytes

__all__ = [
    "Clock",
    "extra_memory_bytes",
    "in_own_process",
    "product_gflops",
    "take_turns",
    "verb_in_own_process",
]

Run = Callable[[], object]
Clock = Callable[[], float]


def take_turns(
    runs: Mapping[str, Run],
    rounds: int,
    device: str = "cpu",
    *,
    warm_up: bool = True,
    clock: Clock = time.perf_counter,
) -> dict[str, dict[str, float]]:
    """Milliseconds of every contestant: the fastest round and the median.

    All run in turn, round after round, so that a busy machine is busy for all; one round that does
    not count comes first, unless all have run before. On a CPU that others use as well,
    ``time.process_time`` with one thread tells more than the clock on the wall.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    for round_number in range(rounds + warm_up):
        for name, run in runs.items():
            taken = milliseconds(run, device, clock)
            if round_number >= warm_up:
                times[name].append(taken)
    return {
        name: {"fastest": min(taken), "median": statistics.median(taken)}
        for name, taken in times.items()
    }


def milliseconds(run: Run, device: str = "cpu", clock: Clock = time.perf_counter) -> float:
    """Duration of one call, to the end of its work on the device."""
    if device == "cpu":
        start = clock()
        run()
        return (clock() - start) * 1e3
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    first.record()
    run()
    last.record()
    torch.cuda.synchronize()
    return first.elapsed_time(last)


def in_own_process(module: str, *arguments: str) -> str:
    """What ``python -m module arguments`` prints; freed memory goes back to the system there."""
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        check=True,
        cwd=Path(__file__).resolve().parents[1],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"MALLOC_MMAP_THRESHOLD_": str(2**17), "MALLOC_TRIM_THRESHOLD_": "0"},
    ).stdout


def verb_in_own_process(verb: str, *arguments: object) -> dict[str, float]:
    """Run a verb of the command line: seconds, and the peak of its resident memory in bytes."""
    command = [sys.executable, "-m", "vqkit", verb, *map(str, arguments)]
    # The peak of all children: of a process that has had one child alone.
    watcher = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    begin = time.perf_counter()
    ended = subprocess.run(
        [sys.executable, "-c", watcher, *command], check=True, stdout=subprocess.PIPE, text=True
    )
    seconds = time.perf_counter() - begin
    return {"seconds": seconds, "peak_bytes": 1024 * int(ended.stdout.split()[-1])}


def product_gflops(device: str = "cpu") -> float:
    """Rate of a large square matrix product, the most that this machine's libraries reach."""
    size = 2048 if device == "cpu" else 8192
    a, b = torch.randn(2, size, size, device=device)
    out = torch.empty(size, size, device=device)
    taken = take_turns({"product": lambda: torch.mm(a, b, out=out)}, rounds=7, device=device)
    return 2 * size**3 / taken["product"]["fastest"] / 1e6
