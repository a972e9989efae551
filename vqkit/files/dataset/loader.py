"""Batches from workers, with the place where they stopped."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, final, runtime_checkable

from torch.utils.data import DataLoader, IterableDataset

from vqkit.errors import ConfigError
from vqkit.files.dataset.items import Item, collate_items
from vqkit.files.dataset.stream import Progress

__all__ = ["ResumableSamples", "TokenLoader"]

Collate = Callable[[Sequence[Item]], Any]


@runtime_checkable
class ResumableSamples(Protocol):
    """What a loader needs of a `TokenIterableDataset`."""

    epoch: int

    def numbered(self) -> Iterator[tuple[int, int, Item]]:
        """Samples of this worker, each with the worker's number and how many it gave up to it."""

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next pass takes, from its start."""

    def progress(self, taken: list[int], next_worker: int = 0) -> Progress:
        """The state in which each worker has given so many samples."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next pass go on where another one stopped."""


@final
class TokenLoader:
    """A `DataLoader` of a `TokenIterableDataset` that stops and goes on exactly.

    Each batch comes with the count of what its worker gave, so the state covers what arrived, not
    what workers prepared in advance. Each pass is an epoch, and the next pass takes the next one.

    Args:
        dataset: A `TokenIterableDataset`.
        batch_size: Samples of a batch; each worker makes its own batches.
        num_workers: Processes; 0 for none beside this one.
        drop_last: Leave out the batches at the ends of the workers' stretches that are not full.
        collate: Makes a batch of a list of items.
        options: Further ones of `torch.utils.data.DataLoader`, such as ``pin_memory``.

    Raises:
        ConfigError: The batch is empty.
    """

    def __init__(
        self,
        dataset: ResumableSamples,
        batch_size: int,
        *,
        num_workers: int = 0,
        drop_last: bool = False,
        collate: Collate = collate_items,
        **options: Any,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"Token loader: expected batches of at least 1, got {batch_size}.")
        self.dataset = dataset
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.drop_last = drop_last
        self.collate = collate
        self.options = options
        self._taken = [0] * max(1, num_workers)
        self._next_worker = 0

    def __iter__(self) -> Iterator[Any]:
        """The batches of the rest of the epoch."""
        self.dataset.load_state_dict(self.state_dict())
        loader = DataLoader(
            _Batches(self.dataset, self.batch_size, self.drop_last, self.collate),
            batch_size=None,
            num_workers=self.num_workers,
            collate_fn=_as_it_is,
            **self.options,
        )
        for worker, taken, batch in loader:
            self._taken[worker] = taken
            self._next_worker = (worker + 1) % len(self._taken)
            yield batch
        self.set_epoch(self.dataset.epoch + 1)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next pass takes, from its start."""
        self.dataset.set_epoch(epoch)
        self._taken = [0] * len(self._taken)
        self._next_worker = 0

    def state_dict(self) -> dict[str, Any]:
        """Which batches have arrived; plain types."""
        return self.dataset.progress(self._taken, self._next_worker).to_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next pass go on after the last batch that had arrived.

        Raises:
            ConfigError: The state is of another seed, rank or number of ranks or workers.
        """
        self.dataset.load_state_dict(state)
        if len(state["taken"]) != len(self._taken):
            raise ConfigError(
                f"State of a token loader: expected {len(self._taken)} worker(s), got that of "
                f"{len(state['taken'])}. Resume with as many as before, or begin a new epoch."
            )
        self._taken = [*state["taken"]]
        self._next_worker = state["next_worker"]


class _Batches(IterableDataset[tuple[int, int, Any]]):
    """Batches of one worker, each with the worker's number and its count up to it."""

    def __init__(
        self, dataset: ResumableSamples, batch_size: int, drop_last: bool, collate: Collate
    ) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.collate = collate

    def __iter__(self) -> Iterator[tuple[int, int, Any]]:
        batch: list[Item] = []
        worker = taken = 0
        for worker, taken, item in self.dataset.numbered():
            batch.append(item)
            if len(batch) == self.batch_size:
                yield worker, taken, self.collate(batch)
                batch = []
        if batch and not self.drop_last:
            yield worker, taken, self.collate(batch)


def _as_it_is(batch: Any) -> Any:
    return batch
