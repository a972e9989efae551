"""Features of images, as rows for clustering: any network, or the pixels of patches."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, final

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from vqkit.data.image_files import ImageFiles
from vqkit.data.image_transforms import CenterCrop, ResizeShortSide
from vqkit.data.source import ImageSource
from vqkit.data.transforms import Chain
from vqkit.errors import ConfigError, MediaError, ShapeError
from vqkit.media import find_images
from vqkit.shapes import Float

__all__ = ["ClassFolder", "ImageFeatures", "Patches", "class_folders"]


class ClassFolder(NamedTuple):
    """The images of one class.

    Attributes:
        name: Name of the folder; empty for images that lie in no folder of their own.
        images: The files.
    """

    name: str
    images: ImageFiles


@final
class Patches(nn.Module):
    """Square patches of pixels as features: ``[batch, 3, h, w] -> [batch, 3 side^2, h/side, ...]``.

    Args:
        side: Pixels of a patch along each axis; what is left over at the edges is cut off.

    Raises:
        ConfigError: ``side < 1``.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        if side < 1:
            raise ConfigError(f"Patches: expected a side of 1 pixel or more, got {side}.")
        self.side = side

    def forward(self, images: Tensor) -> Tensor:
        """Cut."""
        height, width = (length - length % self.side for length in images.shape[2:])
        return F.pixel_unshuffle(images[..., :height, :width], self.side)


def class_folders(path: str | Path, *, channels: int = 3) -> list[ClassFolder]:
    """The images below a folder, by the folder directly below it that they lie in.

    Raises:
        MediaError: There is no such folder, or no image in it.
    """
    root = Path(path)
    by_name: dict[str, list[Path]] = {}
    for file in find_images(root):
        parts = file.relative_to(root).parts
        by_name.setdefault(parts[0] if len(parts) > 1 else "", []).append(file)
    if not by_name:
        raise MediaError(f"No images in {str(path)!r}. Name a folder that holds some.")
    return [
        ClassFolder(name, ImageFiles(files, channels=channels))
        for name, files in sorted(by_name.items())
    ]


@dataclass(frozen=True)
class ImageFeatures:
    """Rows of features, batch by batch, of whatever a network makes of images.

    The module is called with ``[batch, channels, size, size]`` in [-1, 1] and may give
    ``[batch, dim, height, width]``, ``[batch, positions, dim]`` or ``[batch, dim]``. VQGAN-LC
    (arXiv 2406.11837) takes the patch features of CLIP ViT-L/14, averaged to a grid of 4 x 4.

    Attributes:
        module: The network.
        size: Side of the square that is cut from the middle of each image, after its shorter side
            was scaled to it.
        batch_size: Images at once.
        pool: Average the positions to a grid of ``pool x pool`` first; None keeps them all.
        seed: Of the random order of the images; clustering of a stream wants one.
        device: Where the module computes.
    """

    module: Callable[[Tensor], Tensor]
    size: int = 256
    batch_size: int = 16
    pool: int | None = None
    seed: int = 0
    device: torch.device | str = "cpu"

    def __post_init__(self) -> None:
        """Refuse sizes that make no sense."""
        if min(self.size, self.batch_size, 1 if self.pool is None else self.pool) < 1:
            raise ConfigError(
                "ImageFeatures: expected size, batch_size and pool from 1 on, got "
                f"{self.size}, {self.batch_size} and {self.pool}."
            )

    @torch.no_grad()
    def __call__(self, images: ImageSource) -> Iterator[Float[Tensor, "rows dim"]]:
        """Features of all images, in fp32 on the CPU; files that cannot be read are skipped.

        Raises:
            ShapeError: The module gives something else than features.
        """
        square = Chain({"scale": ResizeShortSide(self.size), "crop": CenterCrop(self.size)})
        order = list(range(len(images)))
        random.Random(self.seed).shuffle(order)
        batch: list[Tensor] = []
        for index in order:
            image = images.load_or_skip(index)
            if image is not None:
                batch.append(square(image, Generator()))
            if len(batch) == self.batch_size:
                yield self._rows(torch.stack(batch))
                batch = []
        if batch:
            yield self._rows(torch.stack(batch))

    def _rows(self, images: Tensor) -> Tensor:
        features = self.module(images.to(self.device))
        if not isinstance(features, Tensor) or features.ndim not in (2, 3, 4):
            found = list(features.shape) if isinstance(features, Tensor) else type(features)
            raise ShapeError(
                "Features of images: expected the module to give [batch, dim, height, width], "
                f"[batch, positions, dim] or [batch, dim], got {found}. Wrap it in a function that "
                "returns its features."
            )
        if features.ndim == 3 and self.pool is not None:
            side = round(features.shape[1] ** 0.5)
            if side * side != features.shape[1]:
                raise ShapeError(
                    f"Pooling features: expected a square grid of positions, got "
                    f"{features.shape[1]}. Leave the class token out."
                )
            features = features.movedim(1, -1).unflatten(-1, (side, side))
        if features.ndim == 4:
            if self.pool is not None:
                features = F.adaptive_avg_pool2d(features.float(), self.pool)
            features = features.movedim(1, -1)
        return features.reshape(-1, features.shape[-1]).float().cpu()
