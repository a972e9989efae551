"""``vqkit prior`` and what the other verbs do with the prior in a model's folder."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.cli.conftest import Run
from tests.cli.tiny import tiny_tokenizer
from vqkit import Tokens, facade
from vqkit.errors import TokenFileError
from vqkit.files import read_info, read_tokens, write_tokens
from vqkit.priors import PRIOR_FILE, read_prior

TRAINING = ("--steps", 200, "--dim", 32, "--depth", 1, "--batch-size", 4, "--learning-rate", 0.01)


@pytest.fixture(scope="module")
def pictures_like(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of four colours in turn along both axes, with a tenth of the tiles at random."""
    folder = tmp_path_factory.mktemp("alike")
    random = np.random.default_rng(0)
    colours = np.array([[20, 20, 60], [200, 80, 40], [240, 240, 220], [60, 160, 60]], np.uint8)
    for number in range(24):
        tiles = (np.arange(12)[:, None] + np.arange(16) + random.integers(4)) % 4
        tiles = np.where(
            random.random(tiles.shape) < 0.1, random.integers(0, 4, tiles.shape), tiles
        )
        picture = colours[tiles].repeat(8, axis=0).repeat(8, axis=1)
        Image.fromarray(picture).save(folder / f"{number:02}.png")
    return folder


@pytest.fixture(scope="module")
def model_with_prior(
    pictures_like: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A model's folder with a prior, and the tokens that it has learned from."""
    from vqkit.cli.main import main

    folder, tokens = tmp_path_factory.mktemp("models") / "tiny", tmp_path_factory.mktemp("tokens")
    tiny_tokenizer().save_pretrained(folder)
    options = ("-m", folder, "--trust", "tests", "--output-dir", tokens, "-q")
    assert main([str(word) for word in ("encode", pictures_like, *options)]) == 0
    assert main([str(word) for word in ("prior", tokens, "-m", folder, "-q", *TRAINING)]) == 0
    return folder, tokens


def test_prior_is_written_into_the_folder_and_measured(
    run: Run, model_with_prior: tuple[Path, Path], tmp_path: Path
) -> None:
    _, tokens = model_with_prior
    tiny_tokenizer().save_pretrained(tmp_path)
    words = ("prior", tokens, "-m", tmp_path, *TRAINING, "--steps", 2)
    ran = run(*words, "--json", "-q")
    assert ran.status == 0, ran.err
    facts = ran.document
    assert facts["num_training_grids"] == 22
    assert facts["num_measured_tokens"] == 2 * 12 * 16
    assert 0 < facts["order_0_bits_per_token"] < 3
    prior = read_prior(tmp_path, tiny_tokenizer().fingerprint)
    assert prior is not None
    assert prior.digest.hex() == facts["digest"]
    ran = run(*words)
    assert ran.status == 2
    assert "Replace it with -f" in ran.err
    ran = run(*words, "-f")
    assert "bits per token on 384 held-out tokens" in ran.out
    assert "step 2/2" in ran.err
    again = read_prior(tmp_path, tiny_tokenizer().fingerprint)
    assert again is not None
    assert again.digest == prior.digest, "one seed, one prior"


def test_prior_learns_from_a_data_set(run: Run, pictures_like: Path, tmp_path: Path) -> None:
    model, dataset = tmp_path / "model", tmp_path / "dataset"
    tiny_tokenizer().save_pretrained(model)
    options = ("-m", model, "--trust", "tests", "--engine", "inline", "--no-progress")
    ran = run("encode", pictures_like, "--dataset", dataset, *options)
    assert ran.status == 0, ran.err
    ran = run("prior", dataset, "-m", model, *TRAINING, "--steps", 2, "--json", "-q")
    assert ran.status == 0, ran.err
    assert ran.document["num_training_grids"] == 22
    tiny_tokenizer("image/other", gain=0.5).save_pretrained(tmp_path / "other")
    ran = run("prior", dataset, "-m", tmp_path / "other", *TRAINING)
    assert ran.status == 1
    assert "expected all tokens of 'image/other'" in ran.err


def test_files_need_the_prior_unless_they_are_portable(
    run: Run, model_with_prior: tuple[Path, Path], pictures_like: Path, tmp_path: Path
) -> None:
    folder, _ = model_with_prior
    options = ("-m", folder, "--trust", "tests")
    for coder in ("auto", "portable"):
        file = tmp_path / f"{coder}.vqt"
        ran = run("encode", pictures_like / "03.png", *options, "--coder", coder, "-o", file)
        assert ran.status == 0, ran.err
    with_prior, portable = tmp_path / "auto.vqt", tmp_path / "portable.vqt"
    assert read_info(with_prior).needs_resources
    assert with_prior.stat().st_size < portable.stat().st_size
    assert run("verify", with_prior, *options).status == 0
    ran = run("verify", with_prior)
    assert ran.status == 1
    assert "expected the prior with digest" in ran.err
    assert "-m" in ran.err
    for file in (with_prior, portable):
        ran = run("decode", file, *options, "-o", file.with_suffix(".png"))
        assert ran.status == 0, ran.err
    pixels = [np.asarray(Image.open(f.with_suffix(".png"))) for f in (with_prior, portable)]
    assert np.array_equal(*pixels)


def test_evaluation_measures_by_the_prior(
    run: Run, model_with_prior: tuple[Path, Path], model: Path, pictures_like: Path, tmp_path: Path
) -> None:
    picture = pictures_like / "03.png"
    words = ("evaluate", picture, "--trust", "tests", "--json", "-q")
    reports = {}
    for folder in (model_with_prior[0], model):
        ran = run(*words, "-m", folder, "--output-dir", tmp_path / folder.parent.name)
        assert ran.status == 0, ran.err
        reports[folder] = ran.document
    with_prior, without = (reports[folder]["rate"] for folder in (model_with_prior[0], model))
    assert without["prior_bits"] is None
    assert with_prior["prior_bits"] < with_prior["entropy_bits"] == without["entropy_bits"]
    assert with_prior["size_bytes"] < without["size_bytes"]
    (item,) = reports[model_with_prior[0]]["items"]
    assert item["prior_bits_per_token"] == with_prior["prior_bits"] / (12 * 16)


def test_facade_takes_the_model(
    model_with_prior: tuple[Path, Path], pictures_like: Path, tmp_path: Path
) -> None:
    folder, _ = model_with_prior
    from vqkit import Tokenizer

    tokenizer = Tokenizer.from_pretrained(folder, trusted=["tests"])
    tokens = facade.encode(pictures_like / "05.png", tokenizer)
    file = tmp_path / "a.vqt"
    info = facade.save(tokens, file, tokenizer)
    assert info.needs_resources
    assert facade.load(file, tokenizer).same_as(tokens)
    assert facade.load(file, folder).same_as(tokens)
    with pytest.raises(TokenFileError, match="expected the prior with digest"):
        facade.load(file)
    assert facade.decode(file, tokenizer).shape == (3, 96, 128)


def test_lost_tokens_are_filled_in(
    run: Run, model_with_prior: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, token_folder = model_with_prior
    original = read_tokens(token_folder / "03.png.vqt")
    lost = _with_losses(original, 0.2)
    write_tokens(lost, tmp_path / "lost.vqt")
    errors = {}
    for name, words in {"filled": (), "holes": ("--no-conceal",)}.items():
        picture = tmp_path / f"{name}.png"
        ran = run(
            "decode", tmp_path / "lost.vqt", "-m", folder, "--trust", "tests", "-o", picture, *words
        )
        assert ran.status == 0, ran.err
        assert ("filled in" in ran.err) == (name == "filled")
        pixels = np.asarray(Image.open(picture)).astype(float)
        errors[name] = ((pixels - _decoded(original)) ** 2).mean()
    assert errors["filled"] < 0.5 * errors["holes"]


def test_model_without_a_prior_says_that_holes_remain(
    run: Run, model: Path, model_with_prior: tuple[Path, Path], tmp_path: Path
) -> None:
    _, token_folder = model_with_prior
    write_tokens(_with_losses(read_tokens(token_folder / "03.png.vqt"), 0.2), tmp_path / "l.vqt")
    ran = run(
        "decode", tmp_path / "l.vqt", "-m", model, "--trust", "tests", "-o", tmp_path / "l.png"
    )
    assert ran.status == 0
    assert "the model has no prior to fill them in" in ran.err


def test_tokens_of_another_model_are_named(
    run: Run, model_with_prior: tuple[Path, Path], tmp_path: Path
) -> None:
    _, token_folder = model_with_prior
    tiny_tokenizer("image/other", gain=0.5).save_pretrained(tmp_path / "other")
    ran = run("prior", token_folder / "03.png.vqt", "-m", tmp_path / "other", *TRAINING)
    assert ran.status == 1
    assert "expected all tokens of 'image/other'" in ran.err
    assert not (tmp_path / "other" / PRIOR_FILE).exists()


def _with_losses(tokens: Tokens, share: float) -> Tokens:
    generator = torch.Generator().manual_seed(0)
    indices = tokens.indices
    is_lost = torch.rand(indices.shape, generator=generator) < share
    return tokens.with_indices("tokens", torch.where(is_lost, -1, indices))


def _decoded(tokens: Tokens) -> np.ndarray:
    (media,) = tiny_tokenizer().decode(tokens)
    return ((media.permute(1, 2, 0).numpy() + 1) * 127.5).round()
