"""Luma and colour differences <-> red, green and blue, by the standards' own formulas.

FFmpeg's converter is not asked: its results differ with the processor and its version, it rounds to
8 bits on the way, and it takes a file that does not name its matrix for BT.601 whatever its size.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from vqkit.shapes import Float

__all__ = [
    "Colour",
    "ColourMatrix",
    "ColourRange",
    "halved",
    "rgb_of_yuv",
    "usual_matrix",
    "widened",
    "yuv_of_rgb",
]

ColourMatrix = Literal["bt601", "bt709", "bt2020", "fcc", "smpte240m", "ycgco", "rgb"]
"""What the colour differences are differences of; ``"rgb"`` is no difference at all."""

ColourRange = Literal["limited", "full"]
"""Whether black and white are 16 and 235 (of 8 bits) or 0 and 255."""

# Weights of red and blue in luma (ITU-T H.273, table 4); green has the rest.
_LUMA_WEIGHTS: dict[str, tuple[float, float]] = {
    "bt601": (0.299, 0.114),
    "bt709": (0.2126, 0.0722),
    "bt2020": (0.2627, 0.0593),
    "fcc": (0.30, 0.11),
    "smpte240m": (0.212, 0.087),
}


@dataclass(frozen=True)
class Colour:
    """How numbers stand for colours.

    Attributes:
        matrix: of the colour differences.
        range: of the numbers.
        bit_depth: bits of a number.
    """

    matrix: ColourMatrix
    range: ColourRange
    bit_depth: int = 8

    @property
    def black(self) -> float:
        """The number of black luma."""
        return 16 * 2.0 ** (self.bit_depth - 8) if self.range == "limited" else 0.0

    @property
    def luma_span(self) -> float:
        """How far white is from black."""
        if self.range == "limited":
            return 219 * 2.0 ** (self.bit_depth - 8)
        return 2.0**self.bit_depth - 1

    @property
    def grey(self) -> float:
        """The number of no colour difference."""
        return 2.0 ** (self.bit_depth - 1)

    @property
    def difference_span(self) -> float:
        """How far the greatest colour difference is from the least."""
        if self.range == "limited":
            return 224 * 2.0 ** (self.bit_depth - 8)
        return 2.0**self.bit_depth - 1


def usual_matrix(height: int, width: int) -> ColourMatrix:
    """What a file means that does not say: BT.601 up to the sizes of its television, else BT.709.

    The rule of mpv and others: beyond 576 lines, or from 1280 columns on.

    Example:
        >>> usual_matrix(480, 720), usual_matrix(720, 1280)
        ('bt601', 'bt709')
    """
    return "bt709" if height > 576 or width >= 1280 else "bt601"


def rgb_of_yuv(
    luma: Float[Tensor, "height width"],
    blue: Float[Tensor, "height width"],
    red: Float[Tensor, "height width"],
    colour: Colour,
) -> Float[Tensor, "3 height width"]:
    """Colours in [-1, 1] of the numbers in a file (ITU-T H.273, 8.3); what lies beyond is clipped.

    Args:
        luma: Y.
        blue: Cb, of each pixel.
        red: Cr, of each pixel.
        colour: what the numbers stand for.
    """
    # From -1 at black to 1 at white, to the bit; differences from -1 to 1.
    luma = (luma - colour.black).div_(colour.luma_span / 2).sub_(1)
    blue = (blue - colour.grey).div_(colour.difference_span / 2)
    red = (red - colour.grey).div_(colour.difference_span / 2)
    rgb = luma.new_empty(3, *luma.shape)
    if colour.matrix == "ycgco":  # blue is Cg and red is Co
        torch.add(luma, blue, out=rgb[1])
        torch.sub(luma, blue, out=rgb[0])
        torch.sub(rgb[0], red, out=rgb[2])
        rgb[0].add_(red)
    else:
        of_red, of_blue = _LUMA_WEIGHTS[colour.matrix]
        of_green = 1 - of_red - of_blue
        # Differences are scaled to their span, in a picture that spans 2 as they do.
        torch.add(luma, red, alpha=2 * (1 - of_red), out=rgb[0])
        torch.add(luma, blue, alpha=2 * (1 - of_blue), out=rgb[2])
        torch.add(luma, red, alpha=-2 * of_red * (1 - of_red) / of_green, out=rgb[1])
        rgb[1].add_(blue, alpha=-2 * of_blue * (1 - of_blue) / of_green)
    return rgb.clamp_(-1, 1)


def yuv_of_rgb(
    rgb: Float[Tensor, "3 *size"], colour: Colour
) -> tuple[Float[Tensor, "*size"], Float[Tensor, "*size"], Float[Tensor, "*size"]]:
    """The numbers Y, Cb and Cr of colours in [-1, 1], not rounded: ``rgb_of_yuv`` undone."""
    of_red, of_blue = _LUMA_WEIGHTS[colour.matrix]
    red, green, blue = rgb
    # Around green, so that grey keeps its value to the bit.
    luma = green + of_red * (red - green) + of_blue * (blue - green)
    blue_difference = (blue - luma) / (2 * (1 - of_blue))
    red_difference = (red - luma) / (2 * (1 - of_red))
    return (
        (luma + 1) * (colour.luma_span / 2) + colour.black,
        blue_difference * (colour.difference_span / 2) + colour.grey,
        red_difference * (colour.difference_span / 2) + colour.grey,
    )


def widened(
    plane: Float[Tensor, "rows columns"], height: int, width: int, shifts: tuple[int, int]
) -> Float[Tensor, "height width"]:
    """Colour differences of each pixel, from a plane that has fewer, by linear interpolation.

    A column of it lies at a column of the picture, a row of it between two rows: where MPEG-2,
    H.264 and HEVC have them unless told otherwise.

    Args:
        plane: rounded up in both directions.
        height: rows of the picture.
        width: columns of the picture.
        shifts: how often rows and columns were halved.
    """
    for _ in range(shifts[0]):
        above = torch.cat([plane[:1], plane[:-1]])
        below = torch.cat([plane[1:], plane[-1:]])
        pair = torch.stack([torch.lerp(plane, above, 0.25), torch.lerp(plane, below, 0.25)], 1)
        plane = pair.reshape(-1, plane.shape[1])
    for _ in range(shifts[1]):
        right = torch.cat([plane[:, 1:], plane[:, -1:]], 1)
        pair = torch.stack([plane, (plane + right).div_(2)], 2)
        plane = pair.reshape(plane.shape[0], -1)
    return plane[:height, :width]


def halved(plane: Float[Tensor, "height width"]) -> Float[Tensor, "rows columns"]:
    """Colour differences at half the rows and columns (both even), at the places of ``widened``.

    The mean of two rows, and of a column twice with its neighbours once (1 2 1).
    """
    rows = (plane[::2] + plane[1::2]) / 2
    left = torch.cat([rows[:, :1], rows[:, 1:-1:2]], 1)
    return (left + 2 * rows[:, ::2] + rows[:, 1::2]) / 4
