"""The pictures of a report as files."""

import os
from collections.abc import Sequence
from pathlib import Path

from vqkit.evaluation.codecs import CodecCurve
from vqkit.evaluation.drawing import png
from vqkit.evaluation.output import write_output
from vqkit.evaluation.rate_quality import rate_quality_figure
from vqkit.evaluation.reconstruction import reconstruction_png
from vqkit.evaluation.report import Report
from vqkit.evaluation.usage import usage_figure

__all__ = ["save_pictures"]


def save_pictures(
    report: Report, folder: str | os.PathLike[str], references: Sequence[CodecCurve] = ()
) -> tuple[Path, ...]:
    """Write ``reconstruction.png``, ``usage.png`` and ``rate_quality.png``; return their paths.

    What the report cannot show is left out: pictures that were not kept, counts that a report
    read from a file has lost, quality where every image failed.

    Raises:
        VqkitError: the file system refuses.
    """
    paths = []
    if report.pictures:
        paths.append(write_output(folder, "reconstruction.png", reconstruction_png(report)))
    if report.histograms:
        paths.append(write_output(folder, "usage.png", png(usage_figure(report))))
    if report.items:
        figure = rate_quality_figure(report, references)
        paths.append(write_output(folder, "rate_quality.png", png(figure)))
    return tuple(paths)
