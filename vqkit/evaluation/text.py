"""A report in a few lines of plain text."""

from collections.abc import Sequence

from vqkit.evaluation.report import Report
from vqkit.evaluation.statistics import MetricSummary
from vqkit.metrics import CodebookLevel

__all__ = ["codebook_rows", "table", "text_summary"]

_METRICS = (
    ("psnr", "PSNR in dB", 2),
    ("ssim", "SSIM", 4),
    ("ms_ssim", "MS-SSIM", 4),
    ("lpips", "LPIPS", 4),
    ("nominal_bits_per_pixel", "bits per pixel, nominal", 4),
    ("entropy_bits_per_pixel", "bits per pixel, entropy", 4),
    ("prior_bits_per_token", "bits per token, by the prior", 4),
    ("actual_bits_per_pixel", "bits per pixel, of files", 4),
)
_MOST_LEVELS = 16
_MOST_FAILURES = 10


def text_summary(report: Report) -> str:
    """Quality, rate, codebook use, speed and failures as a plain table for a terminal."""
    sections = [_head(report), _quality(report), _codebooks(report), _speed(report)]
    if report.failures:
        sections.append(_failures(report))
    return "\n\n".join("\n".join(lines) for lines in sections)


def _head(report: Report) -> list[str]:
    setting, environment = report.setting, report.environment
    versions = ", ".join(f"{k} {v}" for k, v in environment.versions.items() if v is not None)
    return [
        f"{setting.tokenizer.get('name', '')} ({setting.tokenizer.get('fingerprint', '')})",
        f"{setting.dataset}: {len(report.items)} images, {len(report.failures)} failed; "
        f"resize {setting.resize}, crop {setting.crop}",
        f"{environment.date}, {environment.device}, {environment.cpu}, "
        f"{environment.num_threads} threads, {environment.num_processes} process(es)",
        versions,
    ]


def _quality(report: Report) -> list[str]:
    rows: list[tuple[str, ...]] = [("", "mean", "95 % interval", "images")]
    remarks = [""]
    metrics, rate = report.metrics, report.rate
    for name, title, digits in _METRICS:
        rows.append((title, *_numbers(metrics[name], digits)))
        remarks.append(_remark(metrics[name]))
    lines_and_remarks = zip(table(rows), remarks, strict=True)
    lines = [f"{line}  {remark}".rstrip() for line, remark in lines_and_remarks]
    if report.items:
        lines.append(
            f"All pixels together: {report.psnr_pooled:.2f} dB at "
            f"{rate.actual_bits_per_pixel:.4f} bits per pixel ({rate.size_bytes:,} bytes, "
            f"{rate.overhead_share:.1%} of them not tokens)"
        )
    return lines


def _numbers(summary: MetricSummary, digits: int) -> tuple[str, str, str]:
    mean = "-" if summary.mean is None else f"{summary.mean:.{digits}f}"
    interval = "-"
    if summary.confidence_95 is not None:
        low, high = summary.confidence_95
        interval = f"{low:.{digits}f} to {high:.{digits}f}"
    return mean, interval, str(summary.count)


def _remark(summary: MetricSummary) -> str:
    if summary.mean is None and summary.reason is not None:
        return summary.reason
    return f"{summary.num_skipped} too small" if summary.num_skipped else ""


def _codebooks(report: Report) -> list[str]:
    return codebook_rows(report.codebooks)


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
        return ["No image was evaluated."]
    encoded = len(report.items) / max(report.encode_seconds, 1e-9)
    decoded = len(report.items) / max(report.decode_seconds, 1e-9)
    return [
        f"{encoded:.1f} images/s encoded, {decoded:.1f} images/s decoded (per process), "
        f"{report.wall_seconds:.1f} s in all"
    ]


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
