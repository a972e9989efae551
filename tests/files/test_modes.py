import numpy as np
import pytest

from vqkit.files.format_error import FormatError
from vqkit.files.modes import FIXED_WIDTH, coding_mode, max_payload_bytes


def test_registry() -> None:
    assert coding_mode(0) is FIXED_WIDTH
    with pytest.raises(FormatError, match="expected a coding mode of"):
        coding_mode(1)


def test_fixed_width_holds_a_block_per_codebook() -> None:
    indices = np.array([[1, 0, 4], [2, 0, 0], [3, 0, 3]])
    payload = FIXED_WIDTH.encode(indices, (16, 1, 5))
    assert payload == bytes([0x21, 0x03, 0b011_000_100 & 0xFF, 0b011_000_100 >> 8])
    assert len(payload) == max_payload_bytes(3, (16, 1, 5))
    np.testing.assert_array_equal(FIXED_WIDTH.decode(payload, 3, (16, 1, 5)), indices)


def test_fixed_width_refuses_an_index_beyond_its_codebook() -> None:
    with pytest.raises(FormatError, match="indices below 5 in codebook 1, got 7"):
        FIXED_WIDTH.decode(bytes([0x00, 0x07]), 1, (16, 5))
