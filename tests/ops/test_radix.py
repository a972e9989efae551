import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vqkit.errors import ConfigError
from vqkit.ops import digits_to_index, index_to_digits
from vqkit.ops.radix import check_bases

# The products at which floats, int32 and float64 lose digits, and the last one allowed.
WIDE = {
    "2^16": [256, 256],
    "2^24+1": [97, 257, 673],
    "2^31+": [2**16, 2**15 + 1],
    "2^40": [16] * 10,
    "2^53+": [2**20] * 2 + [2**14 + 1],
    "2^62": [4] * 31,
}


def naive_index(digits: list[int], bases: list[int]) -> int:
    """Python integers, last digit first (Horner)."""
    index = 0
    for digit, base in zip(reversed(digits), reversed(bases), strict=True):
        index = index * base + digit
    return index


@pytest.mark.parametrize("bases", [[2], [5, 3], [4, 3, 2, 5], [2] * 8])
def test_every_index_of_small_bases_in_the_order_of_counting(bases):
    # The first digit is the fastest: the last axis of a product counted backwards.
    digits = [list(reversed(d)) for d in itertools.product(*(range(b) for b in reversed(bases)))]
    indices = torch.arange(math.prod(bases))
    assert torch.equal(digits_to_index(torch.tensor(digits), bases), indices)
    assert torch.equal(digits_to_index(torch.tensor(digits).float(), bases), indices)
    assert torch.equal(index_to_digits(indices, bases), torch.tensor(digits))


@pytest.mark.parametrize("bases", WIDE.values(), ids=WIDE.keys())
def test_wide_indices_are_exact(bases):
    product = math.prod(bases)
    indices = torch.randint(product, (2000,))
    indices[:4] = torch.tensor([0, 1, product - 2, product - 1])
    digits = index_to_digits(indices, bases)
    assert ((digits >= 0) & (digits < torch.tensor(bases))).all()
    assert torch.equal(digits_to_index(digits, bases), indices)
    if max(bases) <= 2**24:
        assert torch.equal(digits_to_index(digits.float(), bases), indices)
    naive = [naive_index(row, bases) for row in digits.tolist()]
    assert naive == indices.tolist()


@given(data=st.data(), bases=st.lists(st.integers(2, 2**20), min_size=1, max_size=3))
@settings(max_examples=50, deadline=None)
def test_any_bases(data, bases):
    index = data.draw(st.integers(0, math.prod(bases) - 1))
    digits = index_to_digits(torch.tensor(index), bases)
    assert naive_index(digits.tolist(), bases) == index
    assert int(digits_to_index(digits, bases)) == index


@pytest.mark.parametrize("dtype", [torch.int8, torch.int16, torch.int32, torch.int64])
def test_narrow_dtypes_do_not_overflow(dtype):
    bases = [100] * 9
    digits = torch.full((3, 9), 99, dtype=dtype)
    index = digits_to_index(digits, bases)
    assert index.dtype == torch.int64
    assert index.tolist() == [100**9 - 1] * 3
    # A base that the dtype cannot hold.
    assert index_to_digits(torch.tensor(99, dtype=dtype), [10, 1000]).tolist() == [9, 9]


def test_shapes():
    bases = [3, 4]
    assert digits_to_index(torch.zeros(2, 5, 2, dtype=torch.int64), bases).shape == (2, 5)
    assert index_to_digits(torch.zeros(2, 5, dtype=torch.int64), bases).shape == (2, 5, 2)
    assert digits_to_index(torch.zeros(0, 2, dtype=torch.int64), bases).shape == (0,)


def test_a_wrong_number_of_digits_is_refused():
    with pytest.raises(ValueError, match="argument"):
        digits_to_index(torch.tensor([1, 2, 1]), [3, 4])


@pytest.mark.parametrize("bases", [[], [1], [8, 1], [0], [-3]])
def test_bases_below_two_are_refused(bases):
    with pytest.raises(ConfigError, match="integers >= 2"):
        check_bases(bases)


def test_the_limit_is_two_to_the_62():
    check_bases([4] * 31)
    for bases in ([4] * 30 + [5], [2] * 63, [2**62 + 1]):
        with pytest.raises(ConfigError, match=r"at most 2\^62"):
            check_bases(bases)
