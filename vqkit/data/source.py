"""What every set of images is: numbered, named, and whole in spite of broken files."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import Dataset

from vqkit.errors import MediaError
from vqkit.shapes import Float

__all__ = ["ImageSource"]

_logger = logging.getLogger(__name__)


class ImageSource(Dataset[Tensor], ABC):
    """A numbered set of images; a subclass says how many there are, how each is read and named.

    ``source[index]`` always gives an image: a broken one is replaced by the next that can be read,
    the same for everyone. ``source.items()`` gives the readable ones with their names and replaces
    nothing. Either way a broken file costs one log line and is counted in ``num_skipped``, also
    where worker processes do the reading.

    A tensor may be kept by the source for its next use: do not write into it.
    """

    def __init__(self, num_images: int) -> None:
        # Shared with worker processes, so that a file found broken by one is known to all.
        self._is_broken = torch.zeros(num_images, dtype=torch.bool).share_memory_()

    @abstractmethod
    def name(self, index: int) -> str:
        """What logs and reports call the image; unique within the source."""

    @abstractmethod
    def load(self, index: int) -> Float[Tensor, "channels height width"]:
        """Read one image, values in [-1, 1].

        Raises:
            MediaError: it cannot be read.
        """

    def load_or_skip(self, index: int) -> Float[Tensor, "channels height width"] | None:
        """Read one image; a broken one gives None, a log line the first time, and is counted."""
        if self._is_broken[index]:
            return None
        try:
            return self.load(index)
        except MediaError as error:
            self._is_broken[index] = True
            _logger.warning("Skipped %s. %s", self.name(index), error)
            return None

    def __len__(self) -> int:
        return self._is_broken.numel()

    @property
    def num_skipped(self) -> int:
        """Images found broken so far."""
        return int(self._is_broken.sum())

    def __getitem__(self, index: int) -> Float[Tensor, "channels height width"]:
        """Image ``index``, or the next one after it (in a circle) that can be read.

        Raises:
            IndexError: there is no image of this number.
            MediaError: not a single image can be read.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        for step in range(len(self)):
            image = self.load_or_skip((index + step) % len(self))
            if image is not None:
                return image
        raise MediaError(
            f"None of the {len(self)} images can be read, from {self.name(0)!r} on. "
            "The log says why for each."
        )

    def items(
        self, rank: int = 0, world_size: int = 1
    ) -> Iterator[tuple[str, Float[Tensor, "channels height width"]]]:
        """Walk over (name, image) of the readable images ``rank, rank + world_size, …``."""
        for index in range(rank, len(self), world_size):
            image = self.load_or_skip(index)
            if image is not None:
                yield self.name(index), image
