import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqkit.coding import bits_for, pack, packed_size_bytes, unpack
from vqkit.errors import ShapeError


def naive_pack(values: list[int], num_bits: int) -> bytes:
    """The definition: one big little-endian integer."""
    number = sum(value << (i * num_bits) for i, value in enumerate(values))
    return number.to_bytes((len(values) * num_bits + 7) // 8, "little")


@st.composite
def rows(draw: st.DrawFn) -> tuple[int, list[int]]:
    num_bits = draw(st.integers(0, 63))
    return num_bits, draw(st.lists(st.integers(0, (1 << num_bits) - 1), max_size=50))


@given(rows())
def test_packs_as_defined_and_back(row: tuple[int, list[int]]) -> None:
    num_bits, values = row
    packed = pack(np.array(values, np.int64), num_bits)
    assert packed == naive_pack(values, num_bits)
    assert len(packed) == packed_size_bytes(len(values), num_bits)
    unpacked = unpack(packed, len(values), num_bits)
    assert unpacked.dtype == np.int64
    assert unpacked.tolist() == values


@pytest.mark.parametrize("num_bits", [1, 7, 10, 16, 40, 62, 63])
def test_blocks_join_without_a_seam(num_bits: int) -> None:
    values = np.random.default_rng(0).integers(0, 1 << num_bits, (1 << 18) + 3)
    packed = pack(values, num_bits)
    np.testing.assert_array_equal(unpack(packed, values.size, num_bits), values)
    # 8 values fill whole bytes, so any such group stands on its own.
    for first in (0, (1 << 17) - 8, 1 << 17, (1 << 18) - 8):
        group = packed[first * num_bits // 8 : (first + 8) * num_bits // 8]
        assert group == naive_pack(values[first : first + 8].tolist(), num_bits)


def test_takes_strided_rows() -> None:
    values = np.arange(40, dtype=np.int64).reshape(10, 4)
    assert pack(values[:, 1], 6) == naive_pack(values[:, 1].tolist(), 6)


@pytest.mark.parametrize(
    ("codebook_size", "expected"),
    [(1, 0), (2, 1), (3, 2), (512, 9), (513, 10), (1 << 24, 24), ((1 << 40) + 1, 41)],
)
def test_bits_for(codebook_size: int, expected: int) -> None:
    assert bits_for(codebook_size) == expected


def test_bits_for_refuses_an_empty_codebook() -> None:
    with pytest.raises(ShapeError, match="at least 1 code, got 0"):
        bits_for(0)


@pytest.mark.parametrize(
    ("values", "num_bits", "message"),
    [
        (np.array([4]), 2, r"in \[0, 3\], got 4 to 4"),
        (np.array([0, -1]), 2, "got -1 to 0"),
        (np.array([1]), 0, r"in \[0, 0\]"),
        (np.array([1]), 64, "0 to 63 bits a value, got 64"),
        (np.array([1]), -1, "got -1"),
        (np.array([[1]]), 2, r"a row of int64, got int64 \[1, 1\]"),
    ],
)
def test_refuses_what_does_not_fit(values: np.ndarray, num_bits: int, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        pack(values, num_bits)


@pytest.mark.parametrize(
    ("data", "count", "num_bits", "message"),
    [
        (b"\x21", 3, 4, "expected 2 bytes, got 1"),
        (b"\x21\x03\x00", 3, 4, "expected 2 bytes, got 3"),
        (b"\x21\x13", 3, 4, "zeros above bit 4 of the last byte, got 0x13"),
        (b"\x00", 1, 64, "0 to 63 bits"),
    ],
)
def test_refuses_what_no_packer_wrote(data: bytes, count: int, num_bits: int, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        unpack(data, count, num_bits)


@pytest.mark.slow
def test_speed() -> None:
    """Some 150 to 300 million values of 10 bits a second and core: no loop over values."""
    values = np.random.default_rng(0).integers(0, 1024, 4_000_000)
    packed = pack(values, 10)
    for run in (lambda: pack(values, 10), lambda: unpack(packed, values.size, 10)):
        seconds = []
        for _ in range(5):
            start = time.process_time()
            run()
            seconds.append(time.process_time() - start)
        assert values.size / min(seconds) > 20e6
