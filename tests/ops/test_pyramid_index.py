"""The index of a pyramid: Fischer's order, one to one, exact at any width."""

import functools
import math

import pytest
import torch

from vqkit.errors import ConfigError, ShapeError
from vqkit.ops.pyramid import project_to_pyramid
from vqkit.ops.pyramid_index import index_to_pyramid, pyramid_to_index
from vqkit.ops.pyramid_table import pyramid_size, pyramid_table, pyramid_word_sizes

WIDE = [(16, 16), (128, 16), (256, 64), (32, 28), (31, 200)]


@pytest.fixture(params=["torch", "compiled"])
def backend(request):
    if request.param == "compiled":
        pytest.importorskip("numba")
    return request.param


@functools.cache
def recurrence(dim: int, pulses: int) -> int:
    if pulses == 0:
        return 1
    if dim == 0:
        return 0
    return (
        recurrence(dim - 1, pulses) + recurrence(dim, pulses - 1) + recurrence(dim - 1, pulses - 1)
    )


def naive_index(y: list[int], pulses: int) -> int:
    """Fischer's order with its sums, in Python integers."""
    index, left = 0, pulses
    for j, value in enumerate(y):
        rest, size = len(y) - j - 1, abs(value)
        if size:
            index += recurrence(rest, left)
            index += 2 * sum(recurrence(rest, left - t) for t in range(1, size))
            if value < 0:
                index += recurrence(rest, left - size)
        left -= size
    return index


def joined(words: list[int], dim: int, pulses: int) -> int:
    """The number whose digits the words are, lowest first."""
    base = pyramid_word_sizes(dim, pulses)[0]
    return sum(word * base**i for i, word in enumerate(words))


def test_sizes_of_the_literature():
    expected = {(4, 2): 32, (4, 5): 360, (8, 3): 688, (8, 8): 157_184, (16, 8): 30_316_544}
    expected |= {(16, 16): 148_348_809_216, (32, 8): 7_172_939_776}
    for (dim, pulses), size in expected.items():
        assert pyramid_size(dim, pulses) == size
    assert math.log2(pyramid_size(128, 16)) == pytest.approx(83.8, abs=0.05)


def test_sizes_by_formula_by_recurrence_and_in_the_table():
    table = pyramid_table(12, 9, torch.device("cpu"))
    for dim in range(1, 13):
        for pulses in range(1, 10):
            assert pyramid_size(dim, pulses) == recurrence(dim, pulses)
            assert table.counts[dim, pulses, 0] == recurrence(dim, pulses)


@pytest.mark.parametrize("dim", range(1, 9))
def test_every_index_is_one_vector(dim, backend):
    for pulses in range(1, 9):
        size = pyramid_size(dim, pulses)
        index = torch.arange(size)[:, None]
        y = index_to_pyramid(index, dim, pulses, backend=backend)
        assert (y.abs().sum(1) == pulses).all()
        assert torch.equal(pyramid_to_index(y, pulses, backend=backend), index)
        if size < 5000:
            assert len(y.unique(dim=0)) == size  # trivially so, given the line above
            assert [naive_index(row, pulses) for row in y.tolist()] == index[:, 0].tolist()


@pytest.mark.parametrize(("dim", "pulses"), WIDE)
def test_wide_indices_are_exact(dim, pulses, backend):
    y = project_to_pyramid(torch.randn(200, dim).pow(3), pulses)
    y = torch.cat([y, extremes(dim, pulses)])
    words = pyramid_to_index(y, pulses, backend=backend)
    assert torch.equal(index_to_pyramid(words, dim, pulses, backend=backend), y)
    for row, vector in zip(words.tolist(), y.tolist(), strict=True):
        assert joined(row, dim, pulses) == naive_index(vector, pulses)
    # The first and the last vector of the order.
    assert joined(words[-2].tolist(), dim, pulses) == 0
    assert joined(words[-1].tolist(), dim, pulses) == pyramid_size(dim, pulses) - 1


def extremes(dim: int, pulses: int) -> torch.Tensor:
    y = torch.zeros(2, dim, dtype=torch.int64)
    y[0, -1], y[1, 0] = pulses, -pulses
    return y


@pytest.mark.parametrize(("dim", "pulses"), WIDE)
def test_random_numbers_below_the_size_are_vectors(dim, pulses, backend):
    """Not only what a projection gives: every part of the range."""
    size, sizes = pyramid_size(dim, pulses), pyramid_word_sizes(dim, pulses)
    numbers = [size * i // 97 for i in range(97)] + [size - 1]
    words = [[n // sizes[0] ** i % sizes[0] for i in range(len(sizes))] for n in numbers]
    if len(sizes) == 1:
        words = [[n] for n in numbers]
    words = torch.tensor(words)
    y = index_to_pyramid(words, dim, pulses, backend=backend)
    assert (y.abs().sum(1) == pulses).all()
    assert torch.equal(pyramid_to_index(y, pulses, backend=backend), words)


@pytest.mark.parametrize(("dim", "pulses"), [*WIDE, (3, 2), (62, 62), (1000, 3)])
def test_words_hold_the_size_without_waste(dim, pulses):
    size, sizes = pyramid_size(dim, pulses), pyramid_word_sizes(dim, pulses)
    assert math.prod(sizes) >= size
    assert max(sizes) <= 2**62
    assert sum((n - 1).bit_length() for n in sizes) == (size - 1).bit_length()
    assert sum(map(math.log2, sizes)) - math.log2(size) < 1e-6
    assert (len(sizes) == 1) == (size <= 2**62)


@pytest.mark.parametrize(("dim", "pulses"), [(4, 5), (16, 16), (128, 16), (32, 28)])
@pytest.mark.usefixtures("unchecked_shapes")
def test_what_is_no_index_is_refused(dim, pulses, backend):
    sizes = pyramid_word_sizes(dim, pulses)
    size = pyramid_size(dim, pulses)
    bad = [[n - 1 for n in sizes]] if len(sizes) > 1 else []  # each word in range, together not
    bad += [[size // sizes[0] ** i % sizes[0] for i in range(len(sizes))]] if len(sizes) > 1 else []
    bad += [[size]] if len(sizes) == 1 else []
    bad += [[-1] * len(sizes), [2**62] * len(sizes)]
    for words in bad:
        with pytest.raises(ShapeError, match=r"no index \(row 1\)"):
            index_to_pyramid(torch.tensor([[0] * len(sizes), words]), dim, pulses, backend=backend)
    with pytest.raises(ShapeError, match="words"):
        index_to_pyramid(torch.zeros(1, len(sizes) + 1, dtype=torch.int64), dim, pulses)


@pytest.mark.usefixtures("unchecked_shapes")
def test_vectors_off_the_pyramid_and_bad_types_are_refused():
    with pytest.raises(ShapeError, match=r"sum to 3.*row 1"):
        pyramid_to_index(torch.tensor([[1, 2], [1, 1]]), 3)
    with pytest.raises(ShapeError, match="integers"):
        pyramid_to_index(torch.ones(1, 3), 3)
    with pytest.raises(ShapeError, match="integers"):
        index_to_pyramid(torch.ones(1, 1), 3, 3)
    with pytest.raises(ConfigError, match="dim >= 1"):
        pyramid_size(0, 3)


def test_empty_and_many_axes(backend):
    y = project_to_pyramid(torch.randn(2, 3, 4, 32), 28)
    words = pyramid_to_index(y, 28, backend=backend)
    assert words.shape == (2, 3, 4, 2)
    assert torch.equal(index_to_pyramid(words, 32, 28, backend=backend), y)
    assert index_to_pyramid(words[:0], 32, 28, backend=backend).shape == (0, 3, 4, 32)
    assert pyramid_to_index(y[:0], 28, backend=backend).shape == (0, 3, 4, 2)


def test_memory_of_the_tables_is_as_stated():
    for (dim, pulses), limit in {(16, 16): 5e3, (128, 16): 7.1e4, (256, 64): 1.4e6}.items():
        assert pyramid_table(dim, pulses, torch.device("cpu")).size_bytes <= limit
