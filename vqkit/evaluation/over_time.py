"""Quality and bits over time: clip by clip, frame by frame."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqkit.errors import ConfigError
from vqkit.evaluation.drawing import (
    BLUE,
    DARK,
    GREEN,
    GREY,
    VERMILION,
    new_figure,
    plain_axes,
    printable,
)
from vqkit.evaluation.item import ItemResult
from vqkit.evaluation.ranking import extremes
from vqkit.evaluation.report import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["over_time_figure"]

_COLORS = {"worst": VERMILION, "median": BLUE, "best": GREEN}
_MOST_GREY = 40


def over_time_figure(report: Report, metric: str = "psnr") -> "Figure":
    """A metric of each frame, and below it the bits of each latent frame, over the frames.

    The worst, the median and the best clip by the metric in colour, others in grey. Bits are by the
    frequencies of the clip's own tokens: what an ideal coder of order 0 would spend there.

    Args:
        report: an evaluation of clips.
        metric: one that is measured frame by frame.

    Raises:
        ConfigError: there is no such metric, or no clip was evaluated.
    """
    drawn = [item for item in report.items if item.series.get(metric)]
    if not drawn:
        raise ConfigError(
            f"Drawing {metric} over time failed: expected clips with it frame by frame, got none. "
            "Evaluate clips, and choose a metric that is measured of each frame."
        )
    colored = {item.name: word for word, item in extremes(report, metric).items() if item in drawn}
    figure = new_figure(820, 560)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    for axes in (above, below):
        plain_axes(axes)
    others = [item for item in drawn if item.name not in colored][:_MOST_GREY]
    tokenizer = report.setting.tokenizer
    # Those in colour last, on top.
    for item in (*others, *(item for item in drawn if item.name in colored)):
        word = colored.get(item.name)
        color = GREY if word is None else _COLORS[word]
        width, alpha = (0.7, 0.35) if word is None else (1.4, 1.0)
        label = None if word is None else f"{word}: {printable(Path(item.name).name, 40)}"
        numbers = [float("nan") if value is None else value for value in item.series[metric]]
        # Numbers of pairs begin with the second frame.
        first = item.size["frames"] - len(numbers)
        above.plot(
            range(first, item.size["frames"]), numbers,
            color=color, linewidth=width, alpha=alpha, label=label,
        )  # fmt: skip
        _draw_bits(below, item, tokenizer, color=color, linewidth=width, alpha=alpha)
    (shown,) = (row for row in report.setting.metrics if row.name == metric)
    above.set_ylabel(shown.title, size=9, color=DARK)
    below.set_ylabel("bits of a latent frame", size=9, color=DARK)
    below.set_xlabel("frame", size=9, color=DARK)
    below.xaxis.get_major_locator().set_params(integer=True)
    above.legend(fontsize=8, frameon=True, framealpha=0.9, edgecolor="none", loc="best")
    title = f"{tokenizer.get('name', '')} · {report.setting.dataset} · {len(report.items)} clips"
    above.set_title(printable(title, 100), size=10, color=DARK, loc="left", parse_math=False)
    return figure


def _draw_bits(axes: "Axes", item: ItemResult, tokenizer: Mapping[str, Any], **style: Any) -> None:
    bits = [value for value in item.series.get("entropy_bits", ()) if value is not None]
    if bits:
        edges = _latent_edges(len(bits), tokenizer, item.size["frames"])
        axes.stairs(bits, edges, baseline=None, **style)


def _latent_edges(
    num_latents: int, tokenizer: Mapping[str, Any], num_frames: int
) -> Sequence[float]:
    """The first frame of each latent frame, and the end."""
    step = tokenizer["strides"][0]
    alone = 1 if tokenizer.get("first_frame_alone") else 0
    begins = [max(0, alone + (i - alone) * step) for i in range(num_latents)]
    return [*begins, max(num_frames, begins[-1] + 1)]
