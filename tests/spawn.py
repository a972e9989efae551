"""Run a function on several ranks, in processes of their own that cannot hang the suite."""

import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import multiprocessing

__all__ = ["Join", "run_ranks"]

Join = Callable[[], None]
"""Makes the calling rank a member of the gloo process group."""


def run_ranks(
    function: Callable[[int, Join], Any],
    *,
    num_ranks: int = 2,
    timeout_seconds: float = 90.0,
    collective_timeout_seconds: float = 20.0,
) -> list[Any]:
    """Call ``function(rank, join)`` on each rank and return the results in the order of the ranks.

    The group exists from the call of ``join()`` on, so that a test can build modules before. The
    function must be importable, and its result made of tensors, numbers, strings, lists and dicts.

    Raises:
        AssertionError: A rank raised (with its traceback) or did not end in time.
    """
    # The fork server imports torch once, for all ranks and for every later call.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([function.__module__])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        processes = [
            context.Process(
                target=_run,
                args=(function, rank, num_ranks, folder, collective_timeout_seconds),
                daemon=True,
            )
            for rank in range(num_ranks)
        ]
        for process in processes:
            process.start()
        deadline = time.monotonic() + timeout_seconds
        try:
            for process in processes:
                process.join(max(0.0, deadline - time.monotonic()))
            hung = [rank for rank, process in enumerate(processes) if process.is_alive()]
        finally:
            for process in processes:
                if process.is_alive():
                    process.kill()
                    process.join()
        errors = [path.read_text() for path in sorted(folder.glob("*.error"))]
        assert not errors, "\n".join(errors)
        assert not hung, f"ranks {hung} did not end within {timeout_seconds} s"
        codes = [process.exitcode for process in processes]
        assert not any(codes), f"exit codes {codes}"
        return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(num_ranks)]


def _run(
    function: Callable[[int, Join], Any],
    rank: int,
    num_ranks: int,
    folder: Path,
    collective_timeout_seconds: float,
) -> None:
    torch.set_num_threads(1)

    def join() -> None:
        dist.init_process_group(
            "gloo",
            init_method=f"file://{folder / 'store'}",
            rank=rank,
            world_size=num_ranks,
            timeout=timedelta(seconds=collective_timeout_seconds),
        )

    try:
        torch.save(function(rank, join), folder / f"{rank}.pt")
    except Exception:
        (folder / f"{rank}.error").write_text(f"rank {rank}\n{traceback.format_exc()}")
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
