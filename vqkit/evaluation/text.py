"""A report in a few lines of plain text."""

from collections import Counter
from collections.abc import Sequence

from vqkit.evaluation.media_kind import CLIPS, SOUNDS
from vqkit.evaluation.rate_curve import RateCurve
from vqkit.evaluation.report import Report
from vqkit.evaluation.statistics import MetricSummary
from vqkit.metrics import CodebookLevel

__all__ = ["codebook_rows", "table", "text_summary"]

_RATES = {
    "pixel": ("bits per pixel", 1.0, 4),
    "second": ("kbit/s", 1000.0, 3),
}
_MOST_LEVELS = 16
_MOST_FAILURES = 10


def text_summary(report: Report) -> str:
    """Quality, rate, codebook use, speed and failures as a plain table for a terminal."""
    sections = [_head(report), _quality(report), _codebooks(report), _speed(report)]
    curves = [curve for curve in (report.levels, *report.references) if curve is not None]
    if curves:
        sections.insert(2, _curves(report, curves))
    if report.failures:
        sections.append(_failures(report))
    return "\n\n".join("\n".join(lines) for lines in sections)


def _head(report: Report) -> list[str]:
    setting, environment = report.setting, report.environment
    versions = ", ".join(f"{k} {v}" for k, v in environment.versions.items() if v is not None)
    how = ", ".join(f"{k} {v}" for k, v in setting.quality.items())
    return [
        f"{setting.tokenizer.get('name', '')} ({setting.tokenizer.get('fingerprint', '')})",
        f"{setting.dataset} ({report.digest}): {len(report.items)} {report.kind.items}, "
        f"{len(report.failures)} failed",
        how,
        f"{environment.date}, {environment.device}, {environment.cpu}, "
        f"{environment.num_threads} threads, {environment.num_processes} process(es)",
        versions,
    ]


def _quality(report: Report) -> list[str]:
    unit, rate = report.kind.unit, report.rate
    words, scale, digits = _RATES[unit]
    shown = [(metric.name, metric.title, 1.0, metric.digits) for metric in report.setting.metrics]
    shown += [
        (f"nominal_bits_per_{unit}", f"{words}, nominal", scale, digits),
        (f"entropy_bits_per_{unit}", f"{words}, entropy", scale, digits),
        ("prior_bits_per_token", "bits per token, by the prior", 1.0, 4),
        (f"actual_bits_per_{unit}", f"{words}, of files", scale, digits),
    ]
    if report.kind is CLIPS:
        shown.append(("actual_bits_per_second", "kbit/s, of files", 1000.0, 3))
    rows: list[tuple[str, ...]] = [("", "mean", "95 % interval", report.kind.items)]
    remarks = [""]
    metrics = report.metrics
    for name, title, divisor, decimals in shown:
        rows.append((title, *_numbers(metrics[name], divisor, decimals)))
        remarks.append(_remark(report, name))
    lines_and_remarks = zip(table(rows), remarks, strict=True)
    lines = [f"{line}  {remark}".rstrip() for line, remark in lines_and_remarks]
    if report.items:
        pooled = "".join(
            f"{_pooled_words(name, value)}, "
            for name, value in report.pooled.items()
            if value is not None
        )
        lines.append(
            f"All {unit}s together: {pooled}{rate.actual_rate / scale:.{digits}f} {words} "
            f"({_of_seconds(report)}{rate.size_bytes:,} bytes, {rate.overhead_share:.1%} of them "
            "not tokens)"
        )
    return lines


def _of_seconds(report: Report) -> str:
    if report.kind is not CLIPS or report.bits_per_second is None:
        return ""
    return f"{report.bits_per_second / 1000:.3f} kbit/s, "


def _pooled_words(name: str, value: float) -> str:
    return f"{value:.2f} dB" if name == "psnr" else f"{name} {value:.2%}"


def _numbers(summary: MetricSummary, divisor: float, digits: int) -> tuple[str, str, str]:
    mean = "-" if summary.mean is None else f"{summary.mean / divisor:.{digits}f}"
    interval = "-"
    if summary.confidence_95 is not None:
        low, high = (bound / divisor for bound in summary.confidence_95)
        interval = f"{low:.{digits}f} to {high:.{digits}f}"
    return mean, interval, str(summary.count)


def _remark(report: Report, name: str) -> str:
    """Why a metric, or single items, have no number."""
    for metric in report.setting.metrics:
        if metric.name == name and metric.reason is not None:
            return metric.reason
    reasons = Counter(item.reasons[name] for item in report.items if name in item.reasons)
    return ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())


def _curves(report: Report, curves: Sequence[RateCurve]) -> list[str]:
    """Every point of every curve on the metrics that were measured."""
    words, scale, digits = _RATES[report.kind.unit]
    metrics = [metric for metric in report.setting.metrics if metric.reason is None]
    has_payload = any(point.payload_rate for curve in curves for point in curve.points)
    payload_title = ("without container",) if has_payload else ()
    rows = [("", report.kind.items, words, *payload_title, *(metric.title for metric in metrics))]
    for curve in curves:
        for point in curve.points:
            means = [
                _numbers(point.metrics[metric.name], 1.0, metric.digits)[0] for metric in metrics
            ]
            name = f"{curve.title}, {point.label}"
            rates = [f"{point.rate / scale:.{digits}f}"]
            if has_payload:
                payload = point.payload_rate
                rates.append("-" if payload is None else f"{payload / scale:.{digits}f}")
            rows.append((name, str(curve.num_items), *rates, *means))
    return table(rows)


def _codebooks(report: Report) -> list[str]:
    lines = codebook_rows(report.codebooks)
    if report.items:
        lines.append(f"Bitrate efficiency {report.bitrate_efficiency:.2%}")
    if report.tables:
        distinct = ", ".join(f"{t.num_distinct:,} of {t.num_codes:,}" for t in report.tables)
        lines.append(f"Distinct vectors: {distinct}")
    return lines


def codebook_rows(codebooks: Sequence[CodebookLevel]) -> list[str]:
    """The use of each codebook as lines of a table."""
    rows: list[tuple[str, ...]] = [
        ("codebook", "codes", "tokens", "usage", "uniform", "unused", "perplexity", "bits")
    ]
    for number, level in enumerate(codebooks[:_MOST_LEVELS], 1):
        rows.append(
            (
                str(number),
                f"{level.codebook_size:,}",
                f"{level.num_tokens:,}",
                f"{level.usage:.2%}",
                f"{level.uniform_usage:.2%}",
                f"{level.num_dead:,}",
                f"{level.perplexity:,.1f}",
                f"{level.entropy_bits:.2f}",
            )
        )
    lines = table(rows)
    if len(codebooks) > _MOST_LEVELS:
        lines.append(f"... and {len(codebooks) - _MOST_LEVELS} more codebooks")
    return lines


def _speed(report: Report) -> list[str]:
    if not report.items:
        return [f"No {report.kind.item} was evaluated."]
    spent = (("encoded", report.encode_seconds), ("decoded", report.decode_seconds))
    if report.kind is SOUNDS:
        amount, words = report.rate.extent, "times real time"
    elif report.kind is CLIPS:
        amount, words = report.num_frames, "frames/s"
    else:
        amount, words = len(report.items), f"{report.kind.items}/s"
    speeds = ", ".join(
        f"{amount / max(seconds, 1e-9):.1f} {words} {verb}" for verb, seconds in spent
    )
    return [f"{speeds} (per process), {report.wall_seconds:.1f} s in all"]


def _failures(report: Report) -> list[str]:
    lines = [f"{len(report.failures)} failed:"]
    lines += [f"  {f.name}: {f.error}: {f.message}" for f in report.failures[:_MOST_FAILURES]]
    if len(report.failures) > _MOST_FAILURES:
        lines.append(f"  ... and {len(report.failures) - _MOST_FAILURES} more, see the report")
    return lines


def table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Columns of text: the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return lines
