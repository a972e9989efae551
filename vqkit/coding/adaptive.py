"""Adaptive coding: both sides count the symbols that have passed and predict the next from them.

No table is stored. Symbols come in blocks, 16 and then twice as many each time up to 16,384; after
each, the table is made anew from the counts. Probabilities are discounted absolutely (Ney, Essen
and Kneser 1994) by 3/4 of a count, the weight that codes never seen get together: so a large
codebook of which a short file uses a part costs little more than that part.
"""

import numpy as np
import numpy.typing as npt

from vqkit.coding.range_coder import RangeDecoder, RangeEncoder

__all__ = ["decode_adaptively", "encode_adaptively"]

_FIRST_BLOCK, _LAST_BLOCK = 16, 16_384


class _Counts:
    """How often each symbol has come, and what that predicts."""

    def __init__(self, alphabet_size: int) -> None:
        self._counts = np.zeros(alphabet_size)

    def add(self, symbols: npt.NDArray[np.int64]) -> None:
        self._counts += np.bincount(symbols, minlength=self._counts.size)

    def weights(self) -> npt.NDArray[np.float64]:
        """``(n - 3/4) / N`` for what was seen, an equal share of the rest for every symbol.

        Multiplied by ``4 N K``, so that they are whole: below 2^53 for 2^33 symbols of 2^18.
        """
        seen = self._counts > 0
        num_seen = np.count_nonzero(seen)
        if num_seen == 0:
            return np.ones(self._counts.size)
        return (4 * self._counts - 3 * seen) * self._counts.size + 3 * num_seen


def encode_adaptively(
    symbols: npt.NDArray[np.int64], alphabet_size: int, encoder: RangeEncoder
) -> None:
    """Append ``symbols [count]``, each in ``[0, alphabet_size)``."""
    counts = _Counts(alphabet_size)
    for start, stop in _blocks(symbols.size):
        block = symbols[start:stop]
        encoder.encode(block, counts.weights())
        counts.add(block)


def decode_adaptively(
    count: int, alphabet_size: int, decoder: RangeDecoder
) -> npt.NDArray[np.int64]:
    """The next ``count`` symbols.

    Raises:
        CodingError: Bytes that no encoder writes.
    """
    counts = _Counts(alphabet_size)
    symbols = np.empty(count, np.int64)
    for start, stop in _blocks(count):
        symbols[start:stop] = decoder.decode(stop - start, counts.weights())
        counts.add(symbols[start:stop])
    return symbols


def _blocks(count: int) -> list[tuple[int, int]]:
    """First and last + 1 of the symbols of each block."""
    blocks, start, size = [], 0, _FIRST_BLOCK
    while start < count:
        blocks.append((start, min(start + size, count)))
        start += size
        size = min(2 * size, _LAST_BLOCK)
    return blocks
