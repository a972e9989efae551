"""Orders and vocabularies against loops that anybody can follow."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vqkit.errors import ConfigError
from vqkit.files.dataset.export import ORDERS, SEPARATORS, Sequencing, Vocabulary
from vqkit.files.format_error import FormatError

SHAPES = st.lists(st.integers(0, 4), max_size=3).flatmap(
    lambda grid: st.integers(1, 5).map(lambda levels: (*grid, levels))
)
PADDING = 999


def naive(name: str, grid: np.ndarray) -> list[int]:
    """One token after another."""
    *sizes, levels = grid.shape
    places = [*product(*map(range, sizes))]
    if name == "raster":
        return [grid[(*p, k)] for p in places for k in range(levels)]
    if name == "level-major":
        return [grid[(*p, k)] for k in range(levels) for p in places]
    if name == "time-major":
        if not sizes:
            return [grid[(k,)] for k in range(levels)]
        rest = [*product(*map(range, sizes[1:]))]
        return [grid[(t, *p, k)] for t in range(sizes[0]) for k in range(levels) for p in rest]
    sequence = []
    for step in range(len(places) + levels - 1 if places else 0):
        for k in range(levels):
            there_is = 0 <= step - k < len(places)
            sequence.append(grid[(*places[step - k], k)] if there_is else PADDING)
    return sequence


@settings(deadline=None)
@given(shape=SHAPES, name=st.sampled_from([*ORDERS]), seed=st.integers(0, 99))
def test_orders(shape: tuple[int, ...], name: str, seed: int) -> None:
    grid = np.random.default_rng(seed).integers(0, 900, shape)
    order = ORDERS[name]
    ids = order.flatten(grid, PADDING)
    assert ids.tolist() == naive(name, grid)
    assert order.length(shape) == len(ids)
    back = order.unflatten(ids, shape, PADDING)
    assert back.shape == shape
    assert np.array_equal(back, grid)
    for wrong in (np.append(ids, 1), ids[:-1] if len(ids) else np.zeros(1, np.int64)):
        with pytest.raises(FormatError, match=rf"expected {len(ids)} ids .* in {name} order"):
            order.unflatten(wrong, shape, PADDING)


@settings(deadline=None)
@given(
    shape=SHAPES, name=st.sampled_from([*ORDERS]), level_offsets=st.booleans(),
    separator=st.sampled_from(SEPARATORS), seed=st.integers(0, 99),
)  # fmt: skip
def test_ids_and_back(
    shape: tuple[int, ...], name: str, level_offsets: bool, separator: str, seed: int
) -> None:
    random = np.random.default_rng(seed)
    sizes = tuple(int(size) for size in random.integers(1, 50, shape[-1]))
    vocabulary = Vocabulary(sizes, level_offsets, separator, ORDERS[name].needs_padding)
    sequencing = Sequencing(ORDERS[name], vocabulary)
    columns = [random.integers(0, size, shape[:-1]) for size in sizes]
    grid = np.stack(columns, axis=-1)
    ids = sequencing.ids(grid)
    assert len(ids) == sequencing.length(shape)
    assert not len(ids) or 0 <= ids.min() <= ids.max() < vocabulary.size
    assert np.array_equal(sequencing.grid(ids, shape), grid)
    # As a model writes them: without separators.
    bare = [i for i in ids if i not in (vocabulary.begin, vocabulary.end)]
    assert np.array_equal(sequencing.grid(np.array(bare), shape), grid)
    specials = {vocabulary.begin, vocabulary.end, vocabulary.padding} - {None}
    assert vocabulary.size == vocabulary.num_codes + len(specials)
    assert all(special >= vocabulary.num_codes for special in specials if special is not None)
    if level_offsets and name != "delay":
        # Each id tells its level.
        levels = np.searchsorted(np.cumsum(sizes), np.array(bare, np.int64), side="right")
        assert sorted(levels) == sorted([*range(shape[-1])] * (grid.size // shape[-1]))


def test_what_is_no_sequence() -> None:
    vocabulary = Vocabulary((10, 20), level_offsets=True, separator="both", has_padding=True)
    sequencing = Sequencing(ORDERS["delay"], vocabulary)
    ids = sequencing.ids(np.array([[1, 2], [3, 4]]))
    assert ids.tolist() == [30, 1, 32, 3, 12, 32, 14, 31]
    for place, value, match in (
        (0, 31, "expected id 30 before the sample, got \\[31\\]"),
        (7, 30, "expected id 31 after the sample"),
        (2, 5, "expected the padding where delayed levels begin"),
        (1, 10, "expected ids of 10 codes for level 0"),
        (4, 9, "expected ids of 20 codes for level 1"),
        (4, 30, "expected ids of 20 codes for level 1"),
    ):
        wrong = ids.copy()
        wrong[place] = value
        with pytest.raises(FormatError, match=match):
            sequencing.grid(wrong, (2, 2))


def test_vocabularies_that_do_not_fit() -> None:
    with pytest.raises(ConfigError, match="expected up to 4294967296 ids, got 4294967297"):
        Vocabulary((1 << 32,), separator="end")
    with pytest.raises(ConfigError, match="expected one of none, end, both, got 'begin'"):
        Vocabulary((4,), separator="begin")
    assert Vocabulary((1 << 31, 1 << 31)).size == 1 << 31
