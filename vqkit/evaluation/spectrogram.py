"""Spectrograms of a recording, of its reconstruction, and of what changed between them."""

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vqkit.evaluation.drawing import DARK, GREY, new_figure, png, printable
from vqkit.metrics import mel_distance, si_sdr
from vqkit.metrics.spectral import magnitude_blocks
from vqkit.shapes import Float

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["spectrogram_figure", "spectrogram_png"]

_WIDTH, _HEIGHT = 960, 720
# No more columns than a panel has pixels.
_NUM_COLUMNS = 800
_WINDOW_SECONDS = 0.032
_RANGE_DB = 80.0
_DIFFERENCE_DB = 20.0
# Steps of 2 dB, and of 1 dB with one in the middle: few colours make a small file.
_NUM_LEVELS, _NUM_DIFFERENCES = 40, 41
_NUM_COLORS = 256


def spectrogram_figure(
    original: Float[Tensor, "channels samples"],
    reconstruction: Float[Tensor, "..."],
    sample_rate_hz: int,
    *,
    name: str = "",
) -> "Figure":
    """Three panels over one time axis: original, reconstruction, and their ratio.

    Power in dB of the loudest place of both, 80 dB down; the third panel is the reconstruction's
    level less the original's, what is missing in orange and what was added in purple. Channels
    are averaged, and so are the frames that share a column of pixels.

    Args:
        original: audio in [-1, 1].
        reconstruction: of the same shape.
        sample_rate_hz: of both.
        name: what to call the recording.

    Raises:
        ShapeError: the shapes differ, there is no sample or a value is not finite.
    """
    from matplotlib import colormaps

    ratio = si_sdr(reconstruction[None], original[None]).item()
    distance = mel_distance(reconstruction[None], original[None], sample_rate_hz).item()
    before, after = _levels(original, reconstruction, sample_rate_hz)
    level_colours = colormaps["magma"].resampled(_NUM_LEVELS)
    difference_colours = colormaps["PuOr"].resampled(_NUM_DIFFERENCES)
    rows = [
        ("original", before, level_colours, (-_RANGE_DB, 0)),
        ("reconstruction", after, level_colours, (-_RANGE_DB, 0)),
        (
            "reconstruction less original",
            after - before,
            difference_colours,
            (-_DIFFERENCE_DB, _DIFFERENCE_DB),
        ),
    ]
    figure = new_figure(_WIDTH, _HEIGHT)
    panels: list[Axes] = figure.subplots(3, 1, sharex=True, sharey=True)
    seconds = original.shape[-1] / sample_rate_hz
    for axes, (title, decibels, colours, limits) in zip(panels, rows, strict=True):
        image = axes.imshow(
            decibels.T.numpy(),
            cmap=colours,
            vmin=limits[0],
            vmax=limits[1],
            extent=(0, seconds, 0, sample_rate_hz / 2000),
            origin="lower",
            aspect="auto",
            interpolation="nearest",
        )
        axes.set_title(title, loc="left", size=8.5, color=GREY)
        axes.set_ylabel("kHz", size=8, color=DARK)
        bar = figure.colorbar(image, ax=axes, pad=0.01)
        bar.set_label("dB", size=8, color=DARK)
        for labelled in (axes, bar.ax):
            labelled.tick_params(labelsize=8, color=GREY, labelcolor=DARK)
    panels[-1].set_xlabel("seconds", size=8, color=DARK)
    headline = _headline(name, seconds, sample_rate_hz, ratio, distance)
    figure.suptitle(headline, x=0.01, ha="left", size=9.5, color=DARK, parse_math=False)
    return figure


def spectrogram_png(
    original: Float[Tensor, "channels samples"],
    reconstruction: Float[Tensor, "..."],
    sample_rate_hz: int,
    *,
    name: str = "",
) -> bytes:
    """The figure of :func:`spectrogram_figure` as a PNG file, the same bytes for the same audio.

    Raises:
        ShapeError: the shapes differ, there is no sample or a value is not finite.
    """
    figure = spectrogram_figure(original, reconstruction, sample_rate_hz, name=name)
    return png(figure, _NUM_COLORS)


def _headline(name: str, seconds: float, sample_rate_hz: int, ratio: float, distance: float) -> str:
    shown_ratio = "original is silent" if math.isnan(ratio) else f"SI-SDR {ratio:.2f} dB"
    numbers = f"{seconds:.2f} s · {sample_rate_hz} Hz · {shown_ratio} · mel {distance:.3f}"
    return f"{printable(name, 60)} · {numbers}" if name else numbers


def _levels(original: Tensor, reconstruction: Tensor, sample_rate_hz: int) -> tuple[Tensor, Tensor]:
    """Both in dB of the loudest place, ``[columns, bins]``."""
    powers = [_power(audio, sample_rate_hz) for audio in (original, reconstruction)]
    loudest = max(power.max() for power in powers)
    # Two silent recordings have no loudest place.
    scale = loudest.clamp(min=torch.finfo(torch.float64).tiny)
    before, after = ((10 * (power / scale).log10()).clamp(min=-_RANGE_DB) for power in powers)
    return before, after


def _power(audio: Tensor, sample_rate_hz: int) -> Tensor:
    """Mean power over the channels and over the frames of each column."""
    window = max(4, 2 ** round(math.log2(_WINDOW_SECONDS * sample_rate_hz)))
    num_frames = max(audio.shape[-1], window // 2 + 1) // (window // 4) + 1
    num_columns = min(num_frames, _NUM_COLUMNS)
    columns = torch.arange(num_frames) * num_columns // num_frames
    total = torch.zeros(num_columns, window // 2 + 1, dtype=torch.float64)
    start = 0
    for block in magnitude_blocks(audio[None].detach().cpu().double(), window):
        power = block[0].square().mean(dim=0)
        total.index_add_(0, columns[start : start + len(power)], power)
        start += len(power)
    return total / columns.bincount()[:, None]
