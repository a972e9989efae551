"""Shards in processes of this machine, replaced when they die."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from vqkit.errors import VqkitError
from vqkit.pipeline.children import start_child, stop_child
from vqkit.pipeline.executors.base import MAX_DEATHS, Failure, ShardOutcome, Work, WorkerLostError

__all__ = ["ProcessExecutor"]


@dataclass(frozen=True)
class ProcessExecutor:
    """Runs shards in worker processes that each load the model once.

    A worker computes on one thread, so that its tokens do not depend on the number of workers.

    Args:
        num_workers: Processes.
        devices: Values of ``CUDA_VISIBLE_DEVICES``, one for each worker in turn; empty leaves the
            variable alone.
    """

    num_workers: int
    devices: tuple[str, ...] = ()

    def map_shards(self, work: Work, numbers: Sequence[int]) -> Iterator[ShardOutcome]:
        """Run the shards; a dead worker is replaced, its shard goes to the end of the queue."""
        if not numbers:
            return
        pool = _Pool(work, min(self.num_workers, len(numbers)), self.devices)
        try:
            yield from pool.run(numbers)
        finally:
            pool.close()


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    device: str
    is_ready: bool = False
    number: int | None = None


@dataclass
class _Pool:
    """The workers of one run.

    Attributes:
        deaths: Of workers, by the shard that they ran.
        num_false_starts: Deaths before the first sign of life, one after another.
    """

    work: Work
    num_workers: int
    devices: tuple[str, ...]
    workers: list[_Worker] = field(default_factory=list)
    deaths: dict[int, int] = field(default_factory=dict)
    num_false_starts: int = 0

    def run(self, numbers: Sequence[int]) -> Iterator[ShardOutcome]:
        waiting = deque(numbers)
        num_left = len(waiting)
        for slot in range(self.num_workers):
            self._start(self.devices[slot % len(self.devices)] if self.devices else "")
        while num_left:
            self._hand_out(waiting)
            by_connection = {worker.connection: worker for worker in self.workers}
            for connection in wait([*by_connection]):
                assert isinstance(connection, Connection)
                outcome = self._hear(by_connection[connection], waiting)
                if outcome is not None:
                    num_left -= 1
                    yield outcome

    def close(self) -> None:
        for worker in self.workers:
            stop_child(worker.process, worker.connection)
        self.workers.clear()

    def _start(self, device: str) -> None:
        process, connection = start_child(
            _serve, self.work, device, name="vqkit-worker", is_light=False
        )
        self.workers.append(_Worker(process, connection, device))

    def _hand_out(self, waiting: deque[int]) -> None:
        for worker in self.workers:
            if worker.is_ready and worker.number is None and waiting:
                worker.number = waiting.popleft()
                # One that has just died is noticed, with its number, when its pipe is read.
                try:
                    worker.connection.send(worker.number)
                except OSError:
                    continue

    def _hear(self, worker: _Worker, waiting: deque[int]) -> ShardOutcome | None:
        """Take what a worker says: that it is ready, a summary, a failure, or that it is dead."""
        try:
            message = worker.connection.recv()
        except (EOFError, OSError):
            return self._bury(worker, waiting)
        if isinstance(message, Failure):
            raise message.as_error()
        if not worker.is_ready:
            worker.is_ready = True
            self.num_false_starts = 0
            return None
        number, worker.number = worker.number, None
        assert number is not None
        return ShardOutcome(number, message, self.deaths.get(number, 0))

    def _bury(self, worker: _Worker, waiting: deque[int]) -> ShardOutcome | None:
        self.workers.remove(worker)
        stop_child(worker.process, worker.connection)
        number = worker.number
        if number is None and not worker.is_ready:
            self.num_false_starts += 1
            if self.num_false_starts >= MAX_DEATHS:
                raise VqkitError(
                    f"Cannot start workers: {MAX_DEATHS} in a row died while they loaded the model "
                    f"(exit code {worker.process.exitcode}). Is there enough memory? Try fewer "
                    "workers."
                )
        outcome = None
        if number is not None:
            self.deaths[number] = self.deaths.get(number, 0) + 1
            if self.deaths[number] >= MAX_DEATHS:
                outcome = ShardOutcome(number, None, self.deaths[number])
            else:
                waiting.append(number)
        if waiting:
            self._start(worker.device)
        return outcome


def _serve(connection: Connection, work: Work, device: str) -> None:
    """The life of a worker."""
    if device:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    try:
        with work.start() as run:
            connection.send("ready")
            while True:
                message: Any = run(connection.recv())
                connection.send(message)
    except EOFError:  # nobody is left to work for
        return
    except WorkerLostError:
        os._exit(1)
    except Exception as error:
        connection.send(Failure.of(error))
