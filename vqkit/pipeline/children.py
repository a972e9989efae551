"""Child processes that never outlive their parent and can be stopped whatever they do."""

import functools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkContext, ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

__all__ = ["start_child", "stop_child"]

_GRACE_SECONDS = 1.0


def start_child(
    target: Callable[..., None], *arguments: Any, name: str, is_light: bool
) -> tuple[BaseProcess, Connection]:
    """Start a process; it ends when its parent does.

    Args:
        target: Called in it with its end of a pipe, then the arguments.
        arguments: Are pickled.
        name: Of the process.
        is_light: It uses no GPU and is to be there in a moment: it is forked from this process, if
            nothing else runs here.

    Returns:
        The process, and our end of the pipe.
    """
    context = _context(is_light)
    ours, theirs = context.Pipe()
    process = context.Process(
        target=_live, args=(dict(os.environ), target, theirs, *arguments), name=name
    )
    process.start()
    theirs.close()  # so that its end of the pipe closes when it dies
    return process, ours


def stop_child(process: BaseProcess, connection: Connection) -> None:
    """End a child, whatever it is at, and give back what it held here."""
    connection.close()
    process.terminate()
    process.join(_GRACE_SECONDS)
    if process.exitcode is None:
        process.kill()
        process.join()


def _context(is_light: bool) -> ForkServerContext | SpawnContext | ForkContext:
    """How a child is started.

    A fork of a process in which nothing else runs has all imports at once, in memory that both
    share. In a fork of any other there are locks that nobody opens any more, and no fork can use
    CUDA if its parent has so much as looked for a GPU: then children come from a server, a clean
    process that has imported what they need.
    """
    return multiprocessing.get_context("fork") if is_light and _runs_alone() else _server()


def _runs_alone() -> bool:
    """Whether this thread is the only one here, also for libraries; but for the one that watches.

    That one waits and holds nothing.
    """
    tasks = Path("/proc/self/task")
    return tasks.is_dir() and len(list(tasks.iterdir())) == 1 + (_own_end is not None)


@functools.cache
def _server() -> ForkServerContext | SpawnContext:
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["vqkit.pipeline.reading", "vqkit.tokenizers"])
    return context


_own_end: Connection | None = None
"""Of a process that was started here: its end of the pipe to its parent."""


def _live(
    environment: dict[str, str],
    target: Callable[..., None],
    connection: Connection,
    *arguments: Any,
) -> None:
    """The life of a child."""
    global _own_end
    if _own_end is not None:
        # The pipe of the process that this one was forked from: held here, it would stay open
        # after that one's death, and its parent would wait for ever.
        _own_end.close()
    _own_end = connection
    # The server has the variables of when it was started: keys of a store may have come since.
    os.environ.clear()
    os.environ.update(environment)
    _die_with_parent()
    # Ctrl-C reaches the whole group: the parent decides what it means, and ends its children.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    target(connection, *arguments)


def _die_with_parent() -> None:
    """Watch the parent from a thread and leave without a word when it is gone.

    The parent may be killed at any moment, by the system too: a child in the middle of a long
    computation would go on for nobody, and hold memory and GPUs.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="vqkit-parent-watch").start()
