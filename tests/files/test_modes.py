from typing import Any

import numpy as np
import pytest

from vqkit.errors import ConfigError
from vqkit.files.format_error import FormatError
from vqkit.files.modes import (
    ADAPTIVE,
    FIXED_WIDTH,
    NEIGHBOURS,
    ChunkLayout,
    CodingMode,
    check_coder,
    coding_mode,
    decode_chunk,
    encode_chunk,
)
from vqkit.files.resources import CodingResources

NOTHING = CodingResources()


def layout(grid: tuple[int, ...], codebook_sizes: tuple[int, ...]) -> ChunkLayout:
    return ChunkLayout("tokens", grid, codebook_sizes)


def encode(
    indices: np.ndarray, grid: tuple[int, ...], sizes: tuple[int, ...], coder: str
) -> tuple[int, bytes]:
    return encode_chunk(indices, layout(grid, sizes), coder, NOTHING)


def decode(mode: CodingMode, payload: bytes, grid: tuple[int, ...], sizes: tuple[int, ...]) -> Any:
    return mode.decode(payload, layout(grid, sizes), NOTHING, len(sizes))


def test_registry() -> None:
    assert coding_mode(0) is FIXED_WIDTH
    assert coding_mode(2) is ADAPTIVE
    assert coding_mode(3) is NEIGHBOURS
    with pytest.raises(FormatError, match="expected a coding mode of"):
        coding_mode(99)


def test_fixed_width_holds_a_block_per_codebook() -> None:
    indices = np.array([[1, 0, 4], [2, 0, 0], [3, 0, 3]])
    payload = FIXED_WIDTH.encode(indices, layout((3,), (16, 1, 5)), NOTHING)
    assert payload == bytes([0x21, 0x03, 0b011_000_100 & 0xFF, 0b011_000_100 >> 8])
    assert len(payload) == layout((3,), (16, 1, 5)).fixed_width_bytes
    np.testing.assert_array_equal(decode(FIXED_WIDTH, payload, (3,), (16, 1, 5)), indices)


def test_fixed_width_refuses_an_index_beyond_its_codebook() -> None:
    with pytest.raises(FormatError, match="indices below 5 in codebook 1, got 7"):
        decode(FIXED_WIDTH, bytes([0x00, 0x07]), (1,), (16, 5))


def skewed(num_positions: int, codebook_sizes: tuple[int, ...]) -> np.ndarray:
    """Indices of which the lowest are by far the most frequent, and the highest once."""
    random = np.random.default_rng(0)
    columns = [
        (random.random(num_positions) ** 8 * size).astype(np.int64) for size in codebook_sizes
    ]
    indices = np.stack(columns, axis=1)
    indices[-1] = np.array(codebook_sizes) - 1
    return indices


@pytest.mark.parametrize("num_positions", [1, 2, 64, 65, 5000])
@pytest.mark.parametrize(
    "codebook_sizes", [(1,), (2,), (1000, 1, 3), (1 << 18, (1 << 18) + 1), (1 << 24, 1 << 62)]
)
@pytest.mark.parametrize("mode", [FIXED_WIDTH, ADAPTIVE, NEIGHBOURS])
def test_round_trip(num_positions: int, codebook_sizes: tuple[int, ...], mode: CodingMode) -> None:
    indices = skewed(num_positions, codebook_sizes)
    payload = mode.encode(indices, layout((num_positions,), codebook_sizes), NOTHING)
    decoded = decode(mode, payload, (num_positions,), codebook_sizes)
    np.testing.assert_array_equal(decoded, indices)


def test_the_smallest_mode_is_taken_and_the_lowest_of_equals() -> None:
    sizes = (1024,)
    assert encode(skewed(5000, sizes), (5000,), sizes, "auto")[0] == 2
    assert encode(skewed(5000, sizes), (5000,), sizes, "fixed")[0] == 0
    in_runs = skewed(5000, sizes).repeat(5, axis=0)
    assert encode(in_runs, (25_000,), sizes, "auto")[0] == 3
    # Nothing to code, and nothing to gain.
    assert encode(np.zeros((9, 1), np.int64), (9,), (1,), "auto") == (0, b"")
    uniform = np.random.default_rng(0).integers(0, 1024, (5000, 1))
    packed = FIXED_WIDTH.encode(uniform, layout((5000,), sizes), NOTHING)
    assert encode(uniform, (5000,), sizes, "auto") == (0, packed)


@pytest.mark.parametrize("num_positions", [1, 100, 3000])
def test_no_chunk_is_larger_than_at_fixed_width(num_positions: int) -> None:
    random = np.random.default_rng(num_positions)
    for size in (2, 3, 17, 512, 1 << 20):
        indices = random.integers(0, size, (num_positions, 2))
        payload = encode(indices, (num_positions,), (size, size), "auto")[1]
        assert len(payload) <= layout((num_positions,), (size, size)).fixed_width_bytes


@pytest.mark.parametrize("mode", [FIXED_WIDTH, ADAPTIVE, NEIGHBOURS])
def test_a_prefix_of_the_codebooks_decodes_alone(mode: CodingMode) -> None:
    sizes = (1000, 1, 3, 1 << 20)
    indices, shape = skewed(300, sizes), layout((300,), sizes)
    payload = mode.encode(indices, shape, NOTHING)
    assert payload is not None
    for number in range(1, 5):
        decoded = decode_chunk(mode.number, payload, shape, NOTHING, number)
        np.testing.assert_array_equal(decoded, indices[:, :number])


@pytest.mark.parametrize("mode", [ADAPTIVE, NEIGHBOURS])
def test_range_coded_modes_refuse_what_no_encoder_writes(mode: CodingMode) -> None:
    sizes = (1000, 1 << 30)
    payload = mode.encode(skewed(100, sizes), layout((100,), sizes), NOTHING)
    with pytest.raises(FormatError, match="words of 4 bytes"):
        decode(mode, payload[:-1], (100,), sizes)
    with pytest.raises(FormatError, match="got more bytes"):
        decode(mode, payload + bytes(8), (100,), sizes)


def test_range_coded_modes_refuse_an_index_beyond_its_codebook() -> None:
    """The low bits can make one of the highest value above them."""
    size, larger = (1 << 20) + 1, (1 << 20) + 8
    payload = ADAPTIVE.encode(np.full((1, 1), larger - 1), layout((1,), (larger,)), NOTHING)
    with pytest.raises(FormatError, match=f"indices below {size}, got {larger - 1}"):
        decode(ADAPTIVE, payload, (1,), (size,))


def test_unknown_coders_are_refused() -> None:
    with pytest.raises(ConfigError, match="expected one of auto, archive, fixed, got 'zip'"):
        check_coder("zip")
