"""Pictures of cells: borders, tints, and that they show what the quantizer does."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from vqkit.evaluation.cards.cells import CELLS, _borders, _tints, draw_cells


def test_borders_lie_on_both_sides_of_a_change():
    cells = torch.tensor([[0, 0, 0, 1, 1], [0, 0, 0, 1, 1]])
    assert _borders(cells).int().tolist() == [[0, 0, 1, 1, 0]] * 2
    assert _borders(cells.T).int().tolist() == [[0, 0], [0, 0], [1, 1], [1, 1], [0, 0]]


def test_neighbours_have_different_tints():
    cells = torch.arange(30).reshape(5, 6).repeat_interleave(3, 0).repeat_interleave(3, 1)
    tints = _tints(cells)
    for axis in (0, 1):
        length = cells.shape[axis] - 1
        here, there = (x.narrow(axis, 0, length) for x in (cells, tints))
        next_cell, next_tint = (x.narrow(axis, 1, length) for x in (cells, tints))
        assert bool(((here == next_cell) == (there == next_tint)).all())


@pytest.mark.parametrize("name", CELLS)
def test_every_picture_is_small_and_shows_something(name):
    data = draw_cells(name, num_steps=2)
    assert len(data) < 60_000
    with Image.open(io.BytesIO(data)) as opened:
        pixels = np.asarray(opened.convert("RGB"))
    assert pixels.shape == (CELLS[name].height, 400, 3)
    # More than half of it is coloured: not an empty frame.
    assert (pixels.min(axis=-1) < 250).mean() > 0.5


def test_the_same_seed_gives_the_same_file():
    assert draw_cells("multiscale", 2, seed=1) == draw_cells("multiscale", 2, seed=1)
    assert draw_cells("multiscale", 2, seed=1) != draw_cells("multiscale", 2, seed=2)
