"""The result of an evaluation: what was measured, on what, how, and with what."""

import itertools
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from vqkit.errors import ConfigError
from vqkit.evaluation.environment import Environment
from vqkit.evaluation.item import ItemFailure, ItemResult, Picture
from vqkit.evaluation.output import write_output
from vqkit.evaluation.statistics import MetricSummary, summarise
from vqkit.metrics.codebook import (
    CodebookLevel,
    CodeHistogram,
    bitrate_efficiency,
    codebook_level,
    merge_rows,
)
from vqkit.metrics.image import psnr_from_error
from vqkit.metrics.rate import RateTotals

__all__ = ["REPORT_FILE", "Report", "Setting", "plain"]

REPORT_FILE = "report.json"
_RATES = (
    "nominal_bits_per_pixel",
    "entropy_bits_per_pixel",
    "prior_bits_per_token",
    "actual_bits_per_pixel",
)
_FORMAT, _FORMAT_VERSION = "vqkit evaluation report", 1

DEFINITIONS = {
    "media": "both pictures clipped to [-1, 1] and rounded to 8 bits; quality and rate are those "
    "of the token file, decoded from its bytes",
    "mean": "mean over images of each image's value",
    "psnr": "10 log10(4 / MSE) in dB, MSE over all channels and pixels of an image, at most 100",
    "psnr_pooled": "the same of the squared error over all values of all images",
    "ssim": "Wang et al. 2004: Gaussian window 11 x 11, sigma 1.5, K1 0.01, K2 0.03, windows "
    "inside the picture, mean over channels; from 11 pixels a side",
    "ms_ssim": "Wang et al. 2003: five scales, mean over channels; from 161 pixels a side",
    "nominal_bits_per_pixel": "log2 of the codebook's size for every token",
    "entropy_bits_per_pixel": "empirical entropy of order 0 of each image's tokens, codebook by "
    "codebook, without any table or header",
    "prior_bits_per_token": "-log2 of the probability that the model's prior gives the tokens",
    "actual_bits_per_pixel": "bytes of the token file, header and checksums included",
    "rate": "sums over all images, ratios of the sums",
    "uniform_usage": "1 - (1 - 1/K)^T, the usage of a uniform source over T tokens and K codes",
    "time": "encode: pixels to the bytes of a file, decode: bytes to pixels, after one unmeasured "
    "round; sums over processes, images per second of one process",
    "confidence_95": "mean -/+ Student's t times the standard error",
}
"""What the numbers of a report mean, written into each."""


@dataclass(frozen=True)
class Setting:
    """What was evaluated on what; numbers of different settings do not compare."""

    dataset: str
    resize: str
    """How pictures were resized before; "none" for their own size."""
    crop: str
    """How pictures were cropped before; "none" for whole pictures."""
    lpips: str | None
    """The perceptual metric and its weights."""
    lpips_reason: str | None
    """Why there is none."""
    tokenizer: Mapping[str, Any]
    """The tokenizer's specification: name, fingerprint, codebook sizes, strides."""


@dataclass(frozen=True, eq=False)
class Report:
    """Everything that an evaluation found; means and rates are derived from the images' rows.

    ``items`` and ``failures`` are sorted by name, so that a report does not depend on how the
    images were spread over processes.
    """

    setting: Setting
    environment: Environment
    items: tuple[ItemResult, ...]
    failures: tuple[ItemFailure, ...]
    codebooks: tuple[CodebookLevel, ...]
    wall_seconds: float
    histograms: tuple[CodeHistogram, ...] = field(default=(), repr=False)
    """Counts behind ``codebooks``; not kept in files."""
    pictures: tuple[Picture, ...] = field(default=(), repr=False)
    """The first ``max_pictures`` images by name, small; not kept in files."""
    max_pictures: int = 0

    @property
    def metrics(self) -> dict[str, MetricSummary]:
        """Mean over images, standard error and 95 % interval of each metric."""
        summaries = {
            name: summarise(getattr(item, name) for item in self.items)
            for name in ("psnr", "ssim", "ms_ssim")
        }
        reason = self.setting.lpips_reason
        summaries["lpips"] = summarise((item.lpips for item in self.items), reason)
        for name in _RATES:
            summaries[name] = summarise(getattr(item, name) for item in self.items)
        return summaries

    @property
    def psnr_pooled(self) -> float | None:
        """PSNR in dB of the squared error over all values of all images."""
        sizes = [item.channels * item.num_pixels for item in self.items]
        if not sizes:
            return None
        pairs = zip(self.items, sizes, strict=True)
        error = math.fsum(item.mean_squared_error * size for item, size in pairs) / sum(sizes)
        return float(psnr_from_error(torch.tensor(error, dtype=torch.float64)))

    @property
    def rate(self) -> RateTotals:
        """Bits, bytes and pixels over the set."""
        return RateTotals(
            math.fsum(item.nominal_bits for item in self.items),
            sum(item.size_bytes for item in self.items),
            sum(item.overhead_bytes for item in self.items),
            sum(item.num_pixels for item in self.items),
        )

    @property
    def entropy_bits(self) -> float | None:
        """What the tokens need by the frequencies of each image's own; None in older reports."""
        return _total(item.entropy_bits for item in self.items)

    @property
    def prior_bits(self) -> float | None:
        """Information of all tokens by the model's prior; None where it has none."""
        return _total(item.prior_bits for item in self.items)

    @property
    def encode_seconds(self) -> float:
        """Seconds of encoding, summed over images (and so over processes)."""
        return math.fsum(item.encode_seconds for item in self.items)

    @property
    def decode_seconds(self) -> float:
        """Seconds of decoding, summed over images (and so over processes)."""
        return math.fsum(item.decode_seconds for item in self.items)

    def to_dict(self) -> dict[str, Any]:
        """The content of ``report.json``: plain JSON types, every number finite or None."""
        setting, rate, num_items = asdict(self.setting), self.rate, len(self.items)
        content = {
            "format": _FORMAT,
            "version": _FORMAT_VERSION,
            "dataset": {
                "name": self.setting.dataset,
                "num_images": num_items,
                "num_failures": len(self.failures),
                "resize": self.setting.resize,
                "crop": self.setting.crop,
                "pixel_range": [-1, 1],
            },
            "tokenizer": setting["tokenizer"],
            "lpips": {"metric": self.setting.lpips, "reason": self.setting.lpips_reason},
            "environment": asdict(self.environment),
            "definitions": DEFINITIONS,
            "metrics": {name: asdict(summary) for name, summary in self.metrics.items()},
            "psnr_pooled": self.psnr_pooled,
            "rate": {
                **asdict(rate),
                "entropy_bits": self.entropy_bits,
                "prior_bits": self.prior_bits,
                "nominal_bits_per_pixel": rate.nominal_bits_per_pixel,
                "entropy_bits_per_pixel": _ratio(self.entropy_bits, rate.num_pixels),
                "actual_bits_per_pixel": rate.actual_bits_per_pixel,
                "overhead_share": rate.overhead_share,
            },
            "codebooks": {
                "levels": [asdict(level) for level in self.codebooks],
                "bitrate_efficiency": bitrate_efficiency(self.codebooks),
            },
            "time": {
                "wall_seconds": self.wall_seconds,
                "encode_seconds": self.encode_seconds,
                "decode_seconds": self.decode_seconds,
                "encoded_images_per_second": _ratio(num_items, self.encode_seconds),
                "decoded_images_per_second": _ratio(num_items, self.decode_seconds),
            },
            "images": [
                {
                    **asdict(item),
                    "nominal_bits_per_pixel": item.nominal_bits_per_pixel,
                    "entropy_bits_per_pixel": item.entropy_bits_per_pixel,
                    "prior_bits_per_token": item.prior_bits_per_token,
                    "actual_bits_per_pixel": item.actual_bits_per_pixel,
                }
                for item in self.items
            ],
            "failures": [asdict(failure) for failure in self.failures],
        }
        document: dict[str, Any] = plain(content)
        return document

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write ``report.json`` into a folder, whole or not at all; return its path.

        The folder is made if need be; an older report in it is replaced.

        Raises:
            VqkitError: the file system refuses.
        """
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
        return write_output(folder, REPORT_FILE, f"{text}\n".encode())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Report":
        """Read a report from its file or the folder of it, without histograms and pictures.

        Raises:
            ConfigError: there is no report, or one of another format.
        """
        path = Path(path)
        if path.is_dir():
            path = path / REPORT_FILE
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if (content["format"], content["version"]) != (_FORMAT, _FORMAT_VERSION):
                raise ConfigError(
                    f"Reading a report failed: expected version {_FORMAT_VERSION}, got "
                    f"{content['version']!r} ({path}). Use the vqkit that wrote it."
                )
            return cls._from_dict(content)
        except OSError as error:
            raise ConfigError(
                f"Reading a report failed: {error.strerror} ({path}). Evaluate a model first."
            ) from error
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError, UnicodeError) as error:
            raise ConfigError(
                f"Reading a report failed: expected a {REPORT_FILE} of vqkit, got "
                f"{type(error).__name__}: {error} ({path}). Evaluate the model again."
            ) from error

    @classmethod
    def merge(cls, reports: Sequence["Report"]) -> "Report":
        """Put the parts of one evaluation together, exactly as if done in one process.

        Raises:
            ConfigError: the parts differ in setting, share an image, or have lost their counts.
        """
        if not reports:
            raise ConfigError("Merging reports failed: expected at least one, got none.")
        first = reports[0]
        for other in reports[1:]:
            if other.setting != first.setting:
                raise ConfigError(
                    "Merging reports failed: expected one data set, tokenizer and setting, got "
                    f"{first.setting} and {other.setting}. Merge the parts of one evaluation."
                )
        names = sorted(item.name for report in reports for item in report.items)
        for name, following in itertools.pairwise(names):
            if name == following:
                raise ConfigError(
                    f"Merging reports failed: expected every image once, got {name!r} in two "
                    "parts. Spread the images without repeating any, e.g. images[rank::num_ranks]."
                )
        if any(len(report.histograms) != len(report.codebooks) for report in reports):
            raise ConfigError(
                "Merging reports failed: expected the counts of the codes, got a report that was "
                "read from a file. Merge before saving."
            )
        histograms = tuple(
            CodeHistogram.from_rows(parts[0].codebook_size, merge_rows([p.rows() for p in parts]))
            for parts in zip(*(report.histograms for report in reports), strict=True)
        )
        return cls(
            setting=first.setting,
            environment=replace(
                first.environment,
                date=min(report.environment.date for report in reports),
                num_processes=sum(report.environment.num_processes for report in reports),
            ),
            items=_sorted_by_name(report.items for report in reports),
            failures=_sorted_by_name(report.failures for report in reports),
            codebooks=tuple(map(codebook_level, histograms)),
            wall_seconds=max(report.wall_seconds for report in reports),
            histograms=histograms,
            pictures=_sorted_by_name(report.pictures for report in reports)[: first.max_pictures],
            max_pictures=first.max_pictures,
        )

    def gather(self) -> "Report":
        """Merge the reports of all ranks; every rank gets the whole. Alone it is this report.

        Raises:
            ConfigError: as :meth:`merge`.
        """
        if not (dist.is_available() and dist.is_initialized()):
            return self
        reports: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(reports, self)
        return self.merge(reports)

    @classmethod
    def _from_dict(cls, content: Mapping[str, Any]) -> "Report":
        dataset, levels = content["dataset"], content["codebooks"]["levels"]
        return cls(
            setting=Setting(
                dataset=dataset["name"],
                resize=dataset["resize"],
                crop=dataset["crop"],
                lpips=content["lpips"]["metric"],
                lpips_reason=content["lpips"]["reason"],
                tokenizer=content["tokenizer"],
            ),
            environment=Environment(**content["environment"]),
            items=tuple(_pick(ItemResult, row) for row in content["images"]),
            failures=tuple(_pick(ItemFailure, row) for row in content["failures"]),
            codebooks=tuple(
                _pick(CodebookLevel, {k: math.nan if v is None else v for k, v in level.items()})
                for level in levels
            ),
            wall_seconds=content["time"]["wall_seconds"],
        )


def _sorted_by_name(parts: Any) -> tuple[Any, ...]:
    return tuple(sorted((item for part in parts for item in part), key=lambda item: item.name))


def _pick(kind: type[Any], row: Mapping[str, Any]) -> Any:
    """A dataclass from the entries of a row that it holds, without those older reports lack."""
    names = (e.name for e in fields(kind) if e.name in row or e.default is MISSING)
    return kind(**{name: row[name] for name in names})


def _total(values: Iterable[float | None]) -> float | None:
    """Their sum if all are known."""
    listed = [*values]
    known = [value for value in listed if value is not None]
    return math.fsum(known) if len(known) == len(listed) else None


def _ratio(amount: float | None, divisor: float) -> float | None:
    return amount / divisor if amount is not None and divisor else None


def plain(value: Any) -> Any:
    """Lists for tuples, None for numbers that are not finite."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
