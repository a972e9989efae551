"""Whole images to measure on: each once, in order, broken ones left out."""

from collections.abc import Iterator
from typing import Any

from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset

from vqkit.data.source import ImageSource
from vqkit.data.transforms import Transform
from vqkit.shapes import Float

__all__ = ["WholeImageLoader", "WholeImages"]


class WholeImages(Dataset[Tensor | None]):
    """Batches [1, channels, height, width] of one image each; None stands for a broken one.

    Args:
        source: the images.
        transform: done to each; none leaves it whole. It finds no chance to draw from: its
            generator is the same for every image.
    """

    def __init__(self, source: ImageSource, transform: Transform | None = None) -> None:
        self.source = source
        self.transform = transform

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Float[Tensor, "1 channels height width"] | None:
        """Read one image, or say that it is broken."""
        image = self.source.load_or_skip(index)
        if image is None:
            return None
        if self.transform is not None:
            image = self.transform(image, Generator().manual_seed(0))
        return image[None]


class WholeImageLoader(DataLoader[Any]):
    """A loader of ``WholeImages`` that passes over broken ones.

    Args:
        images: what to load.
        rank: this process; it takes images ``rank``, ``rank + world_size``, …
        world_size: number of processes.
        **settings: further arguments of ``DataLoader``.
    """

    def __init__(
        self, images: WholeImages, *, rank: int = 0, world_size: int = 1, **settings: Any
    ) -> None:
        indices = range(rank, len(images), world_size)
        super().__init__(images, sampler=indices, batch_size=None, **settings)

    def __iter__(self) -> Iterator[Tensor]:  # type: ignore[override]
        return (image for image in super().__iter__() if image is not None)
