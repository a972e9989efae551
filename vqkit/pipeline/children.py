"""Child processes that never outlive their parent and can be stopped whatever they do."""

import functools
import multiprocessing
import os
import threading
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess

__all__ = ["child_context", "die_with_parent", "prepare_children", "stop"]

_GRACE_SECONDS = 1.0


@functools.cache
def child_context() -> ForkServerContext | SpawnContext:
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


def prepare_children() -> None:
    """Let the server that children are forked from begin with its imports, and do not wait."""
    if child_context().get_start_method() == "forkserver":
        forkserver.ensure_running()


def die_with_parent() -> None:
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


def stop(process: BaseProcess, connection: Connection) -> None:
    """End a child, whatever it is at, and give back what it held here."""
    connection.close()
    process.terminate()
    process.join(_GRACE_SECONDS)
    if process.exitcode is None:
        process.kill()
        process.join()
