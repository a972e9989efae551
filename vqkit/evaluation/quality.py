"""What an evaluation measures: metrics of one modality behind one interface."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from vqkit.evaluation.footage import Footage
from vqkit.evaluation.item import Picture
from vqkit.evaluation.media_kind import MediaKind
from vqkit.media import Audio

__all__ = ["Medium", "Metric", "Quality", "Reconstruction", "Scores"]

Medium = Tensor | Audio | Footage
"""An image ``[channels, height, width]``, a sound or a clip; samples alone are at the model's rate,
frames ``[channels, frames, height, width]`` alone have none."""

Reconstruction = Tensor | Iterator[Tensor]
"""What was decoded: a clip may come in pieces along its frames, which are taken once."""


@dataclass(frozen=True)
class Metric:
    """What a number of a report is, kept beside it."""

    name: str
    title: str
    """A few words with the unit, for tables and axes."""
    definition: str
    """To the last constant, with whatever it depends on."""
    higher_is_better: bool
    digits: int = 3
    """Behind the point, for readers."""
    reason: str | None = None
    """Why it was not measured at all."""


@dataclass(frozen=True)
class Scores:
    """Numbers of one item, and why some are missing."""

    values: Mapping[str, float | None]
    reasons: Mapping[str, str] = field(default_factory=dict)
    series: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)
    """Of clips by metric: a number for each frame, or for each frame behind the first."""


class Quality(ABC):
    """How near reconstructions are to their originals: the metrics of one modality."""

    kind: MediaKind
    packages: tuple[str, ...] = ()
    """Whose versions the numbers depend on, beside those of every report."""

    @property
    @abstractmethod
    def metrics(self) -> tuple[Metric, ...]:
        """What is measured, in the order of reports, also what cannot be measured here."""

    @property
    @abstractmethod
    def settings(self) -> Mapping[str, Any]:
        """How it is measured, as JSON types; numbers of different settings do not compare."""

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """What has weights, to be moved to the device of the evaluation."""
        return ()

    def for_ladders(self) -> "Quality":
        """What is measured of a codec at several settings: the same, less what takes long."""
        return self

    @abstractmethod
    def measure(self, name: str, reconstruction: Reconstruction, original: Medium) -> Scores:
        """All scores of an item, ``reconstruction`` in the size of ``original``.

        Raises:
            ShapeError: The two cannot be compared.
        """

    def picture(
        self, name: str, reconstruction: Reconstruction, original: Medium
    ) -> Picture | None:
        """Small copies of both for the report; None for media that are not shown this way."""
        return None
