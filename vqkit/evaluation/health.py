"""The health of codebooks: how they are used, what they hold twice, how far they drifted."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vqkit.errors import ConfigError
from vqkit.evaluation.document import plain
from vqkit.evaluation.drawing import png
from vqkit.evaluation.output import write_output
from vqkit.evaluation.table_health import TableHealth
from vqkit.evaluation.text import codebook_rows, table
from vqkit.evaluation.usage import draw_usage
from vqkit.metrics.codebook import CodebookLevel, CodeHistogram, bitrate_efficiency
from vqkit.metrics.mutual_information import PairInformation

__all__ = ["HEALTH_FILE", "CodebookHealthReport", "HealthLimits"]

HEALTH_FILE = "usage.json"
_FORMAT, _FORMAT_VERSION = "vqkit codebook usage", 1
_MOST_PAIRS = 8


@dataclass(frozen=True)
class HealthLimits:
    """What a codebook must reach; None asks for nothing.

    Attributes:
        min_usage: Usage over that of a uniform source of as many tokens, in (0, 1].
        min_entropy: Entropy over log2 K, in (0, 1].
        min_perplexity: At least, in codes.
        max_overused: Share of tokens in codes used ten times their fair share or more, in [0, 1).
        max_twins: Share of vectors that are copies of another, in [0, 1).
        max_shared: Information that two codebooks share, over the smaller entropy, in [0, 1).

    Raises:
        ConfigError: A limit outside its range.
    """

    min_usage: float | None = None
    min_entropy: float | None = None
    min_perplexity: float | None = None
    max_overused: float | None = None
    max_twins: float | None = None
    max_shared: float | None = None

    def __post_init__(self) -> None:
        """Refuse limits that nothing or everything would break."""
        for name, value in asdict(self).items():
            if value is None:
                continue
            top = float("inf") if name == "min_perplexity" else 1.0
            inside = 0.0 < value <= top if name.startswith("min") else 0.0 <= value < top
            if not inside:
                raise ConfigError(f"Limit {name}: expected a share from 0 to 1, got {value}.")

    @property
    def asks(self) -> bool:
        """Whether any limit is set."""
        return any(value is not None for value in asdict(self).values())


@dataclass(frozen=True, eq=False)
class CodebookHealthReport:
    """Use of codebooks over a number of tokens, and the vectors behind them where a model is there.

    Attributes:
        name: What was counted or looked at.
        levels: Use of each codebook; empty without tokens.
        information: What pairs of codebooks say twice.
        tables: Vectors; empty without a model.
        divergence_bits: Jensen-Shannon divergence per codebook from another set of tokens.
        histograms: Counts behind ``levels``; not kept in files.
    """

    name: str
    levels: tuple[CodebookLevel, ...] = ()
    information: tuple[PairInformation, ...] = ()
    tables: tuple[TableHealth, ...] = ()
    divergence_bits: tuple[float, ...] = ()
    histograms: tuple[CodeHistogram, ...] = field(default=(), repr=False)

    def broken(self, limits: HealthLimits) -> tuple[str, ...]:
        """What falls short of the limits, a sentence each; empty where all is well.

        Raises:
            ConfigError: A limit that this report cannot answer: use without tokens, twins without a
                model, shared information of a single codebook.
        """
        found: list[str] = []

        def low(what: str, value: float, limit: float | None) -> None:
            # NaN (no token) falls short too.
            if limit is not None and not value >= limit:
                found.append(f"{what}: expected at least {limit:g}, got {value:.4g}.")

        def high(what: str, value: float, limit: float | None) -> None:
            if limit is not None and not value <= limit:
                found.append(f"{what}: expected at most {limit:g}, got {value:.4g}.")

        use = (limits.min_usage, limits.min_entropy, limits.min_perplexity, limits.max_overused)
        _require(self.levels, use, "tokens")
        _require(self.tables, (limits.max_twins,), "the tables of a model")
        _require(self.information, (limits.max_shared,), "tokens of two codebooks or more")
        for number, level in enumerate(self.levels, 1):
            low(f"Codebook {number}, corrected usage", level.relative_usage, limits.min_usage)
            entropy = level.normalised_entropy
            low(f"Codebook {number}, normalised entropy", entropy, limits.min_entropy)
            low(f"Codebook {number}, perplexity", level.perplexity, limits.min_perplexity)
            share = level.overused_share
            high(f"Codebook {number}, tokens in over-used codes", share, limits.max_overused)
        for codes in self.tables:
            share = codes.num_twins / codes.num_codes
            high(f"Table {codes.name or 'of codes'}, twins", share, limits.max_twins)
        for pair in self.information:
            what = f"Codebooks {pair.first + 1} and {pair.second + 1}, shared information"
            high(what, pair.shared, limits.max_shared)
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """The content of ``usage.json``: plain JSON types, every number finite or None."""
        levels = [
            {
                **asdict(level),
                "dead_codes": histogram.dead_codes().tolist(),
                "overused_codes": histogram.overused_codes()[:1000].tolist(),
            }
            for level, histogram in zip(self.levels, self.histograms, strict=True)
        ]
        efficiency = bitrate_efficiency(self.levels) if self.levels else None
        content = {
            "format": _FORMAT,
            "version": _FORMAT_VERSION,
            "name": self.name,
            "codebooks": {"levels": levels, "bitrate_efficiency": efficiency},
            "mutual_information": [asdict(pair) for pair in self.information],
            "tables": [asdict(codes) for codes in self.tables],
            "divergence_bits": list(self.divergence_bits),
        }
        document: dict[str, Any] = plain(content)
        return document

    def text(self) -> str:
        """The same as plain tables for a terminal."""
        sections = [[self.name]]
        if self.levels:
            lines = codebook_rows(self.levels)
            lines.append(f"Bitrate efficiency {bitrate_efficiency(self.levels):.2%}")
            sections += [lines, self._overused_rows()]
        if self.divergence_bits:
            shown = ", ".join(f"{bits:.4f}" for bits in self.divergence_bits)
            sections.append([f"Divergence from the other tokens, bits: {shown}"])
        if self.information:
            sections.append(self._pair_rows())
        if self.tables:
            sections.append(self._table_rows())
        return "\n\n".join("\n".join(lines) for lines in sections if lines)

    def save(self, folder: str | os.PathLike[str]) -> tuple[Path, ...]:
        """Write ``usage.json`` and, where tokens were counted, ``usage.png``; return their paths.

        Raises:
            VqkitError: The file system refuses.
        """
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
        paths = [write_output(folder, HEALTH_FILE, f"{text}\n".encode())]
        if self.levels and self.levels[0].num_tokens:
            figure = draw_usage(self.levels, self.histograms, self.name)
            paths.append(write_output(folder, "usage.png", png(figure)))
        return tuple(paths)

    def _overused_rows(self) -> list[str]:
        rows = [("codebook", "over-used codes", "their tokens", "most frequent")]
        for number, (level, histogram) in enumerate(
            zip(self.levels, self.histograms, strict=True), 1
        ):
            if level.num_overused:
                codes = ", ".join(map(str, histogram.overused_codes()[:5].tolist()))
                share = f"{level.overused_share:.2%}"
                rows.append((str(number), f"{level.num_overused:,}", share, codes))
        return table(rows) if len(rows) > 1 else []

    def _pair_rows(self) -> list[str]:
        rows = [("codebooks", "shared bits", "corrected", "of the smaller entropy")]
        most = sorted(self.information, key=lambda pair: -pair.corrected_bits)
        for pair in most[:_MOST_PAIRS]:
            rows.append(
                (
                    f"{pair.first + 1} and {pair.second + 1}",
                    f"{pair.mutual_information_bits:.3f}",
                    f"{pair.corrected_bits:.3f}",
                    f"{pair.shared:.2%}",
                )
            )
        return table(rows)

    def _table_rows(self) -> list[str]:
        rows = [("table", "codes", "dim", "twins", "mean drift", "exchanged")]
        for codes in self.tables:
            drift = codes.drift
            rows.append(
                (
                    codes.name or "codes",
                    f"{codes.num_codes:,}",
                    str(codes.dim),
                    f"{codes.num_twins:,}",
                    "-" if drift is None else f"{drift.mean:.4f}",
                    "-" if drift is None else f"{drift.num_exchanged:,}",
                )
            )
        return table(rows)


def _require(there: Sequence[object], limits: Sequence[float | None], what: str) -> None:
    if not there and any(limit is not None for limit in limits):
        raise ConfigError(f"Limits of a codebook: expected {what} to hold them against, got none.")
