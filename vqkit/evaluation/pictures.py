"""The pictures of a report as files."""

import os
from collections.abc import Callable
from pathlib import Path

from vqkit.evaluation.drawing import png
from vqkit.evaluation.output import write_output
from vqkit.evaluation.over_time import over_time_figure
from vqkit.evaluation.ranking import extremes
from vqkit.evaluation.rate_quality import rate_quality_figure
from vqkit.evaluation.reconstruction import reconstruction_png
from vqkit.evaluation.report import Report
from vqkit.evaluation.spectrogram import spectrogram_png
from vqkit.evaluation.usage import usage_figure
from vqkit.media import Audio
from vqkit.tokenizers import Tokenizer

__all__ = ["save_pictures", "save_spectrograms"]


def save_pictures(report: Report, folder: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Write ``reconstruction.png``, ``usage.png`` and ``rate_quality.png``; return their paths.

    Of clips there is ``over_time.png`` in place of the first. What the report cannot show is left
    out: pictures that were not kept, counts that a report read from a file has lost, quality where
    every item failed.

    Raises:
        VqkitError: the file system refuses.
    """
    paths = []
    if report.pictures:
        paths.append(write_output(folder, "reconstruction.png", reconstruction_png(report)))
    if report.histograms:
        paths.append(write_output(folder, "usage.png", png(usage_figure(report))))
    if report.items:
        paths.append(write_output(folder, "rate_quality.png", png(rate_quality_figure(report))))
    if any(item.series.get("psnr") for item in report.items):
        paths.append(write_output(folder, "over_time.png", png(over_time_figure(report))))
    return tuple(paths)


def save_spectrograms(
    report: Report,
    folder: str | os.PathLike[str],
    tokenizer: Tokenizer,
    read: Callable[[str], Audio],
    metric: str = "mel_distance",
) -> tuple[Path, ...]:
    """Write ``spectrogram_worst.png``, ``_median.png`` and ``_best.png``; return their paths.

    Args:
        report: an evaluation of sounds with the tokenizer.
        folder: where to.
        tokenizer: encodes and decodes these three once more: a report keeps no sounds.
        read: gives a sound by the name that it has in the report.
        metric: what worst and best are by.

    Raises:
        ConfigError: there is no such metric.
        VqkitError: a sound cannot be read any more, or the file system refuses.
    """
    paths = []
    for word, item in extremes(report, metric).items():
        sound = read(item.name)
        tokens = tokenizer.encode([sound.samples], sample_rate_hz=sound.sample_rate_hz)
        decoded = tokenizer.decode(tokens)[0].cpu()
        picture = spectrogram_png(
            sound.samples, decoded, sound.sample_rate_hz, name=f"{word}: {Path(item.name).name}"
        )
        paths.append(write_output(folder, f"spectrogram_{word}.png", picture))
    return tuple(paths)
