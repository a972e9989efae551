"""A report as a JSON document, and its parts read back from one."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqkit.errors import ConfigError
from vqkit.evaluation.environment import Environment
from vqkit.evaluation.item import ItemFailure, ItemResult, LevelResult
from vqkit.evaluation.media_kind import CLIPS
from vqkit.evaluation.rate_curve import RateCurve
from vqkit.evaluation.table_health import TableHealth
from vqkit.metrics.codebook import CodebookLevel

if TYPE_CHECKING:
    from vqkit.evaluation.report import Report

__all__ = ["check_version", "of_report", "parts_of", "plain"]

_FORMAT, _FORMAT_VERSION = "vqkit evaluation report", 2

_DEFINITIONS = {
    "media": "quality and rate are those of the token file, decoded from its bytes",
    "mean": "mean over items of each item's value",
    "pooled": "of the set as one: PSNR of the squared error over all values of all images or "
    "clips, errors per word over all words",
    "digest": "SHA-256 over the sorted digests of the items; that of an item is over its values as "
    "float32 and its size",
    "nominal": "log2 of the codebook's size for every token",
    "entropy": "empirical entropy of order 0 of each item's tokens, codebook by codebook, without "
    "any table or header",
    "prior": "-log2 of the probability that the model's prior gives the tokens",
    "actual": "bytes of the token file, header and checksums included",
    "rate": "sums over all items, ratios of the sums; per pixel of images and of all frames of "
    "clips, per second of sounds and clips",
    "series": "of clips, frame by frame: scores of frames, or of frames and the ones before them "
    "(one fewer); entropy_bits of latent frames, by the frequencies of the clip's own tokens",
    "payload_bytes": "what a codec codes, without container and without what x264 says of itself",
    "uniform_usage": "1 - (1 - 1/K)^T, the usage of a uniform source over T tokens and K codes",
    "num_distinct": "vectors of a table that are no near-copy of another (vqkit.metrics."
    "twin_vectors)",
    "levels": "the first codebooks of a residual quantizer alone, each from a file of its own",
    "time": "encode: values to the bytes of a file, decode: bytes to values, after one unmeasured "
    "round; sums over processes, items per second of one process",
    "confidence_95": "mean -/+ Student's t times the standard error",
}
"""What the numbers of a report mean, written into each beside the metrics' own definitions."""


def of_report(report: "Report") -> dict[str, Any]:
    """The whole content of ``report.json``, every number finite or None."""
    setting = report.setting
    content = {
        "format": _FORMAT,
        "version": _FORMAT_VERSION,
        "modality": setting.modality,
        "dataset": {
            "name": setting.dataset,
            "digest": report.digest,
            "num_items": len(report.items),
            "num_failures": len(report.failures),
        },
        "tokenizer": setting.tokenizer,
        "quality": setting.quality,
        "environment": asdict(report.environment),
        "definitions": _DEFINITIONS,
        "measured": [asdict(metric) for metric in setting.metrics],
        "metrics": {name: asdict(summary) for name, summary in report.metrics.items()},
        "pooled": report.pooled,
        "rate": _rate(report),
        "codebooks": {
            "levels": [asdict(level) for level in report.codebooks],
            "bitrate_efficiency": report.bitrate_efficiency,
            "tables": [_table(table) for table in report.tables],
        },
        "levels": None if report.levels is None else asdict(report.levels),
        "references": [asdict(curve) for curve in report.references],
        "time": _time(report),
        "items": [_item(item, report.kind.unit) for item in report.items],
        "failures": [asdict(failure) for failure in report.failures],
    }
    document: dict[str, Any] = plain(content)
    return document


def check_version(content: Mapping[str, Any], path: Path) -> None:
    """Refuse a document of another version.

    Raises:
        ConfigError: It is one.
    """
    if (content["format"], content["version"]) != (_FORMAT, _FORMAT_VERSION):
        raise ConfigError(
            f"Reading a report failed: expected version {_FORMAT_VERSION}, got "
            f"{content['version']!r} ({path}). Use the vqkit that wrote it."
        )


def parts_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """What a report is made of again, but for its setting."""
    codebooks = content["codebooks"]
    return {
        "environment": Environment(**content["environment"]),
        "items": tuple(map(_item_of, content["items"])),
        "failures": tuple(ItemFailure(**row) for row in content["failures"]),
        "codebooks": tuple(map(_level_of, codebooks["levels"])),
        "tables": tuple(
            TableHealth(
                table["name"], table["num_codes"], table["dim"], (), table["num_twins"], None
            )
            for table in codebooks["tables"]
        ),
        "references": tuple(map(RateCurve.from_dict, content["references"])),
    }


def plain(value: Any) -> Any:
    """Lists for tuples, None for numbers that are not finite."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _rate(report: "Report") -> dict[str, Any]:
    rate, unit = report.rate, report.kind.unit
    of_clips = {
        "frames": report.num_frames,
        "seconds": report.seconds,
        "actual_bits_per_second": report.bits_per_second,
    }
    return {
        "nominal_bits": rate.nominal_bits,
        "size_bytes": rate.size_bytes,
        "overhead_bytes": rate.overhead_bytes,
        f"{unit}s": rate.extent,
        "entropy_bits": report.entropy_bits,
        "prior_bits": report.prior_bits,
        f"nominal_bits_per_{unit}": rate.nominal_rate,
        f"entropy_bits_per_{unit}": _ratio(report.entropy_bits, rate.extent),
        f"actual_bits_per_{unit}": rate.actual_rate,
        "overhead_share": rate.overhead_share,
        **(of_clips if report.kind is CLIPS else {}),
    }


def _time(report: "Report") -> dict[str, Any]:
    num_items, extent, unit = len(report.items), report.rate.extent, report.kind.unit
    return {
        "wall_seconds": report.wall_seconds,
        "encode_seconds": report.encode_seconds,
        "decode_seconds": report.decode_seconds,
        "encoded_items_per_second": _ratio(num_items, report.encode_seconds),
        "decoded_items_per_second": _ratio(num_items, report.decode_seconds),
        f"encoded_{unit}s_per_second": _ratio(extent, report.encode_seconds),
        f"decoded_{unit}s_per_second": _ratio(extent, report.decode_seconds),
        **(_frames_per_second(report) if report.kind is CLIPS else {}),
    }


def _frames_per_second(report: "Report") -> dict[str, Any]:
    spent = {"encoded": report.encode_seconds, "decoded": report.decode_seconds}
    return {
        f"{verb}_frames_per_second": _ratio(report.num_frames, seconds)
        for verb, seconds in spent.items()
    }


def _table(table: TableHealth) -> dict[str, Any]:
    return {
        "name": table.name,
        "num_codes": table.num_codes,
        "dim": table.dim,
        "num_twins": table.num_twins,
        "num_distinct": table.num_distinct,
    }


def _item(item: ItemResult, unit: str) -> dict[str, Any]:
    of_clips = {"seconds": item.seconds, "actual_bits_per_second": item.bits_per_second}
    series = {name: [_rounded(value) for value in values] for name, values in item.series.items()}
    return {
        **asdict(item),
        "series": series,
        f"nominal_bits_per_{unit}": item.nominal_rate,
        f"entropy_bits_per_{unit}": item.entropy_rate,
        "prior_bits_per_token": item.prior_bits_per_token,
        f"actual_bits_per_{unit}": item.actual_rate,
        **(of_clips if "frames" in item.size else {}),
    }


def _rounded(value: float | None) -> float | None:
    """Thousands of frames stand in a report: five digits of each are enough."""
    return None if value is None else float(f"{value:.5g}")


def _item_of(row: Mapping[str, Any]) -> ItemResult:
    known = {name: row[name] for name in ItemResult.__dataclass_fields__ if name != "series"}
    levels = tuple(LevelResult(**level) for level in row["levels"])
    # Reports of earlier versions have none.
    series = {name: tuple(values) for name, values in row.get("series", {}).items()}
    return ItemResult(**{**known, "levels": levels, "series": series})


def _level_of(row: Mapping[str, Any]) -> CodebookLevel:
    known: dict[str, Any] = {
        name: math.nan if value is None else value for name, value in row.items()
    }
    return CodebookLevel(**known)


def _ratio(amount: float, divisor: float) -> float | None:
    return amount / divisor if divisor else None
