"""What runs shards: numbers go to workers, summaries come back, in any order."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from vqkit import errors
from vqkit.errors import VqkitError

__all__ = [
    "MAX_DEATHS",
    "Executor",
    "Failure",
    "RunShard",
    "ShardOutcome",
    "Summary",
    "Work",
    "WorkerLostError",
]

MAX_DEATHS = 3
"""A shard that so many workers died over is given up."""

Summary = Mapping[str, Any]
"""What became of a shard, as JSON types: small, for it travels between machines."""

RunShard = Callable[[int], Summary]
"""Runs the shard of a number; safe to be called again for a shard that was run before."""


class WorkerLostError(VqkitError):
    """A worker cannot go on, but another one could: as good as dead.

    What a GPU whose last kernel crashed raises at every call from then on.
    """


@runtime_checkable
class Work(Protocol):
    """What workers do; it is pickled and sent to them."""

    def start(self) -> AbstractContextManager[RunShard]:
        """Load what all shards need, once in each worker."""
        ...


@dataclass(frozen=True)
class ShardOutcome:
    """The end of one shard.

    Attributes:
        number: Of the shard.
        summary: What its worker says; None if it was given up.
        num_deaths: Workers that died over it.
    """

    number: int
    summary: Summary | None
    num_deaths: int = 0


@runtime_checkable
class Executor(Protocol):
    """Runs shards somewhere; the order, retries and placement are its own affair."""

    def map_shards(self, work: Work, numbers: Sequence[int]) -> Iterator[ShardOutcome]:
        """Run every shard until it gives a summary or :data:`MAX_DEATHS` workers died over it.

        A worker that dies is replaced and its shard run again. An exception in a worker is no
        death: it ends the run.

        Args:
            work: What to do.
            numbers: Shards to run.

        Yields:
            One outcome for each number, as they come.

        Raises:
            VqkitError: What the work raised, or workers cannot be started.
        """
        ...


@dataclass(frozen=True)
class Failure:
    """An exception on its way from a worker to the process that started it."""

    kind: str
    message: str

    @staticmethod
    def of(error: BaseException) -> "Failure":
        """Describe an exception."""
        if isinstance(error, VqkitError):
            return Failure(type(error).__name__, str(error))
        return Failure("", f"{type(error).__name__}: {error}")

    def as_error(self) -> VqkitError:
        """The same error here."""
        kind = getattr(errors, self.kind, None) if self.kind in errors.__all__ else None
        if kind is None:
            return VqkitError(f"Encoding stopped: a worker failed with {self.message}.")
        error: VqkitError = kind(self.message)
        return error
