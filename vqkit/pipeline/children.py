"""Child processes that never outlive their parent and can be stopped whatever they do."""

import functools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from typing import Any

__all__ = ["prepare_children", "start_child", "stop_child"]

_GRACE_SECONDS = 1.0


def prepare_children() -> None:
    """Let the server that children are forked from begin with its imports, and do not wait."""
    if _context().get_start_method() == "forkserver":
        forkserver.ensure_running()


def start_child(
    target: Callable[..., None], *arguments: Any, name: str
) -> tuple[BaseProcess, Connection]:
    """Start a process; it ends when its parent does.

    Args:
        target: Called in it with its end of a pipe, then the arguments.
        arguments: Are pickled.
        name: Of the process.

    Returns:
        The process, and our end of the pipe.
    """
    ours, theirs = _context().Pipe()
    process = _context().Process(
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


@functools.cache
def _context() -> ForkServerContext | SpawnContext:
    """How children are started: from a clean process that has imported what they need.

    A fork of this process would copy its threads' locks, and CUDA does not work in it; a process
    from nothing spends seconds on imports. The server that children are forked from has a single
    thread and no CUDA.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["vqkit.pipeline.reading", "vqkit.tokenizers"])
    return context


def _live(environment: dict[str, str], target: Callable[..., None], *arguments: Any) -> None:
    """The life of a child."""
    # The server has the variables of when it was started: keys of a store may have come since.
    os.environ.clear()
    os.environ.update(environment)
    _die_with_parent()
    # Ctrl-C reaches the whole group: the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    target(*arguments)


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
