"""How often each code of a codebook is used."""

import base64
import binascii
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vqkit.files.dataset.document import MAX_COUNT, Fields
from vqkit.files.format_error import FormatError

__all__ = ["MAX_DISTINCT", "Histogram"]

MAX_DISTINCT = 1 << 17
"""Different codes up to which they are counted."""

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Histogram:
    """Counts of the codes that are used, by their index.

    Attributes:
        indices: int64, ascending.
        counts: int64, positive, one for each.

    Example:
        >>> histogram = Histogram.of(np.array([3, 1, 3, 3]))
        >>> histogram.indices.tolist(), histogram.counts.tolist(), round(histogram.entropy_bits, 3)
        ([1, 3], [1, 3], 0.811)
    """

    indices: Counts
    counts: Counts

    @staticmethod
    def of(*indices: Counts) -> "Histogram | None":
        """Count; None if there are too many different codes for counts to tell anything."""
        joined = np.concatenate([np.zeros(0, np.int64), *indices])
        values, counts = np.unique(joined, return_counts=True)
        return _bounded(values.astype(np.int64), counts.astype(np.int64))

    @staticmethod
    def merged(parts: "Sequence[Histogram | None]") -> "Histogram | None":
        """The sum of histograms; None if one is None or there are too many different codes."""
        known = [part for part in parts if part is not None]
        if len(known) < len(parts):
            return None
        empty = np.zeros(0, np.int64)
        values = np.concatenate([empty, *(part.indices for part in known)])
        counts = np.concatenate([empty, *(part.counts for part in known)])
        indices, places = np.unique(values, return_inverse=True)
        totals = np.zeros(len(indices), np.int64)
        np.add.at(totals, places, counts)
        return _bounded(indices, totals)

    @property
    def num_tokens(self) -> int:
        """All that was counted."""
        return int(self.counts.sum())

    @property
    def entropy_bits(self) -> float:
        """Bits of a token under these frequencies; 0 if there are none."""
        if len(self.counts) == 0:
            return 0.0
        shares = self.counts / self.counts.sum()
        return max(0.0, -float((shares * np.log2(shares)).sum()))

    def same_as(self, other: "Histogram | None") -> bool:
        """Whether both count the same."""
        return (
            other is not None
            and np.array_equal(self.indices, other.indices)
            and np.array_equal(self.counts, other.counts)
        )

    def to_dict(self) -> dict[str, Any]:
        """Number of codes, and packed: their gaps, then their counts, as zlib of uint64."""
        gaps = np.diff(self.indices, prepend=0)
        data = zlib.compress(np.concatenate([gaps, self.counts]).astype("<u8").tobytes(), 9)
        return {"num_codes": len(self.indices), "packed": base64.b64encode(data).decode()}

    @staticmethod
    def parse(content: Any, codebook_size: int) -> "Histogram | None":
        """Inverse of `to_dict`, None included.

        Raises:
            FormatError: Codes that the codebook lacks, or no histogram at all.
        """
        if content is None:
            return None
        fields = Fields(content, "a histogram")
        num_codes = fields.integer("num_codes", highest=MAX_DISTINCT)
        packed = fields.text("packed", 24 * MAX_DISTINCT)
        fields.end()
        inflate = zlib.decompressobj()
        try:
            data = inflate.decompress(base64.b64decode(packed, validate=True), 16 * num_codes + 1)
        except (binascii.Error, zlib.error) as error:
            raise FormatError(f"expected packed counts in a histogram ({error})") from None
        if len(data) != 16 * num_codes or not inflate.eof:
            raise FormatError(f"expected {16 * num_codes} bytes of counts, got others")
        gaps, counts = np.frombuffer(data, "<u8").reshape(2, num_codes)
        if num_codes and (int(counts.min()) < 1 or int(counts.max()) > MAX_COUNT):
            raise FormatError(f"expected counts from 1 to {MAX_COUNT} in a histogram")
        # Few gaps of 63 bits could wrap around: in Python's integers none does.
        if int(gaps[1:].min(initial=1)) < 1 or sum(gaps.tolist()) >= max(codebook_size, 1):
            raise FormatError(f"expected ascending codes below {codebook_size} in a histogram")
        return Histogram(np.cumsum(gaps.astype(np.int64)), counts.astype(np.int64))


def _bounded(indices: Counts, counts: Counts) -> Histogram | None:
    return Histogram(indices, counts) if len(indices) <= MAX_DISTINCT else None
