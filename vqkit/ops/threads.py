"""Python functions that release the interpreter, spread over torch's own threads.

After every parallel operation torch's threads spin for milliseconds, waiting for the next one. A
thread pool beside them gets half of their processors meanwhile: eight searches in a row took a
quarter longer. So functions run on these very threads, as a region of the OpenMP runtime that torch
has loaded; torch sees the region, and its own operations inside start no more threads.
"""

import ctypes
import functools
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

__all__ = ["on_all_threads", "shares_threads_of_torch"]

_Body = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def on_all_threads(function: Callable[[int], None], num_tasks: int) -> None:
    """Call ``function(task)`` for every task in ``range(num_tasks)``, on torch's threads.

    A thread that has finished a task takes the next. Returns when all are done; the first exception
    is raised again, and no more tasks are begun after it. Like torch's own parallel operations, not
    for a process forked from one that has run some.
    """
    num_threads = min(torch.get_num_threads(), num_tasks)
    if num_threads <= 1:
        for task in range(num_tasks):
            function(task)
        return
    counter = itertools.count()
    errors: list[BaseException] = []
    inference = torch.is_inference_mode_enabled()  # of this thread alone

    def work(_: object = None) -> None:
        try:
            with torch.inference_mode(inference):
                while not errors and (task := next(counter)) < num_tasks:
                    function(task)
        except BaseException as error:  # a foreign thread would print it and go on
            errors.append(error)

    region = _parallel_region()
    if region is None:
        with ThreadPoolExecutor(num_threads) as pool:
            list(pool.map(work, range(num_threads)))
    else:
        region(_Body(work), None, num_threads, 0)
    if errors:
        raise errors[0]


def shares_threads_of_torch() -> bool:
    """Whether tasks run inside torch's runtime; else torch may start more threads in each."""
    return _parallel_region() is not None


@functools.cache
def _parallel_region() -> Any:
    """``GOMP_parallel(body, data, num_threads, flags)`` of torch's runtime; None if it has none."""
    if not torch.backends.openmp.is_available():
        return None
    try:
        # Found through its library, which gives the runtime that it was linked with.
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        region = library.GOMP_parallel
    except (OSError, AttributeError):  # another system, or another runtime
        return None
    region.argtypes = [_Body, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    region.restype = None
    return region
