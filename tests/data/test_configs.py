"""Every file in configs/data builds what it says."""

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from vqkit.data import ImageDataModule
from vqkit.paths import config_dir
from vqkit.tokenizers import build, describe

FILES = sorted((config_dir() / "data").rglob("*.yaml"))


def build_data(config):
    return build(config, trusted=["vqkit.data"])


@pytest.fixture
def filled(folder, tmp_path):
    """The configuration of a file, with the places that a user fills in filled in."""

    def fill(file: Path):
        config = OmegaConf.load(file)
        for source in (config.train, config.validation):
            if source._target_ == "vqkit.data.ImageFolder":
                source.path = str(folder)
            elif source._target_ == "vqkit.data.ImageFileList":
                (tmp_path / "list.txt").write_text("images/1.png\nimages/2.png\n")
                source.path = str(tmp_path / "list.txt")
            elif source._target_ == "vqkit.data.TorchvisionImages":
                source.dataset, source.options = "FakeData", {"size": 4, "image_size": [3, 32, 32]}
        config.num_workers = 0
        return OmegaConf.to_container(config, resolve=True, throw_on_missing=True)

    return fill


def test_all_files_are_seen():
    assert [file.stem for file in FILES] == [
        "cifar10",
        "file_list",
        "folder",
        "imagenet",
        "photos",
        "shapes",
    ]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_builds_a_data_module_that_gives_batches(file, filled):
    config = filled(file)
    module = build_data(config)
    assert isinstance(module, ImageDataModule)
    batch = next(iter(module.train_dataloader()))
    assert batch.shape[:2] == (config["batch_size"], 3)
    assert batch.dtype == torch.float32
    image = next(iter(module.val_dataloader()))
    assert image.shape[:2] == (1, 3)
    assert all(side % 32 == 0 for side in image.shape[2:])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_object_can_be_described_and_built_again(file, filled):
    module = build_data(filled(file))
    again = build_data(describe(module))
    assert describe(again) == describe(module)
    assert again.transform == module.transform
    assert torch.equal(next(iter(again.val_dataloader())), next(iter(module.val_dataloader())))


def test_hydra_builds_it_too():
    from hydra.utils import instantiate

    config = OmegaConf.load(config_dir() / "data" / "photos.yaml")
    module = instantiate(config, _convert_="all")
    assert module.transform.steps["crop"].scale == (0.5, 1.0)
    assert next(iter(module.train_dataloader())).shape == (16, 3, 64, 64)
    assert module.validation.name(0) == "chelsea"
