"""The endless stream of training samples, each a pure function of (seed, position).

No state is carried from one sample to the next: a run that stops after any number of samples goes
on with the next one, whatever the number of worker processes or ranks that read them.
"""

import functools
import hashlib
from collections.abc import Iterator

import torch
from torch import Generator, Tensor
from torch.utils.data import Dataset, Sampler

from vqkit.data.source import MediaSet
from vqkit.data.transforms import Transform
from vqkit.errors import ConfigError
from vqkit.shapes import Float, Int

__all__ = ["PositionSampler", "SampleStream", "generator_of"]


class SampleStream(Dataset[Tensor]):
    """Sample ``position`` of an endless, shuffled and augmented walk over a source.

    Position ``p`` belongs to epoch ``p // len(source)``, which visits each item once in an order
    of its own, drawn from (seed, epoch). The transform's generator is seeded by (seed, p).

    Args:
        source: the images or sounds.
        transform: what is done to each.
        seed: of the order and of the transforms.
    """

    def __init__(self, source: MediaSet, transform: Transform, seed: int) -> None:
        self.source = source
        self.transform = transform
        self.seed = seed

    def __getitem__(self, position: int) -> Float[Tensor, "channels *size"]:
        """Read and transform the sample at a position, counted from 0 without end."""
        generator = generator_of(self.seed, "sample", position)
        return self.source.sample(self.index_of(position), self.transform, generator)

    def index_of(self, position: int) -> int:
        """Tell which item of the source stands at a position."""
        epoch, place = divmod(position, len(self.source))
        return int(_permutation(len(self.source), self.seed, epoch)[place])


class PositionSampler(Sampler[list[int]]):
    """One rank's positions, batch after batch without end.

    Rank ``r`` takes places ``r * batch_size`` to ``(r + 1) * batch_size`` of each global batch of
    ``batch_size * world_size`` positions, so that the ranks' batches laid end to end are the batch
    that one process of the whole size would take.

    Args:
        batch_size: samples in a batch of one rank.
        start: position of the first sample of the first global batch.
        rank: this process.
        world_size: number of processes.

    Raises:
        ConfigError: the batch is empty, the start negative or the rank outside the world.

    Example:
        >>> batches = iter(PositionSampler(2, start=10, rank=1, world_size=3))
        >>> next(batches), next(batches)
        ([12, 13], [18, 19])
    """

    def __init__(
        self, batch_size: int, *, start: int = 0, rank: int = 0, world_size: int = 1
    ) -> None:
        if batch_size < 1 or start < 0 or not 0 <= rank < world_size:
            raise ConfigError(
                "sampler: expected batch_size >= 1, start >= 0 and 0 <= rank < world_size, got "
                f"batch_size {batch_size}, start {start}, rank {rank}, world_size {world_size}."
            )
        self.batch_size = batch_size
        self.start = start
        self.rank = rank
        self.world_size = world_size

    def __iter__(self) -> Iterator[list[int]]:
        first = self.start + self.rank * self.batch_size
        while True:
            yield list(range(first, first + self.batch_size))
            first += self.batch_size * self.world_size


# Two epochs, since a batch may reach from one into the next.
@functools.lru_cache(maxsize=2)
def _permutation(length: int, seed: int, epoch: int) -> Int[Tensor, " length"]:
    return torch.randperm(length, generator=generator_of(seed, "epoch", epoch))


def generator_of(seed: int, purpose: str, number: int) -> Generator:
    """A generator of its own for each purpose and number; neighbours are unrelated."""
    digest = hashlib.blake2b(f"{seed} {purpose} {number}".encode(), digest_size=8).digest()
    return Generator().manual_seed(int.from_bytes(digest, "big"))
