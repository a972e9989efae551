import subprocess
import sys

import pytest

from vqkit.data import HELD_OUT_PHOTOS, TRAINING_PHOTOS, Photos
from vqkit.errors import ConfigError, MissingExtraError
from vqkit.media import read_image


def test_every_photograph_is_in_the_wheel_and_none_is_held_out_and_trained_on():
    photos = Photos((*TRAINING_PHOTOS, *HELD_OUT_PHOTOS))
    items = dict(photos.items())
    assert list(items) == [*TRAINING_PHOTOS, *HELD_OUT_PHOTOS]
    assert photos.num_skipped == 0
    assert not set(TRAINING_PHOTOS) & set(HELD_OUT_PHOTOS)
    assert items["chelsea"].shape == (3, 300, 451)
    assert sum(image.nbytes for image in items.values()) < photos.cache_size_bytes
    assert all(min(image.shape[1:]) >= 300 for image in items.values())


def test_a_photograph_is_the_one_that_scikit_image_shows():
    from skimage import data

    expected = data.chelsea()
    image = read_image(Photos(["chelsea"]).paths[0])
    assert (((image + 1) * 127.5).round().permute(1, 2, 0).numpy() == expected).all()


def test_scikit_image_is_not_imported_for_them():
    code = (
        "import sys; from vqkit.data import Photos; Photos()[0];"
        "assert not {'skimage', 'lightning', 'torchvision', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_is_an_error():
    with pytest.raises(ConfigError, match=r"astronaut.*got 'lena'"):
        Photos(["lena"])


def test_an_absent_package_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="pip install scikit-image"):
        Photos()


def test_an_absent_file_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr("vqkit.data.photos._folder", lambda: tmp_path)
    with pytest.raises(MissingExtraError, match=r"lacks astronaut\.png"):
        Photos(["astronaut"])
