"""Inputs, a model and jobs that take seconds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.cli.tiny import tiny_tokenizer
from tests.files.conftest import bucket, s3_endpoint
from vqkit.media import write_image
from vqkit.pipeline import EncodingJob, EncodingOptions, ModelReference

__all__ = ["bucket", "s3_endpoint"]

NUM_PICTURES = 12

MakeJob = Callable[..., EncodingJob]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of different sizes in a tree, one of them broken."""
    folder = tmp_path_factory.mktemp("pictures")
    generator = torch.Generator().manual_seed(0)
    for number in range(NUM_PICTURES):
        path = folder / f"class{number % 3}" / f"{number:02d}.png"
        path.parent.mkdir(exist_ok=True)
        size = (3, 16 + 8 * (number % 2), 24)
        write_image(torch.rand(size, generator=generator) * 2 - 1, path)
    (folder / "class1" / "broken.png").write_bytes(b"no picture")
    return folder


@pytest.fixture
def make_job(pictures: Path, model: Path, tmp_path: Path) -> MakeJob:
    """A job of four shards."""

    def make(**changes: Any) -> EncodingJob:
        settings: dict[str, Any] = {
            "inputs": str(pictures),
            "output": str(tmp_path / "tokens"),
            "model": ModelReference(str(model), trusted=("tests",)),
            "options": EncodingOptions(shard_bytes=110_000),
        }
        return EncodingJob(**(settings | changes))

    return make
