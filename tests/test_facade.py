"""``import vqkit``: one-liners, loaded when asked for."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import vqkit
from tests.cli.tiny import tiny_tokenizer
from vqkit.errors import ConfigError, ShapeError, TokenFileError
from vqkit.media import write_audio, write_image
from vqkit.nets import SEANetDecoder, SEANetEncoder
from vqkit.quantizers import FSQ
from vqkit.tokenizers import AudioFrontend, Tokenizer


def test_one_liners(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    image = torch.rand(3, 20, 30) * 2 - 1
    write_image(image, tmp_path / "a.png")
    tokens = vqkit.encode(tmp_path / "a.png", tokenizer)
    assert isinstance(tokens, vqkit.Tokens)
    stored = vqkit.media.read_image(tmp_path / "a.png")
    for media in (str(tmp_path / "a.png"), (tmp_path / "a.png").read_bytes(), stored):
        assert vqkit.encode(media, tokenizer).same_as(tokens)

    info = vqkit.save(tokens, tmp_path / "a.vqt")
    assert info.size_bytes == (tmp_path / "a.vqt").stat().st_size
    with pytest.raises(TokenFileError, match="exists"):
        vqkit.save(tokens, tmp_path / "a.vqt")
    vqkit.save(tokens, tmp_path / "a.vqt", overwrite=True)
    assert vqkit.load(str(tmp_path / "a.vqt")).same_as(tokens)

    expected = tokenizer.decode(tokens)[0]
    assert torch.equal(vqkit.decode(tokens, tokenizer), expected)
    assert torch.equal(vqkit.decode(tmp_path / "a.vqt", tokenizer), expected)


def test_models_by_their_folders(tmp_path: Path) -> None:
    settings = {"dim": 3, "base_width": 32, "multipliers": [1, 1], "num_res_blocks": 1}
    settings |= {"attention_levels": [], "latent_width": 32, "middle_attention": False}
    tokenizer = vqkit.Tokenizer(
        vqkit.tokenizers.ImageFrontend(),
        vqkit.nets.VQGANEncoder(**settings),
        vqkit.quantizers.FSQ([4, 4, 4]),
        vqkit.nets.VQGANDecoder(**settings),
        "tiny",
    )
    tokenizer.save_pretrained(tmp_path / "model")
    image = torch.zeros(3, 9, 7)
    tokens = vqkit.encode(image, tmp_path / "model")
    assert tokens.tokenizer == "tiny"
    assert vqkit.decode(tokens, str(tmp_path / "model")).shape == (3, 9, 7)


def test_what_is_not_one_item(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    two = tokenizer.encode([torch.zeros(3, 8, 8)] * 2)
    with pytest.raises(ShapeError, match="one item, got 2"):
        vqkit.decode(two, tokenizer)
    with pytest.raises(ConfigError, match="from_pretrained"):
        vqkit.load(tmp_path)
    with pytest.raises(TokenFileError, match="missing"):
        vqkit.load(tmp_path / "missing.vqt")


def test_names() -> None:
    assert set(vqkit.__all__) <= set(dir(vqkit))
    for name in vqkit.__all__:
        assert getattr(vqkit, name) is not None
    assert vqkit.files.read_tokens is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        vqkit.nonsense  # noqa: B018


def test_version_is_that_of_the_distribution() -> None:
    from importlib.metadata import version

    assert vqkit.__version__ == version("vqkit")


_LIGHT = """
import sys
before = set(sys.modules)
import vqkit
dir(vqkit)
assert {name for name in set(sys.modules) - before if name.startswith("vqkit")} == {"vqkit"}
assert not {"torch", "numpy", "importlib.metadata"} & (set(sys.modules) - before)
"""


def test_importing_it_loads_nothing() -> None:
    subprocess.run(
        [sys.executable, "-S", "-c", _LIGHT], check=True, cwd=Path(vqkit.__file__).parents[1]
    )


def test_sounds(tmp_path: Path) -> None:
    sizes = {"dim": 2, "num_filters": 2, "strides": (4, 5), "num_lstm_layers": 0}
    tokenizer = Tokenizer(
        AudioFrontend(8000), SEANetEncoder(**sizes), FSQ([5, 5]), SEANetDecoder(**sizes)
    )
    write_audio(torch.zeros(2, 16_000), tmp_path / "x.wav", 16_000)
    tokens = vqkit.encode(tmp_path / "x.wav", tokenizer)
    assert tokens.indices.shape == (1, 400, 1)
    assert vqkit.decode(tokens, tokenizer).shape == (2, 16_000)
    assert vqkit.encode(torch.zeros(1, 40), tokenizer).indices.shape == (1, 2, 1)
