"""Shards on a Ray cluster, or on a Ray of this machine alone."""

import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from vqkit.errors import ConfigError, MissingExtraError, VqkitError
from vqkit.pipeline.executors.base import (
    MAX_DEATHS,
    Failure,
    ShardOutcome,
    Summary,
    Work,
    WorkerLostError,
)

__all__ = ["RayExecutor"]


@dataclass(frozen=True)
class RayExecutor:
    """Runs shards in a pool of Ray actors that grows and shrinks with the cluster.

    Numbers of shards and their summaries travel through Ray, media and tokens do not: nothing
    fills the object store. Ray Data hands one shard at a time to an actor, restarts actors that die
    without limit, and runs their shards again.

    Args:
        max_workers: Most actors; each holds one CPU, or its share of the GPUs. The pool begins with
            as many as the cluster has room for, and grows with the cluster. None to stay there.
        address: Of a running cluster, ``ray://head:10001``, ``head:6379`` or ``auto``; None uses
            the one that this program is connected to or that ``RAY_ADDRESS`` names, else starts one
            on this machine.
        num_gpus: For each actor.
    """

    max_workers: int | None = None
    address: str | None = None
    num_gpus: float = 0

    def map_shards(self, work: Work, numbers: Sequence[int]) -> Iterator[ShardOutcome]:
        """Run the shards; a shard that was begun :data:`MAX_DEATHS` times in vain is given up."""
        if not numbers:
            return
        ray = _import_ray()
        with ExitStack() as stack:
            if not ray.is_initialized():
                self._connect(ray)
                stack.callback(ray.shutdown)
            yield from self._map(ray, work, numbers)

    def _connect(self, ray: Any) -> None:
        address, here = self.address, {}
        if address is None and not os.environ.get("RAY_ADDRESS"):
            # By itself Ray would join whatever cluster runs on this machine.
            address, here = "local", {"num_cpus": self.max_workers, "include_dashboard": False}
        try:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR", **here)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ConfigError(
                f"Ray at {address!r}: expected a running cluster, found none "
                f"({' '.join(str(error).split())})."
            ) from error

    def _room(self, ray: Any) -> int:
        """Actors that the cluster has room for as it is."""
        resources = ray.cluster_resources()
        if self.num_gpus:
            return max(1, int(resources.get("GPU", 0) / self.num_gpus))
        return max(1, int(resources.get("CPU", 0)))

    def _map(self, ray: Any, work: Work, numbers: Sequence[int]) -> Iterator[ShardOutcome]:
        import ray.data as ray_data

        ray_data.DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        room = self._room(ray)
        most = min(self.max_workers or room, len(numbers))
        # No CPU of the cluster: where it runs, and that it outlives workers, is Ray's affair.
        attempts = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(_Attempts).remote()
        shards = ray_data.from_items(
            [{"number": number} for number in numbers], override_num_blocks=len(numbers)
        )
        outcomes = shards.map_batches(
            _RayWorker,
            fn_constructor_args=(work, attempts),
            batch_size=1,
            compute=ray_data.ActorPoolStrategy(
                min_size=min(room, most),
                max_size=most,
                max_tasks_in_flight_per_actor=2,
            ),
            num_cpus=0 if self.num_gpus else 1,
            num_gpus=self.num_gpus,
        )
        try:
            for row in outcomes.iter_rows():
                yield _outcome(json.loads(row["outcome"]))
        except ray.exceptions.RayError as error:
            raise VqkitError(
                f"Encoding stopped: Ray gave up ({' '.join(str(error).split())[-500:]}). What is "
                "committed stays; run it again to go on."
            ) from error


class _Attempts:
    """Counts how often each shard was begun and not ended, over all workers."""

    def __init__(self) -> None:
        self.begun: dict[int, int] = {}

    def begin(self, number: int) -> int:
        """Attempts that were begun before."""
        before = self.begun.get(number, 0)
        self.begun[number] = before + 1
        return before


class _RayWorker:
    """What an actor runs; it lives as long as the pool wants it."""

    def __init__(self, work: Work, attempts: Any) -> None:
        self.attempts = attempts
        self.stack = ExitStack()
        self.failure: Failure | None = None
        try:
            self.run = self.stack.enter_context(work.start())
        # An actor that fails to start is started again for ever: it tells with its first shard.
        except Exception as error:
            self.failure = Failure.of(error)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        import ray

        (number,) = (int(number) for number in batch["number"])
        num_deaths = ray.get(self.attempts.begin.remote(number))
        outcome: dict[str, Any] = {"number": number, "num_deaths": num_deaths}
        if self.failure is None and num_deaths < MAX_DEATHS:
            outcome["summary"] = self._attempt(number)
        if self.failure is not None:
            outcome["failure"] = [self.failure.kind, self.failure.message]
        return {"outcome": [json.dumps(outcome)]}

    def _attempt(self, number: int) -> Summary | None:
        try:
            return self.run(number)
        except WorkerLostError:
            os._exit(1)
        # Ray would wrap it in errors of its own and try again.
        except Exception as error:
            self.failure = Failure.of(error)
            return None


def _outcome(told: dict[str, Any]) -> ShardOutcome:
    if "failure" in told:
        raise Failure(*told["failure"]).as_error()
    return ShardOutcome(told["number"], told.get("summary"), told["num_deaths"])


def _import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError(
            "The engine ray needs the package ray, which is not here. Run: pip install 'vqkit[ray]'"
        ) from error
    return ray
