"""Quality against rate: item by item, level by level, beside codecs of others."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vqkit.errors import ConfigError
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
from vqkit.evaluation.media_kind import SOUNDS
from vqkit.evaluation.quality import Metric
from vqkit.evaluation.rate_curve import RateCurve
from vqkit.evaluation.report import Report
from vqkit.evaluation.statistics import MetricSummary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["rate_quality_figure"]

_CURVES = ((GREEN, "s"), (ORANGE, "^"), (VERMILION, "v"), (GREY, "D"))
# Rates that differ by more stand on a log scale.
_WIDE_RANGE = 4
_MOST_PANELS = 6


def rate_quality_figure(report: Report, metrics: Sequence[str] = ()) -> "Figure":
    """Each metric over the bits of the files: a point per item, the set, its levels, the codecs.

    The set's point, those of levels and those of codecs are means over items at the bits of all
    files over the pixels or seconds of all items, with the 95 % interval of the mean.

    Args:
        report: an evaluation, with codecs of others in ``references``.
        metrics: names of metrics, a panel each; by default PSNR of images, and of sounds the
            first six that were measured.

    Raises:
        ConfigError: no item was evaluated, or a metric was not measured.
    """
    if not report.items:
        raise ConfigError(
            "Drawing rate and quality failed: expected an item at least, got none. Look into the "
            "failures of the report."
        )
    shown = _shown(report, metrics)
    num_columns = 1 if len(shown) == 1 else 2 if len(shown) in (2, 4) else 3
    num_rows = -(-len(shown) // num_columns)
    width = 680 if num_columns == 1 else 450 * num_columns
    figure = new_figure(width, 440 if num_rows == 1 else 350 * num_rows)
    panels = figure.subplots(num_rows, num_columns, squeeze=False).flatten()
    for axes, metric in zip(panels, shown, strict=False):
        _draw_panel(axes, report, metric)
    for axes in panels[len(shown) :]:
        axes.set_axis_off()
    name = str(report.setting.tokenizer.get("name", ""))
    title = f"{name} · {report.setting.dataset} · {len(report.items)} {report.kind.items}"
    if len(shown) == 1:
        panels[0].set_title(printable(title, 90), size=10, color=DARK, loc="left", parse_math=False)
        panels[0].legend(fontsize=8, frameon=True, framealpha=0.9, edgecolor="none", loc="best")
    else:
        figure.suptitle(
            printable(title, width // 8), size=10, color=DARK, x=0.01, ha="left", parse_math=False
        )
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, fontsize=8, frameon=False, ncols=3, loc="outside lower center"
        )
    return figure


def _shown(report: Report, names: Sequence[str]) -> list[Metric]:
    summaries = report.metrics
    measured = [m for m in report.setting.metrics if summaries[m.name].count]
    if not names:
        # One number of images is enough for a picture; sounds have none that says it all.
        return measured[: _MOST_PANELS if report.kind is SOUNDS else 1]
    by_name = {metric.name: metric for metric in measured}
    if missing := [name for name in names if name not in by_name]:
        raise ConfigError(
            f"Drawing rate and quality failed: expected some of {', '.join(by_name)}, got "
            f"{', '.join(missing)}."
        )
    return [by_name[name] for name in names]


def _draw_panel(axes: "Axes", report: Report, metric: Metric) -> None:
    plain_axes(axes)
    divisor = 1000.0 if report.kind is SOUNDS else 1.0
    known = [
        (item.actual_rate / divisor, score)
        for item in report.items
        if (score := item.scores.get(metric.name)) is not None
    ]
    rates = [rate for rate, _ in known]
    axes.scatter(
        rates, [score for _, score in known], s=22, color=BLUE, alpha=0.45,
        linewidth=0, label=f"each {report.kind.item}", zorder=3,
    )  # fmt: skip
    references = report.references
    for (color, marker), curve in zip(_CURVES * len(references), references, strict=False):
        rates += _draw_curve(axes, curve, metric, divisor, color, marker)
    if report.levels is not None:
        rates += _draw_curve(axes, report.levels, metric, divisor, BLUE, "o")
    _draw_mean(axes, report, metric, divisor)
    if max(rates) > _WIDE_RANGE * min(rates):
        from matplotlib.ticker import FuncFormatter, LogLocator

        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(FuncFormatter(lambda value, _: ""))
    unit = "kbit/s" if report.kind is SOUNDS else "bits per pixel"
    axes.set_xlabel(f"{unit}, counted on the bytes of the files", size=9, color=DARK)
    better = "" if metric.higher_is_better else ", lower is better"
    axes.set_ylabel(f"{metric.title}{better}", size=9, color=DARK)


def _draw_curve(
    axes: "Axes", curve: RateCurve, metric: Metric, divisor: float, color: str, marker: str
) -> list[float]:
    """Draw it, and say at which rates."""
    known = [
        (point, mean)
        for point in curve.points
        if (mean := point.metrics[metric.name].mean) is not None
    ]
    if not known:
        return []
    points = [point for point, _ in known]
    # What a container takes says nothing of a codec, and of small files it is most.
    is_bare = all(point.payload_rate is not None for point in points)
    chosen = [point.rate if point.payload_rate is None else point.payload_rate for point in points]
    rates = [rate / divisor for rate in chosen]
    ends = points[0].label if len(points) == 1 else f"{points[0].label} to {points[-1].label}"
    means = [mean for _, mean in known]
    bare = ", without container" if is_bare else ""
    axes.plot(
        rates, means, color=color, marker=marker, markersize=5, linewidth=1.4,
        label=f"{printable(curve.title, 30)}, {ends}, mean of {curve.num_items}{bare}",
    )  # fmt: skip
    margins = [_margin(point.metrics[metric.name]) or 0.0 for point in points]
    axes.errorbar(rates, means, margins, fmt="none", ecolor=color, elinewidth=0.8, capsize=2)
    return rates


def _draw_mean(axes: "Axes", report: Report, metric: Metric, divisor: float) -> None:
    rate, quality = report.rate.actual_rate / divisor, report.metrics[metric.name]
    assert quality.mean is not None  # it was measured
    unit = "kbit/s" if report.kind is SOUNDS else "bits per pixel"
    label, margin = "mean", _margin(quality)
    if report.kind is not SOUNDS:
        label = f"mean: {quality.mean:.{metric.digits}f} at {rate:.3f} {unit}"
    if margin is not None:
        label += " (bar: 95 %)"
    axes.errorbar(
        rate, quality.mean, yerr=margin, fmt="D", color=BLUE, markersize=9,
        markeredgecolor="white", capsize=3, zorder=4, label=label,
    )  # fmt: skip


def _margin(summary: MetricSummary) -> float | None:
    if summary.confidence_95 is None:
        return None
    low, high = summary.confidence_95
    return (high - low) / 2
