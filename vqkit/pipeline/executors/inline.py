"""Shards one after another in this process."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vqkit.pipeline.executors.base import ShardOutcome, Work

__all__ = ["InlineExecutor"]


@dataclass(frozen=True)
class InlineExecutor:
    """Runs shards in a loop: for debugging, and where one process is all there is.

    Nothing outlives the death of its only worker, this process, so it gives no shard up.
    """

    def map_shards(self, work: Work, numbers: Sequence[int]) -> Iterator[ShardOutcome]:
        """Run the shards in the order given."""
        if not numbers:
            return
        with work.start() as run:
            for number in numbers:
                yield ShardOutcome(number, run(number))
