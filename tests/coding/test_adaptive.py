"""Adaptive tables are those of the formula, and cost little more than the entropy."""

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from vqkit.coding import (
    MAX_ALPHABET,
    RangeDecoder,
    RangeEncoder,
    decode_adaptively,
    encode_adaptively,
)
from vqkit.coding.adaptive import _num_low_bits


def coded(symbols: np.ndarray, alphabet_size: int) -> bytes:
    encoder = RangeEncoder()
    encode_adaptively(symbols, alphabet_size, encoder)
    return encoder.to_bytes()


def entropy_bytes(symbols: np.ndarray) -> float:
    counts = np.unique(symbols, return_counts=True)[1]
    return float(-(counts * np.log2(counts / symbols.size)).sum() / 8)


def zipf(num_codes: int, count: int, exponent: float = 1.0) -> np.ndarray:
    random = np.random.default_rng(0)
    weights = 1 / np.arange(1, num_codes + 1) ** exponent
    ids = random.permutation(num_codes)
    return ids[random.choice(num_codes, count, p=weights / weights.sum())].astype(np.int64)


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 48, 49, 70_000])
@pytest.mark.parametrize("alphabet_size", [1, 2, 3, 500, 1 << 18])
def test_round_trip(count: int, alphabet_size: int) -> None:
    symbols = zipf(alphabet_size, count)
    decoder = RangeDecoder(coded(symbols, alphabet_size))
    np.testing.assert_array_equal(decode_adaptively(count, alphabet_size, decoder), symbols)
    decoder.finish()


def test_two_sequences_follow_one_another() -> None:
    first, second = zipf(100, 1000), zipf(7, 500)
    encoder = RangeEncoder()
    encode_adaptively(first, 100, encoder)
    encode_adaptively(second, 7, encoder)
    decoder = RangeDecoder(encoder.to_bytes())
    np.testing.assert_array_equal(decode_adaptively(1000, 100, decoder), first)
    np.testing.assert_array_equal(decode_adaptively(500, 7, decoder), second)


def test_size_is_that_of_absolute_discounting() -> None:
    """``(n_k - 3/4) / N`` for a symbol that was seen, plus 1/K of what that frees, in fractions."""
    num_codes, symbols = 50, zipf(50, 100_000)
    bits, seen = 0.0, Counter[int]()
    start, size = 0, 16
    while start < symbols.size:
        block = symbols[start : start + size].tolist()
        for symbol in block:
            total = seen.total()
            probability = Fraction(1, num_codes)
            if total:
                freed = Fraction(3 * len(seen), 4 * total)
                own = Fraction(4 * seen[symbol] - 3, 4 * total) if symbol in seen else 0
                probability = own + freed / num_codes
            bits -= float(np.log2(float(probability)))
        seen.update(block)
        start, size = start + size, 2 * size
    assert bits / 8 - 1 < len(coded(symbols, num_codes)) < bits / 8 * 1.0005 + 8


@pytest.mark.parametrize(("bits", "most"), [(10, 0.002), (14, 0.010), (17, 0.035)])
def test_close_to_the_entropy_of_a_million_symbols(bits: int, most: float) -> None:
    symbols = zipf(1 << bits, 1_000_000)
    assert len(coded(symbols, 1 << bits)) < entropy_bytes(symbols) * (1 + most)


def test_a_short_file_of_few_codes_of_a_large_codebook() -> None:
    """Additive smoothing would spend almost all of the 18 bits on each."""
    symbols = zipf(40, 2000) * 5000
    assert len(coded(symbols, 1 << 18)) < 0.4 * 18 / 8 * symbols.size


@pytest.mark.parametrize("codebook_size", [(1 << 18) + 1, 1 << 24, 1 << 62])
@pytest.mark.parametrize("count", [1, 2, 70, 3000])
def test_codebooks_too_large_for_a_table(codebook_size: int, count: int) -> None:
    random = np.random.default_rng(0)
    symbols = random.integers(0, codebook_size, count)
    symbols[0] = codebook_size - 1
    decoder = RangeDecoder(coded(symbols, codebook_size))
    np.testing.assert_array_equal(decode_adaptively(count, codebook_size, decoder), symbols)
    decoder.finish()


def test_tables_grow_with_the_number_of_symbols() -> None:
    """Or a file of ten thousand codebooks and one position would ask for as many full tables."""
    for count in (0, 1, 2, 30, 1000, 1 << 20):
        for size in (2, 1000, 1 << 18, 1 << 40, 1 << 62):
            alphabet_size = ((size - 1) >> _num_low_bits(size, count)) + 1
            assert alphabet_size <= min(MAX_ALPHABET, 512 * max(count, 1))


def test_uniform_symbols_cost_little_more_than_fixed_width() -> None:
    symbols = np.random.default_rng(0).integers(0, 1024, 1_000_000)
    assert len(coded(symbols, 1024)) < 1.001 * 10 / 8 * symbols.size
