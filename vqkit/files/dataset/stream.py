"""A data set of tokens in a drawn order, over ranks and workers, for PyTorch.

Nothing is carried from one sample to the next: the order is a function of the seed, the epoch and
of how many read, and how far a reader came is one number.
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Generator
from torch.utils.data import IterableDataset, get_worker_info

from vqkit.errors import ConfigError
from vqkit.files.dataset.groups import RowGroups
from vqkit.files.dataset.items import Item, item_of
from vqkit.files.dataset.manifest import Manifest
from vqkit.files.dataset.map_style import storage_of
from vqkit.files.limits import Limits
from vqkit.files.storage import Storage

__all__ = ["Progress", "TokenIterableDataset"]


@dataclass(frozen=True)
class Progress:
    """How far the readers of one rank came in an epoch.

    Attributes:
        seed: Of the order.
        epoch: Of the order.
        rank: Which of the ranks.
        world_size: Ranks that share the epoch.
        taken: Samples that each worker gave.
        next_worker: The worker whose turn it is, where their batches alternate.
    """

    seed: int
    epoch: int
    rank: int
    world_size: int
    taken: tuple[int, ...]
    next_worker: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain types."""
        return {**self.__dict__, "taken": list(self.taken)}


@dataclass(frozen=True)
class _Piece:
    """Consecutive samples of one row group."""

    shard: int
    group: int
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


@final
class TokenIterableDataset(IterableDataset[Item]):
    """The samples of a data set that have tokens, each once an epoch over all ranks and workers.

    An epoch draws an order of all row groups and cuts it into one stretch for each rank, and each
    of them into one for each worker, which differ by one sample at most. A reader goes along its
    stretch, takes row groups until it has ``buffer_size`` samples, and gives these in a drawn
    order. The same seed, epoch, number of ranks and of workers give the same samples in the same
    order. Rows without tokens are left out.

    Args:
        location: Folder or URL of the data set.
        seed: Of the order.
        shuffle: Draw the order; else it is that of the data set.
        buffer_size: Samples among which the order is drawn, which are held in memory.
        rank: This process; None for that of ``torch.distributed``, if it runs.
        world_size: Number of processes; None as well.
        equal: Leave samples of the end of the epoch out, fewer than ranks, so that every rank has
            as many: ranks that step together must not run out at different times.
        limits: What a shard may ask for.

    Raises:
        ConfigError: The rank is outside the world, or the buffer is empty.
        StorageError: There is no finished data set.
        TokenFileError: Its manifest is damaged; so when samples are read and a shard is.
    """

    def __init__(
        self,
        location: Storage | str | os.PathLike[str],
        *,
        seed: int = 0,
        shuffle: bool = True,
        buffer_size: int = 4096,
        rank: int | None = None,
        world_size: int | None = None,
        equal: bool = False,
        limits: Limits | None = None,
    ) -> None:
        default_rank, default_size = _distributed()
        self.rank = default_rank if rank is None else rank
        self.world_size = default_size if world_size is None else world_size
        if not 0 <= self.rank < self.world_size or buffer_size < 1:
            raise ConfigError(
                f"Token data set: expected 0 <= rank < world_size and buffer_size >= 1, got rank "
                f"{self.rank} of {self.world_size} and {buffer_size}."
            )
        self.storage = storage_of(location)
        self.manifest = Manifest.read(self.storage)
        self.seed = seed
        self.shuffle = shuffle
        self.buffer_size = buffer_size
        self.equal = equal
        self.limits = limits
        self.epoch = 0
        self._start: Progress | None = None
        self._taken = 0

    def __len__(self) -> int:
        """Samples of this rank in an epoch."""
        start, stop = self._stretch(0, 1)
        return stop - start

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next pass takes, from its start."""
        self.epoch = epoch
        self._start = None
        self._taken = 0

    def __iter__(self) -> Iterator[Item]:
        return (item for _, _, item in self.numbered())

    def numbered(self) -> Iterator[tuple[int, int, Item]]:
        """Samples of this worker, each with the worker's number and how many it gave up to it.

        After `load_state_dict` the first pass goes on where that one stopped.

        Raises:
            ConfigError: That one had another number of workers.
        """
        worker, num_workers = _worker()
        start = self._start or self.progress([0] * num_workers)
        if len(start.taken) != num_workers:
            raise ConfigError(
                f"State of a token data set: expected {len(start.taken)} worker(s) as before, got "
                f"{num_workers}."
            )
        # A loader asks its first worker first: let that be the one whose turn it is.
        worker = (worker + start.next_worker) % num_workers
        self._taken = start.taken[worker]
        self._start = None
        for item in self._samples(worker, num_workers, self._taken):
            self._taken += 1
            yield worker, self._taken, item

    def state_dict(self) -> dict[str, Any]:
        """How far this pass came in this process; plain types.

        In the main process that is what it iterates over itself: with workers of a `DataLoader`,
        ask `TokenLoader`, which knows what arrived.
        """
        worker, num_workers = _worker()
        taken = [0] * num_workers
        taken[worker] = self._taken
        return self.progress(taken).to_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next pass go on where another one stopped.

        Raises:
            ConfigError: That one had another seed, rank or number of ranks, or it is no such state.
        """
        try:
            progress = Progress(**{**state, "taken": tuple(state["taken"])})
        except (TypeError, KeyError) as error:
            raise ConfigError(
                f"State of a token data set: expected its fields ({error})."
            ) from None
        mine = (self.seed, self.rank, self.world_size)
        if (progress.seed, progress.rank, progress.world_size) != mine:
            raise ConfigError(
                f"State of a token data set: expected seed, rank and world size {mine}, got "
                f"{(progress.seed, progress.rank, progress.world_size)}. Resume each rank with its "
                f"own state and as many ranks as before, or begin a new epoch."
            )
        self.epoch = progress.epoch
        self._start = progress
        self._taken = progress.taken[0]

    def progress(self, taken: list[int], next_worker: int = 0) -> Progress:
        """The state in which each worker has given so many samples."""
        return Progress(
            self.seed, self.epoch, self.rank, self.world_size, tuple(taken), next_worker
        )

    def _samples(self, worker: int, num_workers: int, start: int) -> Iterator[Item]:
        """Samples of a worker from a place in its stretch on."""
        place = 0
        for number, pieces in enumerate(self._windows(worker, num_workers)):
            size = sum(map(len, pieces))
            if place + size > start:
                yield from self._window(pieces, worker, number, max(0, start - place))
            place += size

    def _window(self, pieces: list[_Piece], worker: int, number: int, start: int) -> Iterator[Item]:
        """Samples of some pieces in their order, from a place in it on."""
        places = [(piece, row) for piece in pieces for row in range(piece.start, piece.stop)]
        order = torch.arange(len(places))
        if self.shuffle:
            purpose = f"window {number} of worker {worker} of rank {self.rank}"
            order = torch.randperm(len(places), generator=self._generator(purpose))
        groups = RowGroups(self.storage, self.manifest, max(1, len(pieces)), self.limits)
        try:
            for index in order[start:].tolist():
                piece, row = places[index]
                yield item_of(groups.rows(piece.shard, piece.group), row)
        finally:
            groups.close()

    def _windows(self, worker: int, num_workers: int) -> Iterator[list[_Piece]]:
        """The pieces of a worker's stretch, as many at a time as the buffer takes."""
        window: list[_Piece] = []
        size = 0
        for piece in self._pieces(*self._stretch(worker, num_workers)):
            window.append(piece)
            size += len(piece)
            if size >= self.buffer_size:
                yield window
                window, size = [], 0
        if window:
            yield window

    def _pieces(self, start: int, stop: int) -> Iterator[_Piece]:
        """What lies between two places of the epoch."""
        place = 0
        for shard, group, size in self._order():
            first, last = max(start - place, 0), min(stop - place, size)
            if first < last:
                yield _Piece(shard, group, first, last)
            place += size
            if place >= stop:
                return

    def _order(self) -> Iterator[tuple[int, int, int]]:
        """All row groups in the order of the epoch: shard, number and samples."""
        groups = [
            (shard, group, size)
            for shard, entry in enumerate(self.manifest.shards)
            for group, size in enumerate(entry.row_groups)
        ]
        order = torch.arange(len(groups))
        if self.shuffle:
            order = torch.randperm(len(groups), generator=self._generator("row groups"))
        return (groups[index] for index in order.tolist())

    def _stretch(self, worker: int, num_workers: int) -> tuple[int, int]:
        """The places of the epoch that are a worker's."""
        total = self.manifest.num_samples
        if self.equal:
            total -= total % self.world_size
        start, stop = (total * rank // self.world_size for rank in (self.rank, self.rank + 1))
        size = stop - start
        return start + size * worker // num_workers, start + size * (worker + 1) // num_workers

    def _generator(self, purpose: str) -> Generator:
        """A generator of its own for each purpose; neighbours are unrelated."""
        text = f"{self.seed} {self.epoch} {purpose}"
        digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
        return Generator().manual_seed(int.from_bytes(digest, "big"))


def _worker() -> tuple[int, int]:
    """Number of this worker of a `DataLoader`, and how many there are."""
    info = get_worker_info()
    return (0, 1) if info is None else (info.id, info.num_workers)


def _distributed() -> tuple[int, int]:
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1
