"""Adaptive coding: both sides count the symbols that have passed and predict the next from them.

No table is stored. Symbols come in blocks, 16 and then twice as many each time; after each, the
table is made anew from the counts. Probabilities are discounted absolutely (Ney, Essen and Kneser
1994) by 3/4 of a count, the weight that codes never seen get together: so a large codebook of which
a short file uses a part costs little more than that part. Of a codebook too large for a table only
the high bits are predicted.

Where counts of other media are at hand (`vqkit.coding.tables`), that share goes to the codes in
proportion to them, and they weigh as much as 128 symbols more (Pitman and Yor 1997).
"""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vqkit.coding.bitpack import bits_for
from vqkit.coding.range_coder import MAX_ALPHABET, RangeDecoder, RangeEncoder, Weights
from vqkit.errors import CodingError

if TYPE_CHECKING:
    from vqkit.coding.tables import FrequencyTable

__all__ = ["Counts", "blocks", "decode_adaptively", "encode_adaptively"]

_FIRST_BLOCK = 16
_DIGIT_BITS = 8  # of the low bits
_TABLE_SYMBOLS = 128  # best or within 1 % of it on photos of 370 to 6,144 tokens

Indices = npt.NDArray[np.int64]


class Counts:
    """How often each symbol of an alphabet has come, and what that predicts.

    Args:
        alphabet_size: Number of symbols.
        expected: Weights of the symbols before any has come, up to 2^25 together; None for equal
            ones, which give way to what has come as soon as anything has.
    """

    def __init__(self, alphabet_size: int, expected: Weights | None = None) -> None:
        self._counts = np.zeros(alphabet_size)
        self._expected = expected

    def add(self, symbols: Indices) -> None:
        """Count symbols that have passed."""
        self._counts += np.bincount(symbols, minlength=self._counts.size)

    def weights(self) -> Weights:
        """``(n - 3/4) / N`` for what was seen, an equal share of the rest for every symbol.

        Multiplied by ``4 N K``, so that they are whole: below 2^53 for 2^33 symbols of 2^18. With
        expected weights ``w`` of sum ``W``, ``(n - 3/4) / (N + 128)`` and a share in proportion to
        ``w``, multiplied by ``4 (N + 128) W``: below 2^53 for 2^25 symbols.
        """
        num_seen = int(np.count_nonzero(self._counts))
        if self._expected is not None:
            scale = float(self._expected.sum())
            rest: Weights | int = (3 * num_seen + 4 * _TABLE_SYMBOLS) * self._expected
        elif num_seen:
            scale, rest = float(self._counts.size), 3 * num_seen
        else:
            return np.ones(self._counts.size)
        # In place: of large codebooks this takes much of the time of a block.
        weights = self._counts * (4 * scale)
        weights -= 3 * scale
        np.maximum(weights, 0, out=weights)
        weights += rest
        return weights


def encode_adaptively(
    symbols: Indices,
    codebook_size: int,
    encoder: RangeEncoder,
    table: "FrequencyTable | None" = None,
) -> None:
    """Append ``symbols [count]``, each in ``[0, codebook_size)``, from the table on if given."""
    num_low = _num_low_bits(codebook_size, symbols.size)
    high = symbols >> num_low if num_low else symbols
    counts = _start(codebook_size, num_low, table)
    for start, stop in blocks(symbols.size):
        encoder.encode(high[start:stop], counts.weights())
        if stop < symbols.size:
            counts.add(high[start:stop])
    for shift, num_bits in _low_digits(num_low):
        encoder.encode((symbols >> shift) & ((1 << num_bits) - 1), np.ones(1 << num_bits))


def decode_adaptively(
    count: int,
    codebook_size: int,
    decoder: RangeDecoder,
    table: "FrequencyTable | None" = None,
) -> Indices:
    """The next ``count`` symbols.

    Raises:
        CodingError: Bytes that no encoder writes.
    """
    num_low = _num_low_bits(codebook_size, count)
    symbols = np.zeros(count, np.int64)
    counts = _start(codebook_size, num_low, table)
    for start, stop in blocks(count):
        decoder.decode_into(symbols[start:stop], counts.weights())
        if stop < count:
            counts.add(symbols[start:stop])
    symbols <<= num_low
    for shift, num_bits in _low_digits(num_low):
        symbols |= decoder.decode(count, np.ones(1 << num_bits)) << shift
    if count and int(symbols.max()) >= codebook_size:
        raise CodingError(f"expected indices below {codebook_size}, got {symbols.max()}")
    return symbols


def _start(codebook_size: int, num_low: int, table: "FrequencyTable | None") -> Counts:
    expected = None if table is None else table.weights(num_low)
    return Counts(((codebook_size - 1) >> num_low) + 1, expected)


def _num_low_bits(codebook_size: int, count: int) -> int:
    """Bits of an index that are not predicted, because the table would be too large.

    Tables grow with the number of symbols, so that their making takes no more than its share of the
    time, whatever a file declares.
    """
    table_bits = min(bits_for(MAX_ALPHABET), 8 + count.bit_length())
    return max(0, bits_for(codebook_size) - table_bits)


def _low_digits(num_low: int) -> list[tuple[int, int]]:
    """Place and width of the digits of the low bits, the highest first."""
    shifts = range(0, num_low, _DIGIT_BITS)
    return [(shift, min(_DIGIT_BITS, num_low - shift)) for shift in reversed(shifts)]


def blocks(count: int) -> list[tuple[int, int]]:
    """First and last + 1 of the symbols of each block."""
    found, start, size = [], 0, _FIRST_BLOCK
    while start < count:
        found.append((start, min(start + size, count)))
        start += size
        size *= 2
    return found
