"""The items of a report that are worth a look."""

from vqkit.evaluation.item import ItemResult
from vqkit.evaluation.report import Report

__all__ = ["extremes"]


def extremes(report: Report, metric: str = "mel_distance") -> dict[str, ItemResult]:
    """The items of the worst, the median and the best score; fewer where there are fewer.

    Raises:
        ConfigError: there is no such metric.
    """
    ranked = report.ranked(metric)
    if not ranked:
        return {}
    chosen = {"worst": 0, "best": len(ranked) - 1, "median": len(ranked) // 2}
    places: dict[int, str] = {}
    for word, place in chosen.items():
        places.setdefault(place, word)
    return {word: ranked[place] for place, word in sorted(places.items())}
