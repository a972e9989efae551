"""Model folders: what is written is read, and what is damaged is refused by name."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.training import tiny
from vqkit.errors import ConfigError, MissingExtraError
from vqkit.quantizers import FSQ
from vqkit.tokenizers import Tokenizer, hub
from vqkit.tokenizers.folder import read_spec


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    tiny.tokenizer(FSQ([5] * 4)).save_pretrained(tmp_path / "model", card="Trained on nothing.")
    return tmp_path / "model"


def load(path):
    return Tokenizer.from_pretrained(path, trusted=["tests"])


def test_the_folder_holds_plain_files(model):
    assert sorted(p.name for p in model.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    document = json.loads((model / "config.json").read_text())
    assert document["format_version"] == 1
    assert document["tokenizer"]["quantizer"]["levels"] == [5, 5, 5, 5]
    card = (model / "README.md").read_text()
    assert "Trained on nothing." in card
    assert document["spec"]["fingerprint"] in card
    assert read_spec(model) == load(model).spec


def test_saving_again_replaces(model):
    other = tiny.tokenizer(FSQ([5] * 4))
    other.save_pretrained(model)
    assert load(model).fingerprint == other.fingerprint


def test_a_class_that_is_not_trusted_is_not_built(model):
    with pytest.raises(ConfigError, match="trusted"):
        Tokenizer.from_pretrained(model)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_missing_and_cut_files(model, name):
    whole = (model / name).read_bytes()
    (model / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match=name):
        load(model)
    (model / name).unlink()
    with pytest.raises(ConfigError, match=name):
        load(model)


def test_a_flipped_weight_is_noticed(model):
    """safetensors has no checksum: the fingerprint is one."""
    file = model / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(ConfigError, match="fingerprint"):
        load(model)


def test_weights_that_do_not_fit_are_named(model):
    state = load_file(model / "model.safetensors")
    state["encoder.conv.weight"] = state["encoder.conv.weight"][:2].contiguous()
    state["surplus"] = torch.zeros(1)
    del state["decoder.conv.bias"]
    save_file(state, model / "model.safetensors")
    with pytest.raises(ConfigError) as error:
        load(model)
    for part in ("encoder.conv.weight is [2", "surplus", "decoder.conv.bias is missing"):
        assert part in str(error.value)


def test_a_configuration_cannot_allocate_what_the_weights_do_not_fill(model):
    document = json.loads((model / "config.json").read_text())
    document["tokenizer"]["encoder"]["dim"] = 10**9
    document["tokenizer"]["quantizer"] = {
        "_target_": "vqkit.quantizers.VectorQuantizer",
        "dim": 10**9,
        "codebook_size": 10**9,
    }
    document["tokenizer"]["decoder"]["dim"] = 10**9
    (model / "config.json").write_text(json.dumps(document))
    with pytest.raises(ConfigError, match="do not fit"):
        load(model)


def test_hostile_configurations(model):
    for text in ("[]", "{", '{"format_version": 2}', '{"format_version": 1}', "[" * 100_000):
        (model / "config.json").write_text(text)
        with pytest.raises(ConfigError):
            load(model)
    (model / "config.json").write_bytes(b" " * (1 << 20) + b"{}")
    with pytest.raises(ConfigError, match="larger"):
        load(model)


class Hub:
    """Stands in for the hub: keeps the uploaded folder and hands it out."""

    def __init__(self, root):
        self.root, self.calls = root, []

    def create_repo(self, repo_id, **options):
        self.calls.append(("create_repo", repo_id, options))

    def upload_folder(self, *, repo_id, folder_path, **options):
        import shutil

        shutil.copytree(folder_path, self.root / repo_id, dirs_exist_ok=True)
        self.calls.append(("upload_folder", repo_id, options))
        return "commit"

    def snapshot_download(self, repo_id, **options):
        self.calls.append(("snapshot_download", repo_id, options))
        if not (self.root / repo_id).is_dir():
            raise OSError("404")
        return str(self.root / repo_id)


def test_hub_round_trip(tmp_path, monkeypatch):
    stand_in = Hub(tmp_path)
    monkeypatch.setattr(hub, "_library", lambda repo_id: stand_in)
    tokenizer = tiny.tokenizer(FSQ([5] * 4))
    assert tokenizer.push_to_hub("someone/tiny", private=True) == "commit"
    loaded = Tokenizer.from_pretrained("someone/tiny", revision="v1", trusted=["tests"])
    assert loaded.fingerprint == tokenizer.fingerprint
    name, _, options = stand_in.calls[-1]
    assert name == "snapshot_download"
    assert options["revision"] == "v1"
    assert not any("*" in pattern for pattern in options["allow_patterns"])
    with pytest.raises(ConfigError, match="404"):
        Tokenizer.from_pretrained("someone/else")


def test_the_hub_library_is_an_extra(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r"vqkit\[hub\]"):
        Tokenizer.from_pretrained("someone/tiny")


@pytest.mark.parametrize("name", ["nowhere", "./nowhere/model", "/nowhere/model", "a/b/c"])
def test_a_folder_that_is_not_there_is_no_hub_id(name):
    with pytest.raises(ConfigError, match="does not exist"):
        Tokenizer.from_pretrained(name)
