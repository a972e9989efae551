"""Quality at several rates: of a codec at its settings, of a model at its levels."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vqkit.evaluation.quality import Metric
from vqkit.evaluation.statistics import MetricSummary, summarise

__all__ = ["RateCurve", "RatePoint"]


@dataclass(frozen=True)
class RatePoint:
    """A codec or a model at one setting over a set."""

    setting: int
    """Quality, bits per second or number of codebooks; the median where items differ in it."""
    label: str
    """The same in words."""
    size_bytes: int
    """Of all files."""
    rate: float
    """Bits of all files over pixels or seconds of all items."""
    metrics: Mapping[str, MetricSummary]
    """Means over items, by the names of the report's metrics."""
    payload_bytes: int | None = None
    """Of all files without the containers around what is coded; None where that is not known."""

    @property
    def payload_rate(self) -> float | None:
        """Bits of what is coded, without containers, over pixels or seconds; None if not known."""
        if self.payload_bytes is None:
            return None
        return self.rate * self.payload_bytes / self.size_bytes

    @classmethod
    def of(
        cls,
        setting: int,
        label: str,
        sizes_bytes: Sequence[int],
        extent: float,
        scores: Iterable[Mapping[str, float | None]],
        metrics: Sequence[Metric],
        payloads_bytes: Sequence[int | None] = (),
    ) -> "RatePoint":
        """From the size and the scores of each item."""
        scores = list(scores)
        known = [payload for payload in payloads_bytes if payload is not None]
        size_bytes = sum(sizes_bytes)
        return cls(
            setting=setting,
            label=label,
            size_bytes=size_bytes,
            rate=8 * size_bytes / extent,
            metrics={
                metric.name: summarise((row.get(metric.name) for row in scores), metric.reason)
                for metric in metrics
            },
            payload_bytes=sum(known) if known and len(known) == len(sizes_bytes) else None,
        )


@dataclass(frozen=True)
class RateCurve:
    """Points of one codec or model, from the lowest setting to the highest."""

    name: str
    title: str
    """For a reader, e.g. in a legend."""
    points: tuple[RatePoint, ...]
    num_items: int

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "RateCurve":
        """Inverse of ``dataclasses.asdict``."""
        points = tuple(
            RatePoint(
                **{
                    **point,
                    "metrics": {
                        name: _summary(summary) for name, summary in point["metrics"].items()
                    },
                }
            )
            for point in content["points"]
        )
        return cls(content["name"], content["title"], points, content["num_items"])


def _summary(content: Mapping[str, Any]) -> MetricSummary:
    interval = content["confidence_95"]
    known = {**content, "confidence_95": None if interval is None else tuple(interval)}
    return MetricSummary(**known)
