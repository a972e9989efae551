"""``prior.safetensors``: what is written is read, and nothing else is believed."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.priors.test_prior import FINGERPRINT, make_prior, random_indices
from vqkit.errors import ConfigError, ModelMismatchError
from vqkit.priors import PRIOR_FILE, read_prior, write_prior


def test_read_prior_codes_as_the_one_written(tmp_path: Path) -> None:
    prior = make_prior((40, 9))
    path = write_prior(prior, tmp_path)
    assert path == tmp_path / PRIOR_FILE
    read = read_prior(tmp_path, FINGERPRINT)
    assert read is not None
    assert (read.digest, read.spec) == (prior.digest, prior.spec)
    indices = random_indices((6, 7), (40, 9))
    arguments = "tokens", indices, (6, 7), (40, 9)
    assert read.encode(*arguments) == prior.encode(*arguments)


def test_folder_without_a_prior(tmp_path: Path) -> None:
    assert read_prior(tmp_path, FINGERPRINT) is None


def test_prior_of_another_tokenizer_is_refused(tmp_path: Path) -> None:
    write_prior(make_prior(), tmp_path)
    with pytest.raises(ModelMismatchError, match=r"expected a prior for tokens of f{32}"):
        read_prior(tmp_path, "f" * 32)


def rewritten(path: Path, tensors: dict[str, Any] | None = None, **changes: Any) -> None:
    """Write the file again with other tensors, or another description."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    description = json.loads(metadata["prior"]) | changes
    metadata["prior"] = json.dumps({k: v for k, v in description.items() if v is not None})
    save_file(load_file(path) | (tensors or {}), path, metadata)


@pytest.mark.parametrize(
    "changes",
    [
        {"rank": 0},
        {"rank": 7},
        {"rank": None},
        {"rank": True},
        {"dim": 64},
        {"dim": 1 << 40},
        {"depth": 2},
        {"depth": 10**9},
        {"depth": -1},
        {"codebook_sizes": []},
        {"codebook_sizes": [41]},
        {"codebook_sizes": [1 << 62] * 64},
        {"codebook_sizes": ["40"]},
        {"codebook_sizes": [40] * 1000},
        {"extra": 1},
        {"stream": 5},
    ],
)
def test_descriptions_that_do_not_fit_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = write_prior(make_prior(), tmp_path)
    rewritten(path, **changes)
    with pytest.raises(ConfigError, match="Cannot read"):
        read_prior(tmp_path, FINGERPRINT)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("heads.0.weight", lambda x: x.to(torch.int32)),
        ("heads.0.weight", lambda x: x[:-1]),
        ("heads.0.weight", lambda x: torch.full_like(x, -128)),
        ("heads.0.weight_bits", lambda x: torch.full_like(x, 60)),
        ("heads.0.weight_bits", lambda x: torch.full_like(x, -1)),
        ("heads.0.bias", lambda x: torch.full_like(x, 1 << 14)),
        ("embeddings.0.weight", lambda x: torch.full_like(x, -(1 << 15))),
        ("blocks.0.offset_bias", lambda x: torch.full_like(x, 1 << 20)),
    ],
)
def test_weights_beyond_what_is_exact_are_refused(tmp_path: Path, name: str, change: Any) -> None:
    path = write_prior(make_prior(), tmp_path)
    tensors = load_file(path)
    rewritten(path, {name: change(tensors[name]).contiguous()})
    with pytest.raises(ConfigError, match=f"expected {name}"):
        read_prior(tmp_path, FINGERPRINT)


def test_missing_and_superfluous_weights_are_refused(tmp_path: Path) -> None:
    path = write_prior(make_prior(), tmp_path)
    rewritten(path, {"other": torch.zeros(1)})
    with pytest.raises(ConfigError, match=r"other names \(other\)"):
        read_prior(tmp_path, FINGERPRINT)


def test_damage_gives_the_same_prior_or_an_error(tmp_path: Path) -> None:
    prior = make_prior()
    path = write_prior(prior, tmp_path)
    data = path.read_bytes()
    (header_bytes,) = struct.unpack("<Q", data[:8])
    random = torch.Generator().manual_seed(0)
    places = torch.randint(8 + header_bytes + 200, (150,), generator=random).tolist()
    num_refused = 0
    for place in places:
        mutated = bytearray(data)
        mutated[place] ^= 1 << (place % 8)
        path.write_bytes(mutated)
        try:
            read = read_prior(tmp_path, FINGERPRINT)
        except (ConfigError, ModelMismatchError):
            num_refused += 1
        else:
            # A changed weight is another prior: files name theirs by its digest.
            assert read is not None
            assert read.spec == prior.spec or read.digest == prior.digest
    assert num_refused > 50
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ConfigError, match="damaged"):
        read_prior(tmp_path, FINGERPRINT)
