"""Tables: how often each code of a codebook came in other media, to predict it from the start.

The adaptive coder spends its first symbols on learning which codes are frequent. A table tells it:
a codebook's counts, rounded so that a table is small, and the same whole numbers on every machine.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from vqkit.coding.adaptive import decode_adaptively, encode_adaptively
from vqkit.coding.bitpack import bits_for
from vqkit.coding.range_coder import MAX_ALPHABET, RangeDecoder, RangeEncoder, Weights
from vqkit.errors import CodingError, ShapeError

__all__ = [
    "DIGEST_BYTES",
    "MAX_TABLE_ENTRIES",
    "FrequencyTable",
    "StreamTables",
    "can_have_tables",
    "max_tables_bytes",
    "num_entries",
]

DIGEST_BYTES = 4
"""Length of the digest by which tables are called."""

MAX_TABLE_ENTRIES = 1 << 21
"""Most counts in the tables of one stream."""

_MAX_TOTAL = 1 << 22  # with the symbols of a chunk, below what float64 holds exactly
_KEPT_BITS = 2  # below the highest of a count: within 1/8, which costs 0.004 bits a symbol
_ENTRY_BITS = bits_for(_MAX_TOTAL) + 1  # of counts up to _MAX_TOTAL, 0 among them

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class FrequencyTable:
    """Counts of a codebook's indices; of codebooks above ``MAX_ALPHABET`` those of high bits.

    Args:
        codebook_size: Codes of the codebook.
        counts: int64 ``[entries]``, not negative, below 2^22 together, each of three significant
            bits.

    Raises:
        ShapeError: Counts that are not of this kind.

    Example:
        >>> table = FrequencyTable.of(4, codes=np.array([2, 0]), counts=np.array([5, 1]))
        >>> table.counts, table.weights(num_low=0)
        (array([1, 0, 5, 0]), array([ 5.,  1., 21.,  1.]))
    """

    codebook_size: int
    counts: Counts

    def __post_init__(self) -> None:
        expected, counts = num_entries(self.codebook_size), self.counts
        if counts.dtype != np.int64 or counts.shape != (expected,):
            raise ShapeError(
                f"Wrong table of {self.codebook_size} codes: expected int64 [{expected}], "
                f"got {counts.dtype} {list(counts.shape)}."
            )
        # Each bounded before they are added up, which could overflow.
        if counts.min() < 0 or counts.max() >= _MAX_TOTAL or counts.sum() >= _MAX_TOTAL:
            raise ShapeError(
                f"Wrong table of {self.codebook_size} codes: expected counts from 0 on, together "
                f"below {_MAX_TOTAL}, got {counts.min()} to {counts.max()}."
            )

        if not np.array_equal(_rounded(counts), counts):
            raise ShapeError(
                f"Wrong table of {self.codebook_size} codes: expected counts of three significant "
                f"bits, got others. Make it with FrequencyTable.of."
            )

    @staticmethod
    def of(codebook_size: int, codes: Counts, counts: Counts) -> "FrequencyTable":
        """A table of what was counted: how often each of these codes came.

        Counts are scaled down where they are many, and rounded to three significant bits.
        """
        entries = np.zeros(num_entries(codebook_size), np.float64)
        np.add.at(entries, codes >> _num_hidden_bits(codebook_size), counts)
        scale = min(1.0, _MAX_TOTAL / 4 / max(1.0, entries.sum()))
        scaled = np.ceil(entries * scale).astype(np.int64)
        return FrequencyTable(codebook_size, _rounded(scaled))

    def weights(self, num_low: int) -> Weights:
        """Weights of the indices without their ``num_low`` lowest bits, each at least 1."""
        step = 1 << (num_low - _num_hidden_bits(self.codebook_size))
        starts = np.arange(0, self.counts.size, step)
        merged = np.add.reduceat(self.counts, starts).astype(np.float64)
        return 4 * merged + 1


@dataclass(frozen=True, eq=False)
class StreamTables:
    """The tables of all codebooks of a stream.

    Args:
        codebooks: One table for each, at most `MAX_TABLE_ENTRIES` counts together.
    """

    codebooks: tuple[FrequencyTable, ...]

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Codes of each codebook."""
        return tuple(table.codebook_size for table in self.codebooks)

    def covers(self, codebook_sizes: Sequence[int]) -> bool:
        """Whether there is a table for each of these codebooks, which may be the first ones."""
        return tuple(codebook_sizes) == self.codebook_sizes[: len(codebook_sizes)]

    @cached_property
    def digest(self) -> bytes:
        """BLAKE2b over each codebook's size and counts, as little-endian int64."""
        digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
        for table in self.codebooks:
            digest.update(np.array([table.codebook_size], "<i8").tobytes())
            digest.update(table.counts.astype("<i8").tobytes())
        return digest.digest()

    def to_bytes(self) -> bytes:
        """All counts, coded: their numbers of bits adaptively, then the bits that are kept."""
        encoder = RangeEncoder()
        for table in self.codebooks:
            lengths = _bit_lengths(table.counts)
            encode_adaptively(lengths, _ENTRY_BITS, encoder)
            for place in range(1, _KEPT_BITS + 1):
                has_place = lengths > place
                bits = table.counts[has_place] >> (lengths[has_place] - 1 - place) & 1
                encoder.encode(bits, np.ones(2))
        return encoder.to_bytes()

    @staticmethod
    def from_bytes(data: bytes, codebook_sizes: Sequence[int]) -> "StreamTables":
        """The inverse of `to_bytes`.

        Raises:
            CodingError: Bytes that it does not write.
        """
        if not can_have_tables(codebook_sizes):
            raise CodingError(
                f"expected tables of up to {MAX_TABLE_ENTRIES} counts, got codebooks of "
                f"{list(codebook_sizes)[:8]} codes"
            )
        decoder = RangeDecoder(data)
        tables = []
        for size in codebook_sizes:
            lengths = decode_adaptively(num_entries(size), _ENTRY_BITS, decoder)
            counts = np.where(lengths > 0, 1 << np.maximum(lengths - 1, 0), 0)
            for place in range(1, _KEPT_BITS + 1):
                has_place = lengths > place
                bits = decoder.decode(int(np.count_nonzero(has_place)), np.ones(2))
                counts[has_place] |= bits << (lengths[has_place] - 1 - place)
            try:
                tables.append(FrequencyTable(size, counts))
            except ShapeError as error:
                raise CodingError(str(error)) from None
        decoder.finish()
        return StreamTables(tuple(tables))


def num_entries(codebook_size: int) -> int:
    """Counts in the table of a codebook."""
    return ((codebook_size - 1) >> _num_hidden_bits(codebook_size)) + 1


def can_have_tables(codebook_sizes: Sequence[int]) -> bool:
    """Whether tables of these codebooks are small enough."""
    return sum(map(num_entries, codebook_sizes)) <= MAX_TABLE_ENTRIES


def max_tables_bytes(codebook_sizes: Sequence[int]) -> int:
    """More bytes than coded tables of these codebooks have."""
    return 64 + 8 * sum(map(num_entries, codebook_sizes))


def _num_hidden_bits(codebook_size: int) -> int:
    """Low bits of an index that its table does not tell apart."""
    return max(0, bits_for(codebook_size) - bits_for(MAX_ALPHABET))


def _bit_lengths(counts: Counts) -> Counts:
    # Exact: counts are far below 2^53.
    return np.frexp(counts.astype(np.float64))[1].astype(np.int64)


def _rounded(counts: Counts) -> Counts:
    """The nearest numbers whose bits below the highest are ``_KEPT_BITS`` and then zeros."""
    shift = np.maximum(_bit_lengths(counts) - 1 - _KEPT_BITS, 0)
    return (counts + ((1 << shift) >> 1)) >> shift << shift
