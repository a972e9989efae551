"""Damaged model folders: the model as it was, or an error of ours."""

import random
from pathlib import Path

import pytest
import torch

from tests.cli.tiny import tiny_tokenizer
from vqkit.errors import VqkitError
from vqkit.tokenizers import Tokenizer

FILES = ("config.json", "model.safetensors")


@pytest.mark.parametrize("name", FILES)
def test_mutated_folders(tmp_path: Path, name: str, unchecked_shapes: None) -> None:
    original = tiny_tokenizer()
    original.save_pretrained(tmp_path)
    content = (tmp_path / name).read_bytes()
    tokens = original.encode([torch.zeros(3, 16, 16)])
    rng, num_refused = random.Random(0), 0
    for _ in range(150):
        data = bytearray(content)
        for _ in range(rng.randint(1, 3)):
            place = rng.randrange(len(data) + 1)
            data[place : place + rng.choice([0, 1, 8])] = rng.randbytes(rng.choice([0, 1, 8]))
        (tmp_path / name).write_bytes(data)
        try:
            read = Tokenizer.from_pretrained(tmp_path, trusted=["tests"])
        except VqkitError:
            num_refused += 1
        else:
            assert read.fingerprint == original.fingerprint
            assert read.encode([torch.zeros(3, 16, 16)]).same_as(tokens)
    assert num_refused > 100
