"""What every set of media is: numbered, named, and whole in spite of broken items."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Generator, Tensor
from torch.utils.data import Dataset

from vqkit.data.transforms import Transform
from vqkit.errors import MediaError
from vqkit.shapes import Float

__all__ = ["ImageSource", "MediaSet"]

_logger = logging.getLogger(__name__)


class MediaSet(Dataset[Tensor], ABC):
    """A numbered set of images or sounds; a subclass says how each is read and named.

    ``source[index]`` always gives an item: a broken one is replaced by the next that can be read,
    the same for everyone. ``source.items()`` gives the readable ones with their names and replaces
    nothing. Either way a broken file costs one log line and is counted in ``num_skipped``, also
    where worker processes do the reading.

    A tensor may be kept by the source for its next use: do not write into it.

    Args:
        num_items: how many there are.
    """

    kind = "items"
    """What messages call the items."""

    def __init__(self, num_items: int) -> None:
        # Shared with worker processes, so that a file found broken by one is known to all.
        self._is_broken = torch.zeros(num_items, dtype=torch.bool).share_memory_()

    @abstractmethod
    def name(self, index: int) -> str:
        """What logs and reports call the item; unique within the source."""

    @abstractmethod
    def load(self, index: int) -> Float[Tensor, "channels *size"]:
        """Read one item, values in [-1, 1].

        Raises:
            MediaError: it cannot be read.
        """

    def load_or_skip(self, index: int) -> Float[Tensor, "channels *size"] | None:
        """Read one item; a broken one gives None, a log line the first time, and is counted."""
        if self._is_broken[index]:
            return None
        try:
            return self.load(index)
        except MediaError as error:
            self._report(index, error)
            return None

    def sample_or_skip(
        self, index: int, transform: Transform, generator: Generator
    ) -> Float[Tensor, "channels *size"] | None:
        """Read and transform one item; a broken one gives None, as in :meth:`load_or_skip`."""
        item = self.load_or_skip(index)
        return None if item is None else transform(item, generator)

    def sample(
        self, index: int, transform: Transform, generator: Generator
    ) -> Float[Tensor, "channels *size"]:
        """Transform item ``index``, or the next one after it (in a circle) that can be read.

        Raises:
            IndexError: there is no item of this number.
            MediaError: not a single item can be read.
        """
        return self.numbered_sample(index, transform, generator)[1]

    def numbered_sample(
        self, index: int, transform: Transform, generator: Generator
    ) -> tuple[int, Float[Tensor, "channels *size"]]:
        """The same with the number of the item that was read.

        Raises:
            IndexError: there is no item of this number.
            MediaError: not a single item can be read.
        """
        for candidate in self._from(index):
            item = self.sample_or_skip(candidate, transform, generator)
            if item is not None:
                return candidate, item
        raise self._nothing_readable()

    def __len__(self) -> int:
        return self._is_broken.numel()

    @property
    def num_skipped(self) -> int:
        """Items found broken so far."""
        return int(self._is_broken.sum())

    def __getitem__(self, index: int) -> Float[Tensor, "channels *size"]:
        """Item ``index``, or the next one after it (in a circle) that can be read.

        Raises:
            IndexError: there is no item of this number.
            MediaError: not a single item can be read.
        """
        for candidate in self._from(index):
            item = self.load_or_skip(candidate)
            if item is not None:
                return item
        raise self._nothing_readable()

    def items(
        self, rank: int = 0, world_size: int = 1
    ) -> Iterator[tuple[str, Float[Tensor, "channels *size"]]]:
        """Walk over (name, item) of the readable items ``rank, rank + world_size, …``."""
        for index in range(rank, len(self), world_size):
            item = self.load_or_skip(index)
            if item is not None:
                yield self.name(index), item

    def _from(self, index: int) -> Iterator[int]:
        """All numbers, in a circle from this one on."""
        if not 0 <= index < len(self):
            raise IndexError(f"number {index} of {len(self)} {self.kind}")
        return ((index + step) % len(self) for step in range(len(self)))

    def _report(self, index: int, error: MediaError) -> None:
        """Count an item as broken, with a log line the first time."""
        if not self._is_broken[index]:
            self._is_broken[index] = True
            _logger.warning("Skipped %s. %s", self.name(index), error)

    def _nothing_readable(self) -> MediaError:
        return MediaError(
            f"None of the {len(self)} {self.kind} can be read, from {self.name(0)!r} on. "
            "The log says why for each."
        )


class ImageSource(MediaSet):
    """A numbered set of images ``[channels, height, width]``."""

    kind = "images"

    @abstractmethod
    def load(self, index: int) -> Float[Tensor, "channels height width"]:
        """Read one image, values in [-1, 1].

        Raises:
            MediaError: it cannot be read.
        """
