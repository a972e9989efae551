"""The sources have the moments and densities that their bounds take for granted."""

import math

import pytest
import torch
from PIL import Image
from torch import Generator

from vqkit.errors import MediaError
from vqkit.evaluation.cards.sources import DIM, SOURCES, make_source


@pytest.mark.parametrize("name", SOURCES)
def test_variance_and_seed(name):
    source = make_source(name)
    rows = source.draw(50_000, Generator().manual_seed(0))
    assert rows.shape == (50_000, DIM)
    assert rows.dtype == torch.float32
    variance = (rows - rows.mean(0)).square().mean()
    assert float(variance) == pytest.approx(source.variance, rel=0.05)
    torch.testing.assert_close(rows, make_source(name).draw(50_000, Generator().manual_seed(0)))
    other = source.draw_test(4096, Generator().manual_seed(1))
    assert not torch.equal(other, rows[:4096])


def test_laplace_has_its_mean_absolute_value():
    rows = make_source("laplace").draw(100_000, Generator().manual_seed(0))
    assert float(rows.abs().mean()) == pytest.approx(math.sqrt(0.5), rel=0.01)


def test_sphere_has_length_one():
    rows = make_source("sphere").draw(100, Generator().manual_seed(0))
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(100))


def test_mixture_bound_at_high_rate_is_that_of_its_components():
    """Apart from the overlap, ``h(X) = h(component) + log2(number of components)``."""
    source = make_source("mixture")
    # 3 bits choose the component, the others quantize its Gaussian of variance 0.1.
    expected = 0.1 * 2.0 ** (-2.0 * (20.0 - 3.0) / DIM)
    assert 0.9 * expected < source.distortion(20.0) <= 1.001 * expected


def test_tests_hold_no_vector_of_the_training():
    source = make_source("images")
    test = source.draw_test(20_000, Generator().manual_seed(0)).unique(dim=0)
    train = source.draw(40_000, Generator().manual_seed(0)).unique(dim=0)
    both = torch.cat([test, train]).unique(dim=0)
    # But for flat blocks, which are the same everywhere.
    assert len(both) > 0.995 * (len(test) + len(train))


def test_a_folder_of_images(tmp_path):
    Image.effect_noise((640, 480), 60).save(tmp_path / "noise.png")
    source = make_source("images", tmp_path)
    assert "1 photographs" in source.text
    # White noise: no direction is stronger, the bound is a Gaussian's.
    assert source.distortion(8.0) == pytest.approx(2.0**-4, rel=0.02)
    Image.effect_noise((64, 64), 60).save(tmp_path / "noise.png")
    with pytest.raises(MediaError, match="expected 4096 blocks of 8 x 8 pixels or more, got 64"):
        make_source("images", tmp_path)
