import hashlib
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vqkit.coding import (
    FrequencyTable,
    RangeDecoder,
    RangeEncoder,
    StreamTables,
    can_have_tables,
    decode_adaptively,
    decode_by_neighbours,
    encode_adaptively,
    encode_by_neighbours,
    max_tables_bytes,
)
from vqkit.coding.adaptive import Counts
from vqkit.errors import CodingError, ShapeError

SIZES = [1, 2, 3, 512, 1000, 1 << 17, 1 << 18, (1 << 18) + 1, 1 << 24, 1 << 62]


def drawn(size: int, count: int, seed: int = 0) -> np.ndarray:
    """Low indices by far the most frequent, and the highest once."""
    random = np.random.default_rng(seed)
    symbols = (random.random(count) ** 8 * size).astype(np.int64)
    symbols[-1:] = size - 1
    return symbols


def table_of(size: int, count: int = 3000, seed: int = 1) -> FrequencyTable:
    codes, counts = np.unique(drawn(size, count, seed), return_counts=True)
    return FrequencyTable.of(size, codes, counts)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(SIZES), st.sampled_from([1, 2, 17, 100, 3000]), st.integers(0, 5))
def test_round_trip_from_a_table(size: int, count: int, seed: int) -> None:
    symbols, table = drawn(size, count, seed), table_of(size)
    encoder = RangeEncoder()
    encode_adaptively(symbols, size, encoder, table)
    decoder = RangeDecoder(encoder.to_bytes())
    np.testing.assert_array_equal(decode_adaptively(count, size, decoder, table), symbols)
    decoder.finish()


def test_round_trip_by_neighbours_from_tables() -> None:
    sizes = (300, 1, 40)
    indices = np.stack([drawn(size, 600, seed) for seed, size in enumerate(sizes)], axis=1)
    indices[100:200] = indices[:100]
    tables = [table_of(size) for size in sizes]
    encoder = RangeEncoder()
    encode_by_neighbours(indices, (20, 30), sizes, encoder, tables)
    decoder = RangeDecoder(encoder.to_bytes())
    decoded = decode_by_neighbours((20, 30), sizes, decoder, tables)
    np.testing.assert_array_equal(decoded, indices)
    decoder.finish()


@pytest.mark.parametrize("count", [50, 500, 5000])
def test_a_fitting_table_saves_what_would_be_learned(count: int) -> None:
    random = np.random.default_rng(0)
    weights = 1 / np.arange(1, 1001)
    ids = random.permutation(1000)
    learnt, symbols = (
        ids[random.choice(1000, n, p=weights / weights.sum())] for n in (100_000, count)
    )
    fitting = FrequencyTable.of(1000, *np.unique(learnt, return_counts=True))
    sizes = {}
    for name, table in (("none", None), ("fitting", fitting)):
        encoder = RangeEncoder()
        encode_adaptively(symbols, 1000, encoder, table)
        sizes[name] = len(encoder.to_bytes())
    ideal_bytes = -np.log2((weights / weights.sum())[np.argsort(ids)[symbols]]).sum() / 8
    assert sizes["fitting"] < min(sizes["none"], 1.03 * ideal_bytes + 4)


def test_a_misleading_table_is_overruled() -> None:
    """Of 20,000 symbols none is what the table expects."""
    symbols = 999 - drawn(1000, 20_000)
    sizes = []
    for table in (None, table_of(1000)):
        encoder = RangeEncoder()
        encode_adaptively(symbols, 1000, encoder, table)
        sizes.append(len(encoder.to_bytes()))
    assert sizes[1] < 1.05 * sizes[0]


def test_weights_from_a_table_are_whole_and_exact() -> None:
    counts = Counts(3, np.array([5.0, 1.0, 2.0]))
    np.testing.assert_array_equal(counts.weights(), 4 * 128 * np.array([5, 1, 2]))
    counts.add(np.array([0, 0, 2]))
    # 4 n - 3 of what was seen, times 8, and 3 * 2 + 512 shared out.
    expected = 8 * np.array([5, 0, 1]) + 518 * np.array([5, 1, 2])
    np.testing.assert_array_equal(counts.weights(), expected)
    assert counts.weights().sum() == 4 * (3 + 128) * 8


def test_the_greatest_weights_stay_exact() -> None:
    counts = Counts(2, np.array([2.0**24, 2.0**24]))
    counts._counts = np.array([2.0**25, 3.0])
    weights = counts.weights()
    total = (4 * 2**25 - 3) * 2**25 + (4 * 3 - 3) * 2**25 + (3 * 2 + 512) * 2**25
    assert sum(int(weight) for weight in weights) == total < 2**53


def test_counts_are_scaled_and_rounded() -> None:
    codes = np.array([0, 1, 3])
    np.testing.assert_array_equal(
        FrequencyTable.of(5, codes, np.array([9, 1, 1023])).counts, [10, 1, 0, 1024, 0]
    )
    huge = FrequencyTable.of(5, codes, np.array([1 << 50, 1, 1 << 49])).counts
    assert 1.7 * huge[3] < huge[0] < 2.3 * huge[3]
    assert (huge[1], huge[2]) == (1, 0)
    assert 1 << 19 < huge.sum() < 1 << 22
    high = FrequencyTable.of(1 << 20, np.array([0, 3, 4]), np.array([1, 1, 1]))
    assert high.counts.size == 1 << 18
    assert high.counts[:2].tolist() == [2, 1]


def test_weights_of_high_bits_are_sums() -> None:
    table = FrequencyTable.of(6, np.arange(6), np.array([1, 2, 3, 4, 5, 6]))
    np.testing.assert_array_equal(table.weights(0), 4 * table.counts + 1)
    np.testing.assert_array_equal(table.weights(1), [13, 29, 45])
    np.testing.assert_array_equal(table.weights(2), [41, 45])


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (np.zeros(3, np.int64), r"expected int64 \[4\], got int64 \[3\]"),
        (np.zeros(4), r"expected int64 \[4\], got float64 \[4\]"),
        (np.array([0, -1, 2, 3]), "from 0 on"),
        (np.array([1 << 22, 0, 0, 0]), "together below 4194304"),
        (np.array([1 << 21, 1 << 21, 0, 0]), "together below 4194304"),
        (np.array([1 << 62] * 4), "together below 4194304"),
        (np.array([9, 0, 0, 0]), "three significant bits"),
    ],
)
def test_other_counts_are_refused(counts: np.ndarray, message: str, unchecked_shapes: None) -> None:
    with pytest.raises(ShapeError, match=message):
        FrequencyTable(4, counts)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(SIZES), min_size=1, max_size=4), st.integers(0, 3))
def test_tables_are_coded_compactly(sizes: list[int], seed: int) -> None:
    tables = StreamTables(tuple(table_of(size, 2000, seed + i) for i, size in enumerate(sizes)))
    data = tables.to_bytes()
    read = StreamTables.from_bytes(data, sizes)
    for table, same in zip(tables.codebooks, read.codebooks, strict=True):
        np.testing.assert_array_equal(same.counts, table.counts)
    assert read.digest == tables.digest
    assert len(data) <= max_tables_bytes(sizes)


def test_the_digest_is_that_of_sizes_and_counts() -> None:
    tables = StreamTables((FrequencyTable(2, np.array([3, 0])), FrequencyTable(1, np.array([7]))))
    expected = hashlib.blake2b(struct.pack("<5q", 2, 3, 0, 1, 7), digest_size=4).digest()
    assert tables.digest == expected


def test_tables_cover_the_first_codebooks() -> None:
    tables = StreamTables((table_of(512), table_of(3)))
    assert tables.covers((512, 3))
    assert tables.covers((512,))
    assert not tables.covers((3,))
    assert not tables.covers((512, 3, 3))


def test_too_many_entries_are_refused_before_they_take_memory() -> None:
    sizes = (1 << 62,) * 20_000
    assert not can_have_tables(sizes)
    assert can_have_tables(sizes[:8])
    with pytest.raises(CodingError, match="expected tables of up to 2097152 counts"):
        StreamTables.from_bytes(b"", sizes)


def test_damaged_tables_are_refused() -> None:
    data = StreamTables((table_of(512),)).to_bytes()
    with pytest.raises(CodingError, match="words of 4 bytes"):
        StreamTables.from_bytes(data[:-1], (512,))
    with pytest.raises(CodingError, match="got more bytes"):
        StreamTables.from_bytes(data + bytes(8), (512,))
    encoder = RangeEncoder()
    encode_adaptively(np.array([22, 22]), 23, encoder)
    encoder.encode(np.zeros(4, np.int64), np.ones(2))
    with pytest.raises(CodingError, match="together below 4194304"):
        StreamTables.from_bytes(encoder.to_bytes(), (2,))
