"""What the pictures of a report share: colours that colour-blind readers tell apart, text, PNG."""

import io
import unicodedata
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "BLUE",
    "DARK",
    "GREEN",
    "GREY",
    "ORANGE",
    "VERMILION",
    "new_figure",
    "plain_axes",
    "png",
    "printable",
]

# The palette of Okabe and Ito (2008).
BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
DARK, GREY = "#222222", "#777777"

_RESOLUTION_DPI = 100
# Latin, Greek and Cyrillic: what the font that comes with matplotlib has whole.
_END_OF_FONT = 0x0530


def new_figure(width: int, height: int, *, constrained: bool = True) -> "Figure":
    """A figure of so many pixels, without pyplot and its global list of figures."""
    from matplotlib.figure import Figure

    size = (width / _RESOLUTION_DPI, height / _RESOLUTION_DPI)
    return Figure(
        figsize=size,
        dpi=_RESOLUTION_DPI,
        layout="constrained" if constrained else None,
        facecolor="white",
    )


def png(figure: "Figure", num_colors: int | None = None) -> bytes:
    """The figure as a PNG file, the same bytes for the same figure.

    Args:
        figure: What to write.
        num_colors: Size of a palette, for flat colours in a smaller file; None keeps all colours.
    """
    file = io.BytesIO()
    figure.savefig(
        file,
        format="png",
        dpi=figure.dpi,
        metadata={"Software": None},
        pil_kwargs={"optimize": True},
    )
    if num_colors is None:
        return file.getvalue()
    with Image.open(file) as opened:
        reduced = opened.convert("RGB").quantize(num_colors, dither=Image.Dither.NONE)
    file = io.BytesIO()
    reduced.save(file, format="png", optimize=True)
    return file.getvalue()


def plain_axes(axes: "Axes") -> None:
    """Light grid behind the data, no box, small grey numbers."""
    axes.grid(True, which="major", color="#DDDDDD", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(which="both", labelsize=8, color=GREY, labelcolor=DARK)


def printable(text: str, length: int) -> str:
    """Text cut to a length, from the middle, with "?" for what the font lacks."""
    shown = "".join(
        c if ord(c) < _END_OF_FONT and unicodedata.category(c)[0] not in "CM" else "?" for c in text
    )
    if len(shown) <= length:
        return shown
    head = (length - 1) // 2
    return f"{shown[:head]}…{shown[len(shown) - (length - 1 - head) :]}"
