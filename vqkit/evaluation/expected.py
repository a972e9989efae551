"""What a recipe promises in its ``expected.json``: made of a report, and held against another."""

from collections.abc import Mapping
from typing import Any

from vqkit.errors import ConfigError
from vqkit.evaluation.document import plain
from vqkit.evaluation.media_kind import CLIPS, SOUNDS
from vqkit.evaluation.rate_curve import RatePoint
from vqkit.evaluation.report import Report

__all__ = ["expected_document", "unexpected"]

_LEAST_TOLERANCE = 0.02
"""Of a value: what trainings on two machines differ by at least."""
_SHARE_TOLERANCE = 0.05
_DIGITS = 4


def expected_document(
    report: Report, *, recipe: str, command: str, minutes: float
) -> dict[str, Any]:
    """The content of an ``expected.json``: every number of the report that a recipe can promise.

    The tolerance of a metric is the half width of its 95 % interval, at least 2 % of the value: a
    beginning, to be widened by what several trainings give. Codecs of others are there as they
    were measured, without a tolerance.

    Args:
        report: of the recipe's model on its held-out set.
        recipe: ``<modality>/<name>``.
        command: what trained it.
        minutes: how long that took.
    """
    tolerances = _tolerances(report)
    content = {
        "recipe": recipe,
        "command": command,
        "hardware": _hardware(report),
        "minutes": minutes,
        "source": f"{len(report.items)} {report.kind.items} of {report.setting.dataset} "
        f"({report.digest}), each decoded from its token file",
        "metrics": {
            name: {"value": _rounded(value), "tolerance": _rounded(tolerances[name])}
            for name, value in _numbers(report).items()
        },
        "references": [
            {"codec": curve.name, "setting": point.label, **_point(report, point)}
            for curve in report.references
            for point in curve.points
        ],
    }
    document: dict[str, Any] = plain(content)
    return document


def unexpected(report: Report, expected: Mapping[str, Any]) -> tuple[str, ...]:
    """What is not as an ``expected.json`` says, a sentence each; empty where all is.

    Raises:
        ConfigError: it is no such document.
    """
    numbers = _numbers(report)
    found = []
    try:
        rows = {
            name: (float(row["value"]), float(row["tolerance"]))
            for name, row in expected["metrics"].items()
        }
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ConfigError(
            "Comparing with what is expected failed: expected metrics with value and tolerance, "
            f"got {type(error).__name__}: {error}. See vqkit report --expected."
        ) from error
    for name, (value, tolerance) in rows.items():
        got = numbers.get(name)
        if got is None:
            found.append(f"{name}: expected {value:g}, not in the report.")
        elif not abs(got - value) <= tolerance:
            found.append(f"{name}: expected {value:g} -/+ {tolerance:g}, got {got:.{_DIGITS}g}.")
    return tuple(found)


def _numbers(report: Report) -> dict[str, float]:
    """By flat names: metrics, the rate of the files, the use of the codebooks."""
    summaries = report.metrics
    found = {metric.name: summaries[metric.name].mean for metric in report.setting.metrics}
    if report.items:
        name, rate = _rate(report, report.rate.actual_rate)
        found[name] = rate
        if report.kind is CLIPS and report.bits_per_second is not None:
            found["kilobits_per_second_of_files"] = report.bits_per_second / 1000
        found["bitrate_efficiency"] = report.bitrate_efficiency
        found["lowest_usage"] = min(level.usage for level in report.codebooks)
    return {name: value for name, value in found.items() if value is not None}


def _tolerances(report: Report) -> dict[str, float]:
    summaries = report.metrics
    tolerances = {}
    for name, value in _numbers(report).items():
        if name in ("bitrate_efficiency", "lowest_usage"):
            tolerances[name] = _SHARE_TOLERANCE
            continue
        interval = summaries[name].confidence_95 if name in summaries else None
        half = 0.0 if interval is None else (interval[1] - interval[0]) / 2
        # No less than what rounding does to a value near 0.
        tolerances[name] = max(half, _LEAST_TOLERANCE * abs(value), 10.0**-_DIGITS)
    return tolerances


def _rate(report: Report, bits: float) -> tuple[str, float]:
    if report.kind is SOUNDS:
        return "kilobits_per_second_of_files", bits / 1000
    return "bits_per_pixel_of_files", bits


def _point(report: Report, point: RatePoint) -> dict[str, Any]:
    name, rate = _rate(report, point.rate)
    payload = {}
    if point.payload_rate is not None:
        bits = _rate(report, point.payload_rate)[1]
        payload = {name.replace("of_files", "without_container"): _rounded(bits)}
    means = {
        key: _rounded(summary.mean)
        for key, summary in point.metrics.items()
        if summary.mean is not None
    }
    return {name: _rounded(rate), **payload, "metrics": means}


def _hardware(report: Report) -> str:
    environment = report.environment
    torch = environment.versions.get("torch")
    threads = "1 thread" if environment.num_threads == 1 else f"{environment.num_threads} threads"
    return f"{environment.cpu}, {threads}; torch {torch} on {environment.device}"


def _rounded(value: float) -> float:
    return round(value, _DIGITS)
