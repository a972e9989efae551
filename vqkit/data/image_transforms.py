"""What happens to an image between its file and the network."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from vqkit.data.transforms import Chain
from vqkit.errors import ConfigError
from vqkit.shapes import Float, Int

__all__ = [
    "CenterCrop",
    "CropToMultiple",
    "RandomCrop",
    "RandomFlip",
    "ResizeShortSide",
    "training_chain",
]


@dataclass(frozen=True)
class RandomCrop:
    """A square at a random place, at a random scale if asked for.

    The window is cut out first and then scaled, which costs no more for a large photograph than for
    a small one.

    Attributes:
        size: side of the square that comes out, in pixels. Sides of the image that are shorter are
            continued by reflection.
        scale: least and greatest factor by which the image is scaled; its logarithm is uniform.
            Below 1 the crop shows more of the image, filtered against aliasing, but never more than
            there is.
    """

    size: int
    scale: Sequence[float] = (1.0, 1.0)

    def __post_init__(self) -> None:
        _check_positive("size", self.size)
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1]:
            raise ConfigError(
                f"scale of RandomCrop: expected 0 < least <= greatest, got {list(self.scale)}."
            )
        object.__setattr__(self, "scale", tuple(self.scale))

    def __call__(
        self, image: Float[Tensor, "channels height width"], generator: Generator
    ) -> Float[Tensor, "channels size size"]:
        """Cut a square out."""
        where = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
        least, greatest = (math.log(factor) for factor in self.scale)
        window = max(1, round(self.size / math.exp(least + (greatest - least) * where[0])))
        window = min(window, max(self.size, min(image.shape[1:])))
        image = _reflect_to(image, window, window)
        top = int(where[1] * (image.shape[1] - window + 1))
        left = int(where[2] * (image.shape[2] - window + 1))
        return _resize(image[:, top : top + window, left : left + window], self.size, self.size)


@dataclass(frozen=True)
class RandomFlip:
    """Left and right exchanged, now and then.

    Attributes:
        probability: how often.
    """

    probability: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ConfigError(
                f"probability of RandomFlip: expected 0 to 1, got {self.probability}."
            )

    def __call__(
        self, image: Float[Tensor, "channels height width"], generator: Generator
    ) -> Float[Tensor, "channels height width"]:
        """Flip or do not."""
        chance = torch.rand((), generator=generator).item()
        return image.flip(-1) if chance < self.probability else image


@dataclass(frozen=True)
class CenterCrop:
    """The square in the middle; sides shorter than it are continued by reflection.

    Attributes:
        size: side of the square in pixels.
    """

    size: int

    def __post_init__(self) -> None:
        _check_positive("size", self.size)

    def __call__(
        self, image: Float[Tensor, "channels height width"], generator: Generator
    ) -> Float[Tensor, "channels size size"]:
        """Cut the middle out."""
        return _center(_reflect_to(image, self.size, self.size), self.size, self.size)


@dataclass(frozen=True)
class CropToMultiple:
    """The largest middle part whose sides a stride divides; what is too small for one stride grows.

    Attributes:
        multiple: the stride in pixels.
    """

    multiple: int

    def __post_init__(self) -> None:
        _check_positive("multiple", self.multiple)

    def __call__(
        self, image: Float[Tensor, "channels height width"], generator: Generator
    ) -> Float[Tensor, "channels new_height new_width"]:
        """Cut less than one multiple off each axis."""
        image = _reflect_to(image, self.multiple, self.multiple)
        height, width = (side - side % self.multiple for side in image.shape[1:])
        return _center(image, height, width)


@dataclass(frozen=True)
class ResizeShortSide:
    """The whole image, scaled until its shorter side has the size asked for.

    Attributes:
        size: the shorter side in pixels; the longer one is rounded to a whole pixel.
    """

    size: int

    def __post_init__(self) -> None:
        _check_positive("size", self.size)

    def __call__(
        self, image: Float[Tensor, "channels height width"], generator: Generator
    ) -> Float[Tensor, "channels new_height new_width"]:
        """Scale both sides alike."""
        short = min(image.shape[1:])
        height, width = (max(1, round(side * self.size / short)) for side in image.shape[1:])
        return _resize(image, height, width)


def training_chain(size: int, scale: Sequence[float] = (1.0, 1.0)) -> Chain:
    """Make the usual chain for training: a random crop, half of the time flipped.

    Example:
        >>> chain = training_chain(16)
        >>> chain(torch.zeros(3, 40, 50), Generator().manual_seed(0)).shape
        torch.Size([3, 16, 16])
    """
    return Chain({"crop": RandomCrop(size, scale), "flip": RandomFlip()})


def _check_positive(what: str, value: int) -> None:
    if value < 1:
        raise ConfigError(f"{what} in pixels: expected at least 1, got {value}.")


def _center(image: Tensor, height: int, width: int) -> Tensor:
    top, left = (image.shape[1] - height) // 2, (image.shape[2] - width) // 2
    return image[:, top : top + height, left : left + width]


def _resize(image: Tensor, height: int, width: int) -> Tensor:
    """Bicubic, low-pass filtered when it shrinks, held within [-1, 1] where it overshoots."""
    if image.shape[1:] == (height, width):
        return image
    resized = F.interpolate(image[None], size=(height, width), mode="bicubic", antialias=True)
    return resized[0].clamp(-1, 1)


def _reflect_to(image: Tensor, height: int, width: int) -> Tensor:
    """Continue short sides by reflection, as often as it takes; longer ones stay."""
    for axis, wanted in ((1, height), (2, width)):
        side = image.shape[axis]
        if side < wanted:
            image = image.index_select(axis, _reflected(side, wanted).to(image.device))
    return image


def _reflected(side: int, wanted: int) -> Int[Tensor, " wanted"]:
    """Which of ``side`` pixels stand at ``wanted`` places, the pixels themselves in the middle."""
    period = max(1, 2 * (side - 1))
    places = (torch.arange(wanted) - (wanted - side) // 2) % period
    return torch.minimum(places, period - places)
