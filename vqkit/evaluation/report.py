"""The result of an evaluation: what was measured, on what, how, and with what."""

import hashlib
import itertools
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from vqkit.errors import ConfigError
from vqkit.evaluation import document
from vqkit.evaluation.environment import Environment
from vqkit.evaluation.item import ItemFailure, ItemResult, Picture
from vqkit.evaluation.media_kind import CLIPS, MediaKind, kind_of
from vqkit.evaluation.output import write_output
from vqkit.evaluation.quality import Metric
from vqkit.evaluation.rate_curve import RateCurve, RatePoint
from vqkit.evaluation.statistics import MetricSummary, summarise
from vqkit.evaluation.table_health import TableHealth
from vqkit.metrics.codebook import (
    CodebookLevel,
    CodeHistogram,
    bitrate_efficiency,
    codebook_level,
    merge_rows,
)
from vqkit.metrics.image import psnr_from_error
from vqkit.metrics.rate import RateTotals

__all__ = ["REPORT_FILE", "Report", "Setting"]

REPORT_FILE = "report.json"


@dataclass(frozen=True)
class Setting:
    """What was evaluated on what; numbers of different settings do not compare."""

    dataset: str
    modality: str
    metrics: tuple[Metric, ...]
    """What was measured, and what could not be."""
    quality: Mapping[str, Any]
    """How: ranges, rates, what was done to the media before."""
    tokenizer: Mapping[str, Any]
    """The tokenizer's specification: name, fingerprint, codebook sizes, strides."""


@dataclass(frozen=True, eq=False)
class Report:
    """Everything that an evaluation found; means and rates are derived from the items' rows.

    ``items`` and ``failures`` are sorted by name, so that a report does not depend on how the
    media were spread over processes.
    """

    setting: Setting
    environment: Environment
    items: tuple[ItemResult, ...]
    failures: tuple[ItemFailure, ...]
    codebooks: tuple[CodebookLevel, ...]
    wall_seconds: float
    tables: tuple[TableHealth, ...] = ()
    """The vectors of the tokenizer's codebooks, where it has tables."""
    references: tuple[RateCurve, ...] = ()
    """Codecs of others on the same media, or on some of them."""
    histograms: tuple[CodeHistogram, ...] = field(default=(), repr=False)
    """Counts behind ``codebooks``; not kept in files."""
    pictures: tuple[Picture, ...] = field(default=(), repr=False)
    """The first ``max_pictures`` images by name, small; not kept in files."""
    max_pictures: int = 0

    @property
    def kind(self) -> MediaKind:
        """Words and units of its media."""
        return kind_of(self.setting.modality)

    @property
    def digest(self) -> str:
        """SHA-256 over the media, in whatever order and under whatever names: 32 hex digits."""
        digests = sorted(item.digest for item in self.items)
        return hashlib.sha256("".join(digests).encode()).hexdigest()[:32]

    @property
    def metrics(self) -> dict[str, MetricSummary]:
        """Mean over items, standard error and 95 % interval of each metric, then of the rates."""
        summaries = {
            metric.name: summarise(
                (item.scores.get(metric.name) for item in self.items), metric.reason
            )
            for metric in self.setting.metrics
        }
        unit = self.kind.unit
        rates: dict[str, list[float | None]] = {
            f"nominal_bits_per_{unit}": [item.nominal_rate for item in self.items],
            f"entropy_bits_per_{unit}": [item.entropy_rate for item in self.items],
            "prior_bits_per_token": [item.prior_bits_per_token for item in self.items],
            f"actual_bits_per_{unit}": [item.actual_rate for item in self.items],
        }
        if self.kind is CLIPS:
            rates["actual_bits_per_second"] = [item.bits_per_second for item in self.items]
        return summaries | {name: summarise(values) for name, values in rates.items()}

    @property
    def pooled(self) -> dict[str, float | None]:
        """Metrics of the set as one: PSNR of all pixels together, errors per word of all words."""
        found: dict[str, float | None] = {}
        if "psnr" in self._metric_names:
            sizes = [item.size["channels"] * item.extent for item in self.items]
            error = self._weighted_mean("mean_squared_error", sizes)
            found["psnr"] = None if error is None else float(_psnr(error))
        if "word_error_rate" in self._metric_names:
            words = [item.scores.get("num_words") or 0.0 for item in self.items]
            for name in ("word_error_rate", "word_error_rate_original"):
                found[name] = self._weighted_mean(name, words)
        return found

    @property
    def rate(self) -> RateTotals:
        """Bits, bytes and pixels or seconds over the set."""
        return RateTotals(
            math.fsum(item.nominal_bits for item in self.items),
            sum(item.size_bytes for item in self.items),
            sum(item.overhead_bytes for item in self.items),
            math.fsum(item.extent for item in self.items),
        )

    @property
    def seconds(self) -> float | None:
        """Of all items together; None where one of them has none, or nobody knows."""
        known = [item.seconds for item in self.items if item.seconds is not None]
        return math.fsum(known) if known and len(known) == len(self.items) else None

    @property
    def bits_per_second(self) -> float | None:
        """Bits of all files over the seconds of all items; None where these are not known."""
        return 8 * self.rate.size_bytes / self.seconds if self.seconds else None

    @property
    def num_frames(self) -> int:
        """Of all clips together."""
        return sum(item.size.get("frames", 0) for item in self.items)

    @property
    def entropy_bits(self) -> float:
        """What the tokens need by the frequencies of each item's own."""
        return math.fsum(item.entropy_bits for item in self.items)

    @property
    def prior_bits(self) -> float | None:
        """Information of all tokens by the model's prior; None where it has none."""
        bits = [item.prior_bits for item in self.items if item.prior_bits is not None]
        return math.fsum(bits) if len(bits) == len(self.items) else None

    @property
    def bitrate_efficiency(self) -> float:
        """Entropy of the codes over the bits that are paid for them, all codebooks together."""
        return bitrate_efficiency(self.codebooks)

    @property
    def levels(self) -> RateCurve | None:
        """Quality and rate of the first codebooks alone; None where they were not measured."""
        if not self.items or not self.items[0].levels:
            return None
        extent = self.rate.extent
        points = []
        for number, level in enumerate(self.items[0].levels):
            rows = [item.levels[number] for item in self.items]
            words = "1 codebook" if level.num_codebooks == 1 else f"{level.num_codebooks} codebooks"
            points.append(
                RatePoint.of(
                    level.num_codebooks,
                    words,
                    [row.size_bytes for row in rows],
                    extent,
                    [row.scores for row in rows],
                    self.setting.metrics,
                )
            )
        title = str(self.setting.tokenizer.get("name", "")) or "the model"
        return RateCurve("levels", title, tuple(points), len(self.items))

    @property
    def encode_seconds(self) -> float:
        """Seconds of encoding, summed over items (and so over processes)."""
        return math.fsum(item.encode_seconds for item in self.items)

    @property
    def decode_seconds(self) -> float:
        """Seconds of decoding, summed over items (and so over processes)."""
        return math.fsum(item.decode_seconds for item in self.items)

    def ranked(self, name: str) -> tuple[ItemResult, ...]:
        """The items that have a score, from the worst to the best.

        Raises:
            ConfigError: there is no such metric.
        """
        metrics = {metric.name: metric for metric in self.setting.metrics}
        if name not in metrics:
            raise ConfigError(f"Ranking: expected one of {', '.join(metrics)}, got {name!r}.")
        known = [
            (score, item) for item in self.items if (score := item.scores.get(name)) is not None
        ]
        known.sort(key=lambda pair: pair[0], reverse=not metrics[name].higher_is_better)
        return tuple(item for _, item in known)

    def to_dict(self) -> dict[str, Any]:
        """The content of ``report.json``: plain JSON types, every number finite or None."""
        return document.of_report(self)

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
            document.check_version(content, path)
            parts = document.parts_of(content)
            return cls(
                setting=Setting(
                    dataset=content["dataset"]["name"],
                    modality=content["modality"],
                    metrics=tuple(Metric(**row) for row in content["measured"]),
                    quality=content["quality"],
                    tokenizer=content["tokenizer"],
                ),
                wall_seconds=content["time"]["wall_seconds"],
                **parts,
            )
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
            ConfigError: the parts differ in setting, share an item, or have lost their counts.
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
                    f"Merging reports failed: expected every {first.kind.item} once, got {name!r} "
                    "in two parts. Spread them without repeating any, e.g. [rank::num_ranks]."
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
            tables=first.tables,
            references=first.references,
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

    @property
    def _metric_names(self) -> set[str]:
        return {metric.name for metric in self.setting.metrics}

    def _weighted_mean(self, name: str, weights: Iterable[float]) -> float | None:
        pairs = [
            (score, weight)
            for item, weight in zip(self.items, weights, strict=True)
            if (score := item.scores.get(name)) is not None
        ]
        total = math.fsum(weight for _, weight in pairs)
        return math.fsum(score * weight for score, weight in pairs) / total if total else None


def _psnr(error: float) -> torch.Tensor:
    return psnr_from_error(torch.tensor(error, dtype=torch.float64))


def _sorted_by_name(parts: Any) -> tuple[Any, ...]:
    return tuple(sorted((item for part in parts for item in part), key=lambda item: item.name))
