"""Coding by neighbours: nothing is lost on any grid, and repeated symbols cost little."""

from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqkit.coding import (
    RangeDecoder,
    RangeEncoder,
    decode_by_neighbours,
    encode_adaptively,
    encode_by_neighbours,
)
from vqkit.coding.neighbours import _Layout
from vqkit.errors import CodingError

GRIDS = [
    (),
    (1,),
    (7,),
    (300,),
    (1, 1, 5),
    (9, 1, 4),
    (20, 16),
    (20, 15),
    (3, 5, 129),
    (2, 3, 4, 17),
]


def coded(indices: np.ndarray, grid: tuple[int, ...], sizes: tuple[int, ...]) -> bytes:
    encoder = RangeEncoder()
    encode_by_neighbours(indices, grid, sizes, encoder)
    return encoder.to_bytes()


def decoded(data: bytes, grid: tuple[int, ...], sizes: tuple[int, ...]) -> np.ndarray:
    decoder = RangeDecoder(data)
    indices = decode_by_neighbours(grid, sizes, decoder)
    decoder.finish()
    return indices


def drawing(grid: tuple[int, ...], sizes: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Blocks of one index, with some noise."""
    random = np.random.default_rng(seed)
    columns = []
    for size in sizes:
        coarse = random.integers(0, size, [-(-n // 5) for n in grid])
        for axis, n in enumerate(grid):
            coarse = coarse.repeat(5, axis=axis).take(range(n), axis=axis)
        noise = random.integers(0, size, grid)
        columns.append(np.where(random.random(grid) < 0.1, noise, coarse).reshape(-1))
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("sizes", [(1,), (2,), (1, 700, 1, 3), (1 << 62, 5)], ids=str)
def test_round_trip(grid: tuple[int, ...], sizes: tuple[int, ...]) -> None:
    for indices in (
        drawing(grid, sizes),
        np.zeros((prod(grid), len(sizes)), np.int64),
        np.tile(np.array(sizes) - 1, (prod(grid), 1)),
    ):
        np.testing.assert_array_equal(decoded(coded(indices, grid, sizes), grid, sizes), indices)


@given(
    grid=st.lists(st.integers(1, 20), max_size=4).filter(lambda grid: prod(grid) < 2000),
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    seed=st.integers(0, 99),
)
def test_round_trip_of_any_grid(grid: list[int], sizes: list[int], seed: int) -> None:
    indices = drawing(tuple(grid), tuple(sizes), seed)
    data = coded(indices, tuple(grid), tuple(sizes))
    np.testing.assert_array_equal(decoded(data, tuple(grid), tuple(sizes)), indices)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_sources_are_those_of_the_definition(grid: tuple[int, ...]) -> None:
    array = drawing(grid, (4,)).reshape(grid)
    axes = [axis for axis in reversed(range(len(grid))) if grid[axis] > 1]
    layout = _Layout(grid)
    sources = layout.sources(array.reshape(-1))
    for position, source in zip(np.ndindex(grid), sources.tolist(), strict=True):
        expected = len(axes)
        for number, axis in reversed(list(enumerate(axes))):
            if position[axis] > 0:
                back = tuple(p - (i == axis) for i, p in enumerate(position))
                if array[back] == array[position]:
                    expected = number
        assert source == expected
    pieces = list(layout.pieces())
    assert [p for piece in pieces for p in range(piece.start, piece.stop)] == list(
        range(layout.num_positions)
    )
    assert all(piece.stop - piece.start <= 128 for piece in pieces)


def test_repeated_symbols_cost_little() -> None:
    grid, sizes = (60, 100), (1024,)
    indices = drawing(grid, sizes)
    encoder = RangeEncoder()
    encode_adaptively(indices[:, 0], 1024, encoder)
    assert len(coded(indices, grid, sizes)) < 0.6 * len(encoder.to_bytes())


def test_codebooks_that_change_together_help_each_other() -> None:
    grid = (60, 100)
    one = drawing(grid, (1024,))
    both = np.concatenate([one, (one * 7 + 1) % 1024], axis=1)
    first, second = (len(coded(both[:, [i]], grid, (1024,))) for i in (0, 1))
    # The second codebook's sources are known from the first; its symbols are not.
    assert len(coded(both, grid, (1024, 1024))) < first + 0.7 * second


def test_a_source_beyond_the_edge_is_refused() -> None:
    layout = _Layout((3, 4))
    sources = layout.sources(np.arange(12))
    assert set(sources) == {2}
    for position, source in ((0, 0), (0, 1), (4, 0), (3, 1)):
        wrong = sources.copy()
        wrong[position] = source
        with pytest.raises(CodingError, match="one before its edge"):
            layout.origins(wrong)


def test_any_bytes_give_indices_in_range_or_an_error() -> None:
    random = np.random.default_rng(0)
    fates = set()
    for words in (0, 1, 3, 30) * 40:
        try:
            indices = decoded(random.bytes(4 * words), (6, 20), (30, 1 << 40))
            assert indices.min() >= 0
            assert (indices < [30, 1 << 40]).all()
            fates.add("decoded")
        except CodingError:
            fates.add("refused")
    assert "refused" in fates
