"""How often each code is used, codebook by codebook."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from vqkit.errors import ConfigError
from vqkit.evaluation.drawing import BLUE, DARK, GREY, VERMILION, new_figure, plain_axes, printable
from vqkit.evaluation.report import Report
from vqkit.metrics.codebook import CodebookLevel, CodeHistogram

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_usage", "usage_figure"]

_MOST_PANELS = 12
_MOST_POINTS = 2000
# Below this usage the unused codes would leave no room for the others.
_LEAST_SHOWN_USAGE = 0.05


def usage_figure(report: Report) -> "Figure":
    """Tokens per code, most frequent first, of an evaluation's report: :func:`draw_usage`.

    Raises:
        ConfigError: the report was read from a file, which keeps no counts.
    """
    title = f"{report.setting.tokenizer.get('name', '')} · {report.setting.dataset}"
    return draw_usage(report.codebooks, report.histograms, title)


def draw_usage(
    codebooks: Sequence[CodebookLevel], histograms: Sequence[CodeHistogram], title: str
) -> "Figure":
    """Tokens per code, most frequent first, on a log scale beside the uniform frequency.

    One panel per codebook, up to twelve.

    Raises:
        ConfigError: there are no counts.
    """
    if len(histograms) != len(codebooks) or not codebooks:
        raise ConfigError(
            "Drawing codebook usage failed: expected a report with counts, got none. Draw it "
            "before saving; reports read from a file have lost theirs."
        )
    shown = min(len(codebooks), _MOST_PANELS)
    num_columns = min(shown, 2 if shown in (2, 4) else 3)
    num_rows = math.ceil(shown / num_columns)
    width = 680 if num_columns == 1 else 430 * num_columns
    figure = new_figure(width, (330 if num_rows == 1 else 270 * num_rows) + 50)
    hidden = f", first {shown} shown" if shown < len(codebooks) else ""
    figure.suptitle(
        printable(
            f"{title} · {codebooks[0].num_tokens:,} tokens per codebook{hidden}",
            width // 7,
        ),
        size=10,
        color=DARK,
        parse_math=False,
    )
    panels = figure.subplots(num_rows, num_columns, squeeze=False).flatten()
    for number, axes in enumerate(panels):
        if number < shown:
            _draw(axes, histograms[number], codebooks[number], number)
        else:
            axes.set_axis_off()
    return figure


def _draw(axes: "Axes", histogram: CodeHistogram, level: CodebookLevel, number: int) -> None:
    _write_title(axes, level, number)
    if not level.num_tokens:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "no tokens", transform=axes.transAxes, ha="center", color=GREY)
        return
    plain_axes(axes)
    counts = histogram.counts.sort(descending=True).values
    distinct, size = level.num_distinct, level.codebook_size
    uniform = level.num_tokens / size
    right = size if level.usage >= _LEAST_SHOWN_USAGE else min(size, math.ceil(1.25 * distinct))
    ranks = torch.linspace(0, distinct - 1, min(distinct, _MOST_POINTS)).round().long()
    # Each code is a bar from its rank to the next, so that the last one is seen too.
    edges = [*ranks.tolist(), distinct]
    heights = [*counts[ranks].tolist(), int(counts[-1])]
    floor = min(0.5, uniform / 2) if right == size else 0.5
    axes.set_yscale("log")
    axes.fill_between(edges, heights, floor, step="post", color=BLUE, alpha=0.25, linewidth=0)
    axes.step(edges, heights, where="post", color=BLUE, linewidth=1.6, label="tokens per code")
    if uniform >= floor:
        label = f"uniform: {_whole(round(uniform)) if uniform >= 100 else f'{uniform:.3g}'}"
        axes.axhline(uniform, color=DARK, linewidth=1.2, linestyle=(0, (5, 3)), label=label)
    if level.num_dead:
        label = f"unused codes: {_whole(level.num_dead)}"
        axes.axvspan(
            distinct, right, facecolor="white", edgecolor=VERMILION, hatch="///", linewidth=0,
            alpha=0.55, label=label,
        )  # fmt: skip
    axes.set_xlim(0, right)
    axes.set_ylim(floor, max(10, 2 * heights[0]))
    cut = "" if right == size else f" (first {right:,} of {_whole(size)})"
    axes.set_xlabel(f"codes, most frequent first{cut}", size=8, color=DARK)
    axes.set_ylabel("tokens per code", size=8, color=DARK)
    axes.legend(fontsize=7.5, frameon=True, framealpha=0.9, edgecolor="none", loc="upper right")


def _write_title(axes: "Axes", level: CodebookLevel, number: int) -> None:
    title = f"codebook {number + 1} · size {_whole(level.codebook_size)}"
    if level.num_tokens:
        title += (
            f" · perplexity {_perplexity(level)} · {level.entropy_bits:.2f} of "
            f"{math.log2(level.codebook_size):.4g} bits\n"
            f"usage {100 * level.usage:.4g} % (uniform {100 * level.uniform_usage:.4g} %)"
        )
    axes.set_title(title, size=8, color=DARK, loc="left")


def _perplexity(level: CodebookLevel) -> str:
    return f"{level.perplexity:.1f}" if level.perplexity < 100 else _whole(round(level.perplexity))


def _whole(number: int) -> str:
    """Digits while they can be read, a power of ten beyond."""
    return f"{number:,}" if number < 10**9 else f"{number:.3g}"
