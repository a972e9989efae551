"""What is summed up over samples or over shards: histograms of all codebooks, and durations."""

import math
from collections.abc import Iterable, Mapping, Sequence

from vqkit.files.dataset.header import DatasetHeader
from vqkit.files.dataset.histogram import Histogram
from vqkit.files.dataset.sample import Sample
from vqkit.tokenizers.spec import seconds_of

__all__ = ["Histograms", "Tally", "duration_of"]

Histograms = Mapping[str, Sequence[Histogram | None]]
"""By stream, one for each codebook."""

_PARTS_MERGED_AT_ONCE = 32


class Tally:
    """Sums up; what it holds grows neither with the samples nor with the shards.

    Args:
        header: Of the data set, whose streams and codebooks are counted.
    """

    def __init__(self, header: DatasetHeader) -> None:
        self._parts: dict[str, list[list[Histogram | None]]] = {
            name: [[] for _ in stream.codebook_sizes] for name, stream in header.streams.items()
        }

    def add(self, histograms: Histograms) -> None:
        """Add what was counted elsewhere."""
        for name, codebooks in self._parts.items():
            for parts, part in zip(codebooks, histograms[name], strict=True):
                parts.append(part)
                if len(parts) >= _PARTS_MERGED_AT_ONCE:
                    parts[:] = [Histogram.merged(parts)]

    def count(self, samples: Sequence[Sample]) -> None:
        """Count the tokens of samples; those without are left out."""
        items = [sample.tokens.item(0) for sample in samples if sample.tokens is not None]
        counted = {}
        for name, codebooks in self._parts.items():
            grids = [item.streams[name].indices.flatten(end_dim=-2).cpu().numpy() for item in items]
            counted[name] = [
                Histogram.of(*(grid[:, codebook] for grid in grids))
                for codebook in range(len(codebooks))
            ]
        self.add(counted)

    def total(self) -> dict[str, list[Histogram | None]]:
        """The sums."""
        return {
            name: [Histogram.merged(parts) for parts in codebooks]
            for name, codebooks in self._parts.items()
        }


def duration_of(samples: Iterable[Sample]) -> float:
    """Seconds of the sounds and clips among samples; those without tokens are left out."""
    sizes = (sample.tokens.media[0] for sample in samples if sample.tokens is not None)
    return math.fsum(seconds_of(size) or 0.0 for size in sizes)
