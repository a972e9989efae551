import dataclasses

import pytest
import torch
from torch import Generator

from vqkit.data import (
    CenterCrop,
    Chain,
    CropToMultiple,
    RandomCrop,
    RandomFlip,
    ResizeShortSide,
    Transform,
    training_chain,
)
from vqkit.data.image_transforms import _reflect_to
from vqkit.errors import ConfigError


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def coordinates(height: int, width: int) -> torch.Tensor:
    """Row, column and a third channel; every pixel differs from every other."""
    rows = torch.arange(height).float()[:, None].expand(height, width)
    columns = torch.arange(width).float()[None].expand(height, width)
    return torch.stack([rows, columns, rows - columns]) / 1000


ALL = [
    RandomCrop(8),
    RandomCrop(8, (0.3, 2.0)),
    RandomFlip(),
    CenterCrop(8),
    CropToMultiple(8),
    ResizeShortSide(8),
    training_chain(8, (0.5, 1.0)),
]


@pytest.mark.parametrize("transform", ALL, ids=str)
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (5, 7), (8, 8), (33, 50)])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_transform_is_pure_and_takes_any_size(transform, size, channels):
    image = torch.rand(channels, *size, generator=seeded()) * 2 - 1
    before = image.clone()
    state = torch.random.get_rng_state()
    results = [transform(image, seeded(seed)) for seed in (1, 1)]
    assert torch.equal(*results)
    assert torch.equal(image, before)
    assert torch.equal(state, torch.random.get_rng_state())
    assert results[0].shape[0] == channels
    assert results[0].abs().max() <= 1
    assert isinstance(transform, Transform)
    assert dataclasses.is_dataclass(transform)


def test_a_random_crop_is_a_window_of_the_image():
    image = coordinates(20, 30)
    seen = set()
    for seed in range(400):
        crop = RandomCrop(7)(image, seeded(seed))
        assert crop.shape == (3, 7, 7)
        top, left = (round(v.item() * 1000) for v in crop[:2, 0, 0])
        assert torch.equal(crop, image[:, top : top + 7, left : left + 7])
        seen.add((top, left))
    rows, columns = zip(*seen, strict=True)
    # Every place, the first and the last included.
    assert set(rows) == set(range(14))
    assert set(columns) == set(range(24))


def test_a_scaled_crop_shows_more_or_less_of_the_image():
    image = coordinates(200, 300)
    spans = []
    for seed in range(200):
        crop = RandomCrop(32, (0.25, 1.0))(image, seeded(seed))
        assert crop.shape == (3, 32, 32)
        spans.append((crop[0, 16, 0] - crop[0, 15, 0]).item() * 1000)  # source rows per row
    assert min(spans) == pytest.approx(1, abs=0.1)
    assert max(spans) == pytest.approx(4, abs=0.2)
    # Uniform in the logarithm: half of the spans are below the geometric mean.
    assert 0.4 < sum(span < 2 for span in spans) / len(spans) < 0.6


def test_a_crop_never_asks_for_more_than_there_is():
    image = coordinates(40, 50)
    crop = RandomCrop(32, (0.1, 0.1))(image, seeded())
    assert crop[0].min() >= -0.001
    # 40 rows fill the 32: nothing is reflected, so that rows never turn back.
    assert (crop[0, 2:-2].diff(dim=0) > 0).all()


def test_shrinking_filters_against_aliasing():
    stripes = torch.ones(1, 64, 64)
    stripes[:, :, ::2] = -1
    small = RandomCrop(16, (0.25, 0.25))(stripes, seeded())
    assert small[:, :, 2:-2].abs().max() < 0.05


def test_short_sides_are_continued_by_reflection():
    row = torch.tensor([[[0.0, 0.1, 0.2]]])
    wide = _reflect_to(row, 1, 9)[0, 0] * 10
    assert wide.round().tolist() == [1, 2, 1, 0, 1, 2, 1, 0, 1]
    single = _reflect_to(torch.full((1, 1, 1), 0.5), 4, 4)
    assert (single == 0.5).all()
    image = torch.rand(3, 6, 11)
    expected = torch.nn.functional.pad(image, (2, 3, 4, 5), mode="reflect")
    assert torch.equal(_reflect_to(image, 15, 16), expected)
    assert _reflect_to(image, 3, 3) is image


def test_flips_happen_as_often_as_asked():
    image = coordinates(2, 3)
    flipped = [torch.equal(RandomFlip(0.25)(image, seeded(s)), image.flip(-1)) for s in range(400)]
    assert 0.18 < sum(flipped) / 400 < 0.32
    assert torch.equal(RandomFlip(0.0)(image, seeded()), image)
    assert torch.equal(RandomFlip(1.0)(image, seeded()), image.flip(-1))


def test_center_crop_and_crop_to_multiple():
    image = coordinates(21, 30)
    assert torch.equal(CenterCrop(10)(image, seeded()), image[:, 5:15, 10:20])
    assert torch.equal(CropToMultiple(8)(image, seeded()), image[:, 2:18, 3:27])
    assert CropToMultiple(8)(coordinates(3, 17), seeded()).shape == (3, 8, 16)
    whole = coordinates(16, 24)
    assert torch.equal(CropToMultiple(8)(whole, seeded()), whole)


def test_resize_short_side():
    assert ResizeShortSide(10)(coordinates(20, 30), seeded()).shape == (3, 10, 15)
    assert ResizeShortSide(10)(coordinates(31, 20), seeded()).shape == (3, 16, 10)
    assert ResizeShortSide(4)(coordinates(1, 400), seeded()).shape == (3, 4, 1600)
    image = coordinates(20, 30)
    assert torch.equal(ResizeShortSide(20)(image, seeded()), image)


def test_a_chain_goes_in_order_and_draws_one_stream_of_chance():
    image = coordinates(40, 50)
    chain = Chain({"resize": ResizeShortSide(20), "crop": RandomCrop(8), "flip": RandomFlip()})
    generator = seeded(5)
    expected = RandomFlip()(
        RandomCrop(8)(ResizeShortSide(20)(image, generator), generator), generator
    )
    assert torch.equal(chain(image, seeded(5)), expected)
    assert chain == Chain(dict(chain.steps))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: RandomCrop(0),
        lambda: RandomCrop(8, (0.0, 1.0)),
        lambda: RandomCrop(8, (2.0, 1.0)),
        lambda: RandomCrop(8, (1.0,)),
        lambda: RandomFlip(1.5),
        lambda: RandomFlip(-0.1),
        lambda: CenterCrop(0),
        lambda: CropToMultiple(0),
        lambda: ResizeShortSide(-3),
    ],
)
def test_settings_out_of_range_are_errors(wrong):
    with pytest.raises(ConfigError, match="expected"):
        wrong()
