from pathlib import Path

import pytest
import torch

from vqkit.media import write_image


@pytest.fixture
def folder(tmp_path) -> Path:
    """Ten small images of different sizes; the first pixel of image i has level 10 i."""
    images = tmp_path / "images"
    images.mkdir()
    generator = torch.Generator().manual_seed(1)
    for i in range(10):
        image = torch.rand(3, 20 + i, 30 - i, generator=generator) * 2 - 1
        image[:, 0, 0] = 10 * i / 127.5 - 1
        write_image(image, images / f"{i}.png")
    return images


@pytest.fixture
def damaged_folder(folder) -> Path:
    """The same with images 2, 3 and 9 broken."""
    (folder / "2.png").write_bytes(b"")
    (folder / "3.png").write_bytes((folder / "3.png").read_bytes()[:100])
    (folder / "9.png").write_bytes(b"hello")
    return folder
