import pickle

import numpy as np
import pytest
from PIL import Image

from vqkit.data import TorchvisionImages
from vqkit.errors import ConfigError


@pytest.fixture
def cifar_root(tmp_path, monkeypatch):
    """CIFAR-10 as it lies on disk, with four test images, and without its checksums."""
    from torchvision.datasets import CIFAR10

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)
    (folder / "test_batch").write_bytes(
        pickle.dumps({"data": pixels.reshape(4, -1), "labels": [0, 1, 2, 3]})
    )
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", None]])
    monkeypatch.setattr(CIFAR10, "train_list", [])
    monkeypatch.setitem(CIFAR10.meta, "md5", None)
    return tmp_path, pixels


def test_cifar_10_from_its_files(cifar_root):
    root, pixels = cifar_root
    source = TorchvisionImages("CIFAR10", {"root": str(root), "train": False})
    assert len(source) == 4
    for (name, image), expected in zip(source.items(), pixels, strict=True):
        assert name.startswith("CIFAR10/")
        assert (((image + 1) * 127.5).round().numpy() == expected).all()


def test_fake_data_in_grey():
    source = TorchvisionImages("FakeData", {"size": 3, "image_size": (3, 6, 7)}, channels=1)
    assert source[2].shape == (1, 6, 7)
    assert source.num_skipped == 0


def test_nothing_is_downloaded_unasked(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot open CIFAR10.*download: true"):
        TorchvisionImages("CIFAR10", {"root": str(tmp_path)})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dataset", ["NoSuchSet", "os", "__builtins__", "folder"])
def test_only_data_sets_have_names(dataset):
    with pytest.raises(ConfigError, match=f"got '{dataset}'"):
        TorchvisionImages(dataset, {})


def test_wrong_options_are_configuration_errors():
    with pytest.raises(ConfigError, match="unexpected keyword argument 'colour'"):
        TorchvisionImages("FakeData", {"colour": True})


def test_broken_files_are_skipped(tmp_path):
    (tmp_path / "class").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "class" / "a.png")
    (tmp_path / "class" / "b.png").write_bytes(b"no image")
    source = TorchvisionImages("ImageFolder", {"root": str(tmp_path)})
    assert source[1].shape == (3, 4, 4)
    assert source.num_skipped == 1


def test_items_that_are_no_images_are_named(tmp_path):
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "a.txt").write_text("hello")
    source = TorchvisionImages(
        "DatasetFolder", {"root": str(tmp_path), "loader": str, "extensions": (".txt",)}
    )
    assert list(source.items()) == []
    assert source.num_skipped == 1
