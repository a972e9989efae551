"""Pictures of one shape, drawn from known factors of variation; no files."""

import math
from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from vqkit.data.outlines import box, ellipse, full_colour, triangle
from vqkit.data.source import ImageSource
from vqkit.errors import ConfigError, ShapeError
from vqkit.ops.radix import digits_to_index, index_to_digits
from vqkit.shapes import Float, Int

__all__ = ["FACTORS", "FactorShapes"]

FACTORS: Mapping[str, int] = MappingProxyType(
    {"shape": 3, "hue": 8, "background": 8, "scale": 4, "x": 8, "y": 8, "rotation": 6}
)
"""The factors in the order of the columns, and their usual numbers of values."""

_SHAPES = ("ellipse", "box", "triangle")


class FactorShapes(ImageSource):
    """One ellipse, box or triangle on a plain background: every combination of seven factors.

    Drawn by signed distances with antialiased edges, the same for everyone, as the data sets with
    known factors on which disentanglement is measured (dSprites, Shapes3D). The factors are
    independent and each can be seen: shape, hue of the shape and of the background, scale, place,
    rotation in half a turn. Image ``i`` of all combinations has the factors of the digits of ``i``
    in mixed radix, the shape first and fastest; rows of ``factors`` are these digits.

    Args:
        side: Height and width in pixels.
        num_values: Number of values by factor, where not that of ``FACTORS``; with 1 a factor keeps
            its first value (scale and place: the middle).
        order_seed: Shuffles the combinations; None leaves them in order.
        start: Combinations left out at the beginning of that order, e.g. those trained on.
        num_images: Length; None takes all combinations that are left.

    Raises:
        ConfigError: An unknown factor, a number out of range, or no images left.

    >>> images = FactorShapes(side=32, num_values={"rotation": 1, "x": 4})
    >>> len(images), tuple(images[7].shape), images.factors(torch.tensor([0, 7])).tolist()
    (24576, (3, 32, 32), [[0, 0, 0, 0, 0, 0, 0], [1, 2, 0, 0, 0, 0, 0]])
    """

    def __init__(
        self,
        side: int = 64,
        num_values: Mapping[str, int] | None = None,
        *,
        order_seed: int | None = None,
        start: int = 0,
        num_images: int | None = None,
    ) -> None:
        self.side = side
        self.num_values = {**FACTORS, **(num_values or {})}
        self.order_seed = order_seed
        self.start = start
        self.num_images = num_images
        if self.num_values.keys() != FACTORS.keys() or min(self.num_values.values()) < 1:
            raise ConfigError(
                f"FactorShapes num_values: expected at least 1 for factors of {list(FACTORS)}, got "
                f"{dict(num_values or {})}."
            )
        if self.num_values["shape"] > len(_SHAPES) or side < 8:
            raise ConfigError(
                f"FactorShapes: expected at most {len(_SHAPES)} shapes and a side of at least 8, "
                f"got {self.num_values['shape']} and {side}."
            )
        self._bases = tuple(self.num_values.values())
        total = math.prod(self._bases)
        left = total - start
        length = left if num_images is None else num_images
        if start < 0 or not 1 <= length <= left:
            raise ConfigError(
                f"FactorShapes: expected start and num_images within the {total} combinations, got "
                f"{start} and {num_images}."
            )
        self._order = (
            torch.arange(total)
            if order_seed is None
            else torch.randperm(total, generator=torch.Generator().manual_seed(order_seed))
        )[start : start + length].clone()
        super().__init__(length)

    def name(self, index: int) -> str:
        """``shapes/`` and the number of the combination."""
        return f"shapes/{int(self._order[index])}"

    def load(self, index: int) -> Float[Tensor, "3 side side"]:
        """Draw one image."""
        return self.draw(self.factors(torch.tensor([index])))[0]

    def factors(self, indices: Int[Tensor, " images"]) -> Int[Tensor, "images factors"]:
        """Factors of the images with these numbers, a column per entry of ``FACTORS``."""
        return index_to_digits(self._order[indices], self._bases)

    def combination(self, factors: Int[Tensor, "images factors"]) -> Int[Tensor, " images"]:
        """Numbers of combinations of factors, as in ``name``; the inverse of ``factors``."""
        return digits_to_index(factors, self._bases)

    def draw(self, factors: Int[Tensor, "images factors"]) -> Float[Tensor, "images 3 side side"]:
        """Draw any combinations at once, in [-1, 1].

        Raises:
            ShapeError: A value that a factor does not have.
        """
        if bool(((factors < 0) | (factors >= torch.tensor(self._bases))).any()):
            raise ShapeError(
                f"FactorShapes factors: expected 0 to {[base - 1 for base in self._bases]}, got "
                f"{int(factors.min())} to {int(factors.max())}."
            )
        column = dict(zip(FACTORS, factors.unbind(1), strict=True))
        hue, background = (column[f] / self.num_values[f] for f in ("hue", "background"))
        x, y = (self._fraction(column[f], f) - 0.5 for f in ("x", "y"))
        # The smallest shape is half the largest, and the largest stays inside everywhere.
        scale = 0.5 + 0.5 * self._fraction(column["scale"], "scale")
        angle = math.pi * column["rotation"] / self.num_values["rotation"]

        pixels = (torch.arange(self.side) + 0.5) * (2 / self.side) - 1
        # [images, side, side] in the frame of the shape, which points along u.
        right = pixels[None, None, :] - x[:, None, None]
        down = pixels[None, :, None] - y[:, None, None]
        scale = scale[:, None, None]
        cosine, sine = torch.cos(angle)[:, None, None], torch.sin(angle)[:, None, None]
        u = (cosine * right + sine * down) / scale
        v = (cosine * down - sine * right) / scale
        distances = torch.stack([ellipse(u, v), box(u, v), triangle(u, v)], 1)
        distance = distances[torch.arange(len(factors)), column["shape"]]
        # An edge one pixel wide.
        cover = (0.5 - distance * scale * (self.side / 2)).clamp(0, 1)[:, None]
        front = full_colour(hue, value=1.0)[:, :, None, None]
        behind = full_colour(background, value=0.5)[:, :, None, None]
        return (behind + cover * (front - behind)) * 2 - 1

    def _fraction(self, value: Tensor, factor: str) -> Tensor:
        """From 0 for the first value to 1 for the last."""
        last = self.num_values[factor] - 1
        if last == 0:
            return torch.full(value.shape, 0.5)
        return value / last
