"""Bits and indices, against Python's integers."""

import pytest
import torch

from vqkit.ops import bits_to_index, index_to_bits, reverse_bits


@pytest.mark.parametrize("num_bits", [1, 16, 25, 32, 40, 62])
def test_trap_8_indices_equal_python_integers_in_both_orders(num_bits):
    """In float32 a 36-bit index was wrong for 999 tokens of 1,000."""
    bits = torch.randint(2, (200, num_bits)).bool()
    bits[0], bits[1] = True, False
    little, big = bits_to_index(bits, "little"), bits_to_index(bits, "big")
    for row, low, high in zip(bits.tolist(), little.tolist(), big.tolist(), strict=True):
        text = "".join("1" if bit else "0" for bit in row)
        assert high == int(text, 2)
        assert low == int(text[::-1], 2)
    assert torch.equal(index_to_bits(little, num_bits, "little"), bits)
    assert torch.equal(index_to_bits(big, num_bits, "big"), bits)
    assert torch.equal(reverse_bits(little, num_bits), big)
    assert torch.equal(reverse_bits(big, num_bits), little)


def test_small_integers_hold_and_no_token_stays():
    index = torch.tensor([5, -1], dtype=torch.int32)
    assert index_to_bits(index[:1], 3).tolist() == [[True, False, True]]
    assert reverse_bits(index, 4).tolist() == [10, -1]
    assert reverse_bits(index, 4).dtype == torch.int64
