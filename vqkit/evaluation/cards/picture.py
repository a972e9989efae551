"""The cards as one picture: a panel per source."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vqkit.errors import ConfigError
from vqkit.evaluation.cards.measure import Quality
from vqkit.evaluation.cards.report import Cards
from vqkit.evaluation.drawing import BLUE, DARK, GREY, ORANGE, VERMILION, new_figure, plain_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_cards"]

_COLUMNS = 3
_ROW_PIXELS = 15


def draw_cards(cards: Cards) -> "Figure":
    """Bars of the gap to the bound, the least on top, with the use of the codes beside each.

    Raises:
        ConfigError: There are no results.
    """
    panels = [(source, cards.of(source.name)) for source in cards.sources]
    panels = [(source, qualities) for source, qualities in panels if qualities]
    if not panels:
        raise ConfigError("Drawing quantizer cards failed: expected a result, got none.")
    num_columns = min(_COLUMNS, len(panels))
    num_rows = -(-len(panels) // num_columns)
    most = max(len(qualities) for _, qualities in panels)
    figure = new_figure(370 * num_columns, (90 + _ROW_PIXELS * most) * num_rows)
    grid = figure.subplots(num_rows, num_columns, squeeze=False).flatten()
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    for axes, (source, qualities) in zip(grid, panels, strict=False):
        _draw(axes, qualities)
        bound = {"exact": "R(D)", "lower": "the lower bound", "upper": "the Gaussian upper bound"}
        axes.set_title(f"{source.name}: gap to {bound[source.bound]}", size=9, color=DARK)
    return figure


def _draw(axes: "Axes", qualities: Sequence[Quality]) -> None:
    plain_axes(axes)
    axes.grid(False, axis="y")
    places = range(len(qualities))
    gaps = [quality.gap_db for quality in qualities]
    colors = [ORANGE if quality.is_projected else BLUE for quality in qualities]
    axes.barh(places, gaps, height=0.7, color=colors)
    right = max(*gaps, 0.1) * 1.32
    for place, quality in zip(places, qualities, strict=True):
        low = quality.relative_usage < 0.9
        axes.annotate(
            f"{quality.gap_db:.2f}  ({quality.relative_usage:.0%})",
            (max(quality.gap_db, 0.0), place),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            size=7,
            color=VERMILION if low else GREY,
        )
    axes.set_yticks(places, [quality.quantizer for quality in qualities], size=7.5)
    axes.invert_yaxis()
    axes.set_xlim(min(*gaps, 0.0), right)
    axes.set_xlabel("dB (use of the codes); orange: between linear layers", size=7.5, color=DARK)
