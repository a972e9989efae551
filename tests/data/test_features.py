"""Features of folders of images."""

import logging
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vqkit.data import ImageFeatures, Patches, Photos, class_folders
from vqkit.errors import ConfigError, MediaError, ShapeError
from vqkit.media import write_image
from vqkit.quantizers import minibatch_kmeans


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, value in {"a/1.png": 0.0, "a/deep/2.png": 0.0, "b/1.png": 1.0, "0.png": -1.0}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write_image(torch.full((3, 20, 30), value), tmp_path / name)
    (tmp_path / "b/broken.png").write_bytes(b"no picture")
    return tmp_path


def test_patches_hold_the_pixels_of_their_place():
    images = torch.randn(2, 3, 9, 13)
    features = Patches(4)(images)
    assert features.shape == (2, 48, 2, 3)
    patch = images[1, :, 4:8, 8:12]
    assert torch.equal(features[1, :, 1, 2], patch.flatten())
    with pytest.raises(ConfigError, match="expected a side"):
        Patches(0)


def test_classes_are_the_folders_below(folder: Path):
    classes = class_folders(folder)
    assert [(c.name, len(c.images)) for c in classes] == [("", 1), ("a", 2), ("b", 2)]
    with pytest.raises(MediaError, match="no such path"):
        class_folders(folder / "missing")
    (folder / "empty").mkdir()
    with pytest.raises(MediaError, match="No images"):
        class_folders(folder / "empty")


def test_bad_files_are_skipped_and_said(folder: Path, caplog: pytest.LogCaptureFixture):
    images = class_folders(folder)[2].images
    with caplog.at_level(logging.WARNING):
        rows = torch.cat([*ImageFeatures(Patches(4), size=16, batch_size=2)(images)])
    assert rows.shape == (16, 48)
    torch.testing.assert_close(rows, torch.ones_like(rows))
    assert images.num_skipped == 1
    assert "broken.png" in caplog.text


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_batches_give_the_rows_of_single_images(batch_size: int):
    photos = Photos(["chelsea", "astronaut", "coffee", "rocket"])
    rows = torch.cat([*ImageFeatures(Patches(8), size=32, batch_size=batch_size)(photos)])
    single = torch.cat([*ImageFeatures(Patches(8), size=32, batch_size=1)(photos)])
    assert torch.equal(rows, single)
    other = torch.cat([*ImageFeatures(Patches(8), size=32, batch_size=1, seed=1)(photos)])
    assert not torch.equal(other, single)
    assert torch.equal(other.sort(0).values, single.sort(0).values)


def grid(images: Tensor) -> Tensor:
    return Patches(8)(images)  # [B, 192, 4, 4]


def sequence(images: Tensor) -> Tensor:
    return grid(images).flatten(2).movedim(1, 2)


def vector(images: Tensor) -> Tensor:
    return grid(images).mean((2, 3))


def test_every_layout_of_features_gives_the_same_rows():
    photos = Photos(["chelsea"])
    of_grid, of_sequence = (
        next(ImageFeatures(module, size=32)(photos)) for module in (grid, sequence)
    )
    assert of_grid.shape == (16, 192)
    assert torch.equal(of_grid, of_sequence)
    pooled = [next(ImageFeatures(module, size=32, pool=1)(photos)) for module in (grid, sequence)]
    assert torch.equal(*pooled)
    torch.testing.assert_close(pooled[0], next(ImageFeatures(vector, size=32)(photos)))
    two = next(ImageFeatures(grid, size=32, pool=2)(photos))
    torch.testing.assert_close(two[0], of_grid[[0, 1, 4, 5]].mean(0))


def test_what_is_no_feature_is_refused():
    photos = Photos(["chelsea"])
    for module in (lambda images: images.sum(), lambda images: [images]):
        with pytest.raises(ShapeError, match="expected the module to give"):
            next(ImageFeatures(module, size=16)(photos))
    with pytest.raises(ShapeError, match="Leave the class token out"):
        next(ImageFeatures(lambda x: sequence(x)[:, 1:], size=32, pool=2)(photos))
    for settings in ({"size": 0}, {"batch_size": 0}, {"pool": 0}):
        with pytest.raises(ConfigError, match="from 1 on"):
            ImageFeatures(grid, **settings)


def test_a_codebook_of_patches_reconstructs_a_photo_it_has_not_seen():
    photos = Photos(["astronaut", "coffee", "rocket"])
    training = [*ImageFeatures(Patches(4), size=128)(photos)]
    codes, _ = minibatch_kmeans(training, 128, iterations=5, num_kept=2000)
    rows = next(ImageFeatures(Patches(4), size=128)(Photos(["chelsea"])))
    error = torch.cdist(rows, codes).amin(1).square().mean() / rows.shape[1]
    # A random choice of patches is far worse, and so is the mean.
    random = torch.cat(training)[torch.randperm(3072)[:128]]
    worse = torch.cdist(rows, random).amin(1).square().mean() / rows.shape[1]
    assert error < 0.95 * worse
    assert error < rows.var() / 3


def test_development_photos(development_media: Path):
    classes = class_folders(development_media / "images/flowers")
    assert len(classes) == 5
    first = next(ImageFeatures(Patches(8), size=64, batch_size=2)(classes[0].images))
    assert first.shape == (128, 192)
