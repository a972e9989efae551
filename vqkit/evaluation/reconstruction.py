"""Originals beside their reconstructions and errors."""

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.evaluation.drawing import DARK, GREY, new_figure, png, printable
from vqkit.evaluation.item import ItemResult, Picture
from vqkit.evaluation.report import Report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["reconstruction_figure", "reconstruction_png"]

_COLUMNS = ("original", "reconstruction", "absolute error, 4 times")
_LARGEST_BYTES = 500_000
_LARGEST_PANEL, _SMALLEST_PANEL = 480, 96
# Photographs in smaller panels show too little: rather fewer of them.
_LEGIBLE_PANEL = 160
# Photographs take up to two bytes per pixel as PNG.
_PIXEL_BUDGET = 250_000

_MARGIN, _GAP, _CAPTION, _HEAD, _FOOT = 12, 6, 22, 56, 8


def reconstruction_figure(
    report: Report, panel: int | None = None, num_rows: int | None = None
) -> "Figure":
    """One row per picture: original, reconstruction, absolute error times four.

    Args:
        report: an evaluation with pictures.
        panel: longest side of a panel in pixels; None for as many as a small file allows.
        num_rows: pictures to show; None for all that the report has.

    Raises:
        ConfigError: the report holds no pictures.
    """
    if not report.pictures:
        raise ConfigError(
            "Drawing reconstructions failed: expected a report with pictures, got none. Evaluate "
            "with max_pictures above 0; reports read from a file have lost theirs."
        )
    pictures = report.pictures[:num_rows]
    panel = panel or _largest_panel(pictures)
    rows = [
        [_fit(image, panel) for image in (picture.original, picture.reconstruction, picture.error)]
        for picture in pictures
    ]
    column = max(_LEGIBLE_PANEL, *(row[0].shape[1] for row in rows))
    width = 2 * _MARGIN + 3 * column + 2 * _GAP
    height = _HEAD + sum(row[0].shape[0] + _CAPTION + _GAP for row in rows) + _FOOT
    figure = new_figure(width, height, constrained=False)

    def write(text: str, x: float, top: float, size: float, color: str = DARK) -> None:
        figure.text(
            x / width,
            1 - (top + 1.4 * size) / height,
            text,
            size=size,
            color=color,
            va="baseline",
            ha="left",
            parse_math=False,
        )

    write(_headline(report, int(width / 7.5)), _MARGIN, 10, 9.5)
    for number, title in enumerate(_COLUMNS):
        write(title, _MARGIN + number * (column + _GAP), 34, 8.5, GREY)
    items = {item.name: item for item in report.items}
    top = _HEAD
    for picture, row in zip(pictures, rows, strict=True):
        caption = _caption(items[picture.name], row[0], int(width / 6.5))
        write(caption, _MARGIN, top + 4, 8)
        top += _CAPTION
        for number, image in enumerate(row):
            left = _MARGIN + number * (column + _GAP)
            # Pixel for pixel: axes would resample.
            figure.figimage(image.numpy(), left, height - top - image.shape[0], origin="upper")
        top += row[0].shape[0] + _GAP
    return figure


def reconstruction_png(report: Report) -> bytes:
    """The figure as a PNG file below 500 kB, with as many of the pictures as stay legible.

    Raises:
        ConfigError: the report holds no pictures.
    """
    num_rows = len(report.pictures)
    longest = max((max(picture.original.shape) for picture in report.pictures), default=0)
    legible = min(longest, _LEGIBLE_PANEL)
    while num_rows > 1 and _largest_panel(report.pictures[:num_rows]) < legible:
        num_rows -= 1
    panel = _largest_panel(report.pictures[:num_rows])
    data = png(reconstruction_figure(report, panel, num_rows))
    while len(data) > _LARGEST_BYTES and panel > _SMALLEST_PANEL:
        shrink = min(0.95, math.sqrt(_LARGEST_BYTES / len(data)))
        panel = max(_SMALLEST_PANEL, int(panel * shrink))
        data = png(reconstruction_figure(report, panel, num_rows))
    return data


def _headline(report: Report, characters: int) -> str:
    count, plural = len(report.items), "s" if len(report.items) != 1 else ""
    numbers = (
        f"{count} image{plural} · {report.metrics['psnr'].mean:.2f} dB at "
        f"{report.rate.actual_rate:.3f} bpp"
    )
    name = f"{report.setting.tokenizer.get('name', '')} · {report.setting.dataset}"
    return f"{printable(name, max(12, characters - len(numbers)))} · {numbers}"


def _caption(item: ItemResult, shown: Tensor, characters: int) -> str:
    scale = max(shown.shape) / max(item.size["height"], item.size["width"])
    numbers = (
        f"{item.size['width']} x {item.size['height']} · {item.scores['psnr']:.2f} dB · "
        f"{item.actual_rate:.3f} bpp" + (f" · shown at {scale:.0%}" if scale != 1 else "")
    )
    return f"{printable(item.name, max(12, characters - len(numbers)))} · {numbers}"


def _largest_panel(pictures: tuple[Picture, ...]) -> int:
    """The longest side that spreads the budget of pixels over all panels."""
    if not pictures:
        return _SMALLEST_PANEL
    shapes = [picture.original.shape[:2] for picture in pictures]
    share = 3 * sum(h * w / max(h, w) ** 2 for h, w in shapes)
    panel = int(math.sqrt(_PIXEL_BUDGET / share))
    return max(_SMALLEST_PANEL, min(panel, _LARGEST_PANEL))


def _fit(levels: Tensor, panel: int) -> Tensor:
    """Shrink a picture to the panel's longest side; enlarge a small one by a whole factor."""
    longest = max(levels.shape[:2])
    if longest <= panel:
        factor = panel // longest
        return levels.repeat_interleave(factor, 0).repeat_interleave(factor, 1)
    size = [max(1, round(side * panel / longest)) for side in levels.shape[:2]]
    media = levels.permute(2, 0, 1)[None].float()
    shrunk = F.interpolate(media, size, mode="bilinear", antialias=True)
    return shrunk[0].round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous()
