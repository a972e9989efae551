"""Quality against rate, image by image, beside classical codecs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vqkit.errors import ConfigError
from vqkit.evaluation.codecs import CodecCurve
from vqkit.evaluation.drawing import (
    BLUE,
    DARK,
    GREEN,
    GREY,
    ORANGE,
    VERMILION,
    new_figure,
    plain_axes,
    printable,
)
from vqkit.evaluation.report import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["rate_quality_figure"]

_CURVES = ((GREEN, "s"), (ORANGE, "^"), (VERMILION, "v"), (GREY, "D"))
_CODEC_NAMES = {"jpeg": "JPEG", "webp": "WebP"}
# Rates that differ by more stand on a log scale.
_WIDE_RANGE = 4


def rate_quality_figure(report: Report, references: Sequence[CodecCurve] = ()) -> "Figure":
    """PSNR over actual bits per pixel: a point per image, the set, and reference codecs.

    The set's point and the codecs' are the mean PSNR over images at the bits of all files over
    the pixels of all images.

    Args:
        report: an evaluation.
        references: curves of :func:`codec_reference` on the same images.

    Raises:
        ConfigError: no image was evaluated.
    """
    if not report.items:
        raise ConfigError(
            "Drawing rate and quality failed: expected an image at least, got none. Look into "
            "the failures of the report."
        )
    figure = new_figure(680, 440)
    axes = figure.subplots()
    plain_axes(axes)
    rates = [item.actual_bits_per_pixel for item in report.items]
    axes.scatter(
        rates, [item.psnr for item in report.items], s=22, color=BLUE, alpha=0.45, linewidth=0,
        label="each image", zorder=3,
    )  # fmt: skip
    for (color, marker), curve in zip(_CURVES * len(references), references, strict=False):
        rates += [point.bits_per_pixel for point in curve.points]
        axes.plot(
            [point.bits_per_pixel for point in curve.points],
            [point.psnr for point in curve.points],
            color=color, marker=marker, markersize=5, linewidth=1.4,
            label=f"{_CODEC_NAMES[curve.codec]} at quality {curve.points[0].quality} to "
            f"{curve.points[-1].quality}, mean of {curve.num_images} images",
        )  # fmt: skip
    _draw_mean(axes, report)
    if max(rates) > _WIDE_RANGE * min(rates):
        from matplotlib.ticker import FuncFormatter, LogLocator

        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(FuncFormatter(lambda value, _: ""))
    axes.set_xlabel("bits per pixel, counted on the bytes of the files", size=9, color=DARK)
    axes.set_ylabel("PSNR in dB", size=9, color=DARK)
    name = str(report.setting.tokenizer.get("name", ""))
    title = f"{name} · {report.setting.dataset} · {len(report.items)} images"
    axes.set_title(printable(title, 90), size=10, color=DARK, loc="left", parse_math=False)
    axes.legend(fontsize=8, frameon=True, framealpha=0.9, edgecolor="none", loc="best")
    return figure


def _draw_mean(axes: "Axes", report: Report) -> None:
    rate, quality = report.rate.actual_bits_per_pixel, report.metrics["psnr"]
    assert quality.mean is not None  # there are items
    label, margin = f"mean: {quality.mean:.2f} dB at {rate:.3f} bits per pixel", None
    if quality.confidence_95 is not None:
        label += " (bar: 95 %)"
        low, high = quality.confidence_95
        margin = (high - low) / 2
    axes.errorbar(
        rate, quality.mean, yerr=margin, fmt="D", color=BLUE, markersize=9,
        markeredgecolor="white", capsize=3, zorder=4, label=label,
    )  # fmt: skip
