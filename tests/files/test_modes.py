import numpy as np
import pytest

from vqkit.errors import ConfigError
from vqkit.files.format_error import FormatError
from vqkit.files.modes import (
    ADAPTIVE,
    FIXED_WIDTH,
    NEIGHBOURS,
    CodingMode,
    check_coder,
    coding_mode,
    encode_chunk,
    max_payload_bytes,
)


def test_registry() -> None:
    assert coding_mode(0) is FIXED_WIDTH
    assert coding_mode(2) is ADAPTIVE
    assert coding_mode(3) is NEIGHBOURS
    with pytest.raises(FormatError, match="expected a coding mode of"):
        coding_mode(1)


def test_fixed_width_holds_a_block_per_codebook() -> None:
    indices = np.array([[1, 0, 4], [2, 0, 0], [3, 0, 3]])
    payload = FIXED_WIDTH.encode(indices, (3,), (16, 1, 5))
    assert payload == bytes([0x21, 0x03, 0b011_000_100 & 0xFF, 0b011_000_100 >> 8])
    assert len(payload) == max_payload_bytes(3, (16, 1, 5))
    np.testing.assert_array_equal(FIXED_WIDTH.decode(payload, (3,), (16, 1, 5)), indices)


def test_fixed_width_refuses_an_index_beyond_its_codebook() -> None:
    with pytest.raises(FormatError, match="indices below 5 in codebook 1, got 7"):
        FIXED_WIDTH.decode(bytes([0x00, 0x07]), (1,), (16, 5))


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
    payload = mode.encode(indices, (num_positions,), codebook_sizes)
    decoded = mode.decode(payload, (num_positions,), codebook_sizes)
    np.testing.assert_array_equal(decoded, indices)


def test_the_smallest_mode_is_taken_and_the_lowest_of_equals() -> None:
    sizes = (1024,)
    assert encode_chunk(skewed(5000, sizes), (5000,), sizes, "auto")[0] == 2
    assert encode_chunk(skewed(5000, sizes), (5000,), sizes, "fixed")[0] == 0
    in_runs = skewed(5000, sizes).repeat(5, axis=0)
    assert encode_chunk(in_runs, (25_000,), sizes, "auto")[0] == 3
    # Nothing to code, and nothing to gain.
    assert encode_chunk(np.zeros((9, 1), np.int64), (9,), (1,), "auto") == (0, b"")
    uniform = np.random.default_rng(0).integers(0, 1024, (5000, 1))
    packed = FIXED_WIDTH.encode(uniform, (5000,), sizes)
    assert encode_chunk(uniform, (5000,), sizes, "auto") == (0, packed)


@pytest.mark.parametrize("num_positions", [1, 100, 3000])
def test_no_chunk_is_larger_than_at_fixed_width(num_positions: int) -> None:
    random = np.random.default_rng(num_positions)
    for size in (2, 3, 17, 512, 1 << 20):
        indices = random.integers(0, size, (num_positions, 2))
        payload = encode_chunk(indices, (num_positions,), (size, size), "auto")[1]
        assert len(payload) <= max_payload_bytes(num_positions, (size, size))


@pytest.mark.parametrize("mode", [ADAPTIVE, NEIGHBOURS])
def test_range_coded_modes_refuse_what_no_encoder_writes(mode: CodingMode) -> None:
    sizes = (1000, 1 << 30)
    payload = mode.encode(skewed(100, sizes), (100,), sizes)
    with pytest.raises(FormatError, match="words of 4 bytes"):
        mode.decode(payload[:-1], (100,), sizes)
    with pytest.raises(FormatError, match="got more bytes"):
        mode.decode(payload + bytes(8), (100,), sizes)


def test_range_coded_modes_refuse_an_index_beyond_its_codebook() -> None:
    """The low bits can make one of the highest value above them."""
    size, larger = (1 << 20) + 1, (1 << 20) + 8
    payload = ADAPTIVE.encode(np.full((1, 1), larger - 1), (1,), (larger,))
    with pytest.raises(FormatError, match=f"indices below {size}, got {larger - 1}"):
        ADAPTIVE.decode(payload, (1,), (size,))


def test_unknown_coders_are_refused() -> None:
    with pytest.raises(ConfigError, match="expected one of auto, fixed, got 'zip'"):
        check_coder("zip")
