"""Whole images or sounds to measure on: each once, in order, broken ones left out."""

from collections.abc import Iterator
from typing import Any

from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset

from vqkit.data.source import MediaSet
from vqkit.data.transforms import Transform
from vqkit.shapes import Float

__all__ = ["WholeItemLoader", "WholeItems"]


class WholeItems(Dataset[Tensor | None]):
    """Batches [1, channels, *size] of one item each; None stands for a broken one.

    Args:
        source: the images or sounds.
        transform: done to each; none leaves it whole. It finds no chance to draw from: its
            generator is the same for every item.
    """

    def __init__(self, source: MediaSet, transform: Transform | None = None) -> None:
        self.source = source
        self.transform = transform

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Float[Tensor, "1 channels *size"] | None:
        """Read one item, or say that it is broken."""
        if self.transform is None:
            item = self.source.load_or_skip(index)
        else:
            item = self.source.sample_or_skip(index, self.transform, Generator().manual_seed(0))
        return None if item is None else item[None]


class WholeItemLoader(DataLoader[Any]):
    """A loader of ``WholeItems`` that passes over broken ones.

    Args:
        items: what to load.
        rank: this process; it takes items ``rank``, ``rank + world_size``, …
        world_size: number of processes.
        **settings: further arguments of ``DataLoader``.
    """

    def __init__(
        self, items: WholeItems, *, rank: int = 0, world_size: int = 1, **settings: Any
    ) -> None:
        indices = range(rank, len(items), world_size)
        super().__init__(items, sampler=indices, batch_size=None, **settings)

    def __iter__(self) -> Iterator[Tensor]:  # type: ignore[override]
        return (item for item in super().__iter__() if item is not None)
