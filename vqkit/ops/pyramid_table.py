"""How many integer vectors lie on a pyramid, exactly, and tables of it for the index."""

import functools
import math
from typing import NamedTuple

import torch
from torch import Tensor

from vqkit.ops.pyramid_backend import check_pyramid

__all__ = ["PyramidTable", "pyramid_size", "pyramid_table", "pyramid_word_sizes"]

_WORD_BITS = 62


def pyramid_size(dim: int, pulses: int) -> int:
    """Number of integer vectors of ``dim`` entries whose magnitudes sum to ``pulses``.

    ``N(L, K) = sum_j 2^j C(L, j) C(K-1, j-1)``, which is ``N(L-1, K) + N(L, K-1) + N(L-1, K-1)``
    (Fischer 1986, equation 5): j entries are not zero, each with a sign.

    Raises:
        ConfigError: ``dim < 1`` or ``pulses < 1``.

    >>> pyramid_size(8, 8), pyramid_size(16, 16)
    (157184, 148348809216)
    """
    check_pyramid(dim, pulses)
    return sum(
        2**j * math.comb(dim, j) * math.comb(pulses - 1, j - 1)
        for j in range(1, min(dim, pulses) + 1)
    )


def pyramid_word_sizes(dim: int, pulses: int) -> tuple[int, ...]:
    """Sizes of the words that hold an index, lowest word first.

    One word of ``N`` up to ``2^62``. Else the fewest words of at most 62 bits, all but the highest
    of ``2^w``, with w even and the same for all; the highest of ``ceil(N / 2^(w (words - 1)))``. So
    fixed-width packing takes ``ceil(log2 N)`` bits, however many words there are.

    Raises:
        ConfigError: ``dim < 1`` or ``pulses < 1``.

    >>> pyramid_word_sizes(16, 16), [round(math.log2(n)) for n in pyramid_word_sizes(128, 16)]
    ((148348809216,), [42, 42])
    """
    size = pyramid_size(dim, pulses)
    num_words, bits = _words(size)
    low_bits = bits * (num_words - 1)
    return (2**bits,) * (num_words - 1) + (-(-size // 2**low_bits),)


class PyramidTable(NamedTuple):
    """Counts, each split into ``num_words`` words of ``bits`` bits, lowest first, in int64.

    Attributes:
        counts: ``N(l, k)``, ``[dim + 1, pulses + 1, num_words]``.
        starts: ``N(l + 1, k) - N(l, k)``, ``[dim, pulses + 1, num_words]``.
        bits: Width of a word; even where there are several.
    """

    counts: Tensor
    starts: Tensor
    bits: int

    @property
    def num_words(self) -> int:
        """Words of an index."""
        return self.counts.shape[-1]

    @property
    def size_bytes(self) -> int:
        """Memory of both tables."""
        return 8 * (self.counts.numel() + self.starts.numel())


@functools.lru_cache(maxsize=64)
def pyramid_table(dim: int, pulses: int, device: torch.device) -> PyramidTable:
    """Tables of one pyramid, kept per device: 16 (L + 1) (K + 1) bytes per word.

    5 KB for (16, 16), 70 KB for (128, 16), 1 MB for (256, 64).
    """
    counts = [[1] + [0] * pulses]
    for _ in range(dim):
        above, row = counts[-1], [1]
        for k in range(1, pulses + 1):
            row.append(above[k] + row[k - 1] + above[k - 1])
        counts.append(row)
    starts = [
        [more - fewer for more, fewer in zip(counts[i + 1], counts[i], strict=True)]
        for i in range(dim)
    ]
    num_words, bits = _words(counts[dim][pulses])

    def tensor(rows: list[list[int]]) -> Tensor:
        mask = 2**bits - 1
        words = [[[n >> bits * i & mask for i in range(num_words)] for n in row] for row in rows]
        return torch.tensor(words, dtype=torch.int64, device=device)

    # Inference tensors, which a first use in inference mode would make, suit no later training.
    with torch.inference_mode(False):
        return PyramidTable(tensor(counts), tensor(starts), bits)


def _words(size: int) -> tuple[int, int]:
    """Number of words and bits of a word."""
    if size <= 2**_WORD_BITS:
        return 1, _WORD_BITS
    num_bits = (size - 1).bit_length()
    num_words = -(-num_bits // _WORD_BITS)
    bits = -(-num_bits // num_words)
    return num_words, bits + bits % 2
