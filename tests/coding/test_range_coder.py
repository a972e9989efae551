"""The range coder loses nothing, costs what its tables say, and takes any bytes without harm."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqkit.coding import MAX_ALPHABET, RangeDecoder, RangeEncoder
from vqkit.errors import CodingError, ShapeError

weights_and_symbols = st.lists(st.integers(0, 1 << 44), min_size=2, max_size=40).filter(any)


@given(
    tables=st.lists(
        weights_and_symbols.flatmap(
            lambda weights: st.tuples(
                st.just(weights), st.lists(st.integers(0, len(weights) - 1), max_size=60)
            )
        ),
        max_size=5,
    )
)
def test_round_trip_with_changing_tables(tables: list[tuple[list[int], list[int]]]) -> None:
    """Symbols of weight 0 can be coded as well."""
    encoder = RangeEncoder()
    for weights, symbols in tables:
        encoder.encode(np.array(symbols, np.int64), np.array(weights, np.float64))
    decoder = RangeDecoder(encoder.to_bytes())
    for weights, symbols in tables:
        decoded = decoder.decode(len(symbols), np.array(weights, np.float64))
        assert decoded.dtype == np.int64
        assert decoded.tolist() == symbols
    decoder.finish()


def test_size_is_that_of_the_tables() -> None:
    random = np.random.default_rng(0)
    weights = np.array([1.0, 2.0, 5.0, 8.0])
    symbols = random.choice(4, 100_000, p=weights / 16)
    encoder = RangeEncoder()
    encoder.encode(symbols, weights)
    ideal = -np.log2(weights[symbols] / 16).sum() / 8
    assert ideal - 1 < len(encoder.to_bytes()) < ideal * 1.0001 + 8


def test_largest_alphabet() -> None:
    symbols = np.array([0, MAX_ALPHABET - 1, 12_345])
    encoder = RangeEncoder()
    encoder.encode(symbols, np.ones(MAX_ALPHABET))
    decoder = RangeDecoder(encoder.to_bytes())
    np.testing.assert_array_equal(decoder.decode(3, np.ones(MAX_ALPHABET)), symbols)


@pytest.mark.parametrize("symbol", [-1, 3])
def test_symbols_out_of_range_are_refused(symbol: int) -> None:
    with pytest.raises(ShapeError, match="expected 0 to 2, got"):
        RangeEncoder().encode(np.array([0, symbol]), np.ones(3))


def test_bytes_that_are_no_words_are_refused() -> None:
    with pytest.raises(CodingError, match="words of 4 bytes, got 5 bytes"):
        RangeDecoder(bytes(5))


def test_more_bytes_than_needed_are_refused() -> None:
    encoder = RangeEncoder()
    encoder.encode(np.array([1, 0, 1]), np.ones(2))
    decoder = RangeDecoder(encoder.to_bytes() + bytes(8))
    decoder.decode(3, np.ones(2))
    with pytest.raises(CodingError, match="got more bytes"):
        decoder.finish()


def test_any_bytes_give_symbols_in_range_or_an_error() -> None:
    random = np.random.default_rng(0)
    weights = np.array([1.0, 1000.0, 3.0])
    fates = set()
    for size in (0, 1, 2, 40) * 50:
        decoder = RangeDecoder(random.bytes(4 * size))
        try:
            symbols = decoder.decode(300, weights)
            assert 0 <= symbols.min() <= symbols.max() < 3
            decoder.finish()
            fates.add("decoded")
        except CodingError:
            fates.add("refused")
    assert fates == {"decoded", "refused"}
