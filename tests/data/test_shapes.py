"""Drawn shapes: every combination of factors once, each factor to be seen, the same every time."""

import pytest
import torch

from vqkit.data import FACTORS, FactorShapes
from vqkit.errors import ConfigError, ShapeError


def test_every_combination_has_a_number_and_back():
    shapes = FactorShapes(16, {"x": 2, "y": 2, "hue": 2, "background": 2, "rotation": 2})
    factors = shapes.factors(torch.arange(len(shapes)))
    assert len(factors.unique(dim=0)) == len(shapes) == 3 * 4 * 2**5
    assert torch.equal(shapes.combination(factors), torch.arange(len(shapes)))
    assert factors.amax(0).tolist() == [n - 1 for n in shapes.num_values.values()]


def test_an_image_is_a_function_of_its_factors():
    ordered, shuffled = FactorShapes(16), FactorShapes(16, order_seed=3)
    number = int(shuffled.combination(shuffled.factors(torch.tensor([5])))[0])
    assert shuffled.name(5) == ordered.name(number)
    assert torch.equal(shuffled.load(5), ordered.load(number))
    image = ordered.load(1000)
    assert image.shape == (3, 16, 16)
    assert image.min() >= -1
    assert image.max() <= 1


@pytest.mark.parametrize("factor", FACTORS)
def test_every_factor_can_be_seen_at_each_of_its_values(factor):
    shapes = FactorShapes(32)
    column = list(FACTORS).index(factor)
    factors = torch.tensor([[1, 2, 5, 3, 4, 3, 1]]).repeat(FACTORS[factor], 1)
    factors[:, column] = torch.arange(FACTORS[factor])
    images = shapes.draw(factors).flatten(1)
    distances = torch.cdist(images, images) + 1e9 * torch.eye(len(images))
    assert distances.min() > 0.5


def test_the_shape_lies_where_its_place_says():
    shapes = FactorShapes(64, {"rotation": 1})
    factors = torch.tensor([[0, 0, 4, 3, x, y, 0] for x in (0, 7) for y in (0, 7)])
    for image, (_, _, _, _, x, y, _) in zip(shapes.draw(factors), factors.tolist(), strict=True):
        cover = (image - image[:, :1, :1]).abs().sum(0)
        weight = cover / cover.sum()
        axis = (torch.arange(64) + 0.5) / 32 - 1
        assert float((weight.sum(0) * axis).sum()) == pytest.approx(x / 7 - 0.5, abs=0.03)
        assert float((weight.sum(1) * axis).sum()) == pytest.approx(y / 7 - 0.5, abs=0.03)


def test_training_and_validation_share_no_image():
    train = FactorShapes(16, order_seed=0, start=64)
    validation = FactorShapes(16, order_seed=0, num_images=64)
    names = {train.name(i) for i in range(0, len(train), 97)}
    assert names.isdisjoint(validation.name(i) for i in range(64))
    assert len(train) + len(validation) == len(FactorShapes(16))


def test_settings_that_make_no_sense():
    for wrong in (
        lambda: FactorShapes(16, {"colour": 2}),
        lambda: FactorShapes(16, {"shape": 4}),
        lambda: FactorShapes(4),
        lambda: FactorShapes(16, start=10**9),
        lambda: FactorShapes(16, num_images=0),
    ):
        with pytest.raises(ConfigError, match="FactorShapes"):
            wrong()
    with pytest.raises(ShapeError, match="factors"):
        FactorShapes(16).draw(torch.tensor([[3, 0, 0, 0, 0, 0, 0]]))
