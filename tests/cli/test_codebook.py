"""``vqkit codebook``."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.cli.conftest import Run
from tests.cli.tiny import BlockMeans, Blocks
from vqkit.files import read_tokens, write_codebook
from vqkit.quantizers import Factorized, RandomInit, VectorQuantizer
from vqkit.tokenizers import ImageFrontend, Tokenizer, read_codebook, read_index_map

TRUST = ("--trust", "tests")


def means(images: Tensor) -> Tensor:
    return images.mean((2, 3))


class Means(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return means(images)


NOTHING = 5


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "book.safetensors"
    write_codebook(torch.randn(32, 3), path, source="noise")
    return path


@pytest.fixture
def vq_model(tmp_path: Path) -> Path:
    quantizer = Factorized(VectorQuantizer(3, 64, init=RandomInit(scale=1.0)), dim=3)
    tokenizer = Tokenizer(ImageFrontend(3), BlockMeans(), quantizer, Blocks(), "image/vq")
    tokenizer.save_pretrained(tmp_path / "vq")
    return tmp_path / "vq"


@pytest.fixture
def tokens(run: Run, vq_model: Path, photos: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "tokens"
    assert run("encode", "-r", photos, "-m", vq_model, *TRUST, "--output-dir", folder).status == 0
    return folder


def test_build_from_patches(run: Run, photos: Path, tmp_path: Path) -> None:
    path = tmp_path / "built.safetensors"
    words = ("build", photos, "--patches", "4", "--size", "10", "--image-size", "16", "-o", path)
    ran = run("codebook", *words)
    assert (ran.status, ran.out) == (0, "")
    assert "size 10, dim 48, num classes 1, num images 3, num skipped 0, num features 48" in ran.err
    codes, info = read_codebook(path)
    assert codes.shape == (10, 48)
    assert info.source == "patches of 4 pixels of photos, images of 16"
    ran = run("codebook", *words)
    assert ran.status == 1
    assert "the file exists" in ran.err
    assert run("codebook", *words, "-f", "-q") == (0, "", "")
    # The same seed gives the same codebook.
    assert torch.equal(read_codebook(path)[0], codes)
    document = run("codebook", *words, "-f", "--json", "--seed", "1").document
    assert (document["action"], document["output"], document["dim"]) == ("build", str(path), 48)
    assert not torch.equal(read_codebook(path)[0], codes)


def test_build_per_class_gives_each_folder_its_codes(
    run: Run, photos: Path, tmp_path: Path
) -> None:
    path = tmp_path / "built.safetensors"
    build = ("build", photos, "--per-class", "4", "--image-size", "16", "-o", path)
    document = run("codebook", *build, "--patches", "8", "--json").document
    assert (document["size"], document["num_classes"]) == (8, 2)


@pytest.mark.parametrize("name", ["means", "Means"])
def test_build_from_any_module(run: Run, photos: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / "built.safetensors"
    words = ("--module", f"tests.cli.test_codebook:{name}", "--size", "2", "-o", path)
    assert run("codebook", "build", photos, *words).status == 0
    assert read_codebook(path)[0].shape == (2, 3)


def test_build_from_the_encoder_of_a_model(
    run: Run, model: Path, photos: Path, tmp_path: Path
) -> None:
    path = tmp_path / "built.safetensors"
    words = ("-m", model, *TRUST, "--size", "6", "--image-size", "32", "--pool", "2", "-o", path)
    document = run("codebook", "build", photos, *words, "--json").document
    assert (document["dim"], document["num_features"]) == (3, 12)
    assert read_codebook(path)[1].source == "encoder of image/tiny of photos, images of 32"


def test_build_goes_on_after_a_bad_file_and_says_so(
    run: Run, pictures: Path, tmp_path: Path
) -> None:
    path = tmp_path / "b.safetensors"
    words = ("--patches", "4", "--size", "5", "--image-size", "16", "-o", path)
    ran = run("codebook", "build", pictures, *words)
    assert ran.status == 1
    assert "Skipped" in ran.err
    assert "cut.jpg" in ran.err
    assert "num skipped 1" in ran.err
    assert read_codebook(path)[1].size == 5
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/a.png").write_bytes(b"nothing")
    ran = run("codebook", "build", tmp_path / "bad", *words, "-f")
    assert ran.status == 1
    assert "None of the 1 images" in ran.err


@pytest.mark.parametrize(
    ("action", "size"), [("shrink --size 8", 8), ("grow --size 40", 40), ("order", 32)]
)
def test_change_a_file(run: Run, book: Path, tmp_path: Path, action: str, size: int) -> None:
    name, *words = action.split()
    path = tmp_path / "changed.safetensors"
    before = book.read_bytes()
    document = run("codebook", name, book, *words, "-o", path, "--json").document
    assert (document["old_size"], document["size"]) == (32, size)
    codes, info = read_codebook(path)
    index_map, source = read_index_map(tmp_path / "changed.map.safetensors")
    assert (info.size, info.source) == (size, f"{name} of noise")
    assert (index_map.old_size, index_map.new_size, source) == (32, size, "noise")
    if name != "shrink":
        assert torch.equal(codes[index_map.new_of_old], read_codebook(book)[0])
    if name == "order":
        assert document["distance_after"] < 0.8 * document["distance_before"]
    assert book.read_bytes() == before
    assert run("codebook", name, book, *words, "-o", path).status == 1


def test_merge_a_file(run: Run, tmp_path: Path) -> None:
    book, path = tmp_path / "twins.safetensors", tmp_path / "merged.safetensors"
    write_codebook(torch.randn(5, 2)[torch.randint(0, 5, (30,))], book)
    assert run("codebook", "merge", book, "--tolerance", "0", "-o", path).status == 0
    assert read_codebook(path)[1].size == 5


def test_info(run: Run, book: Path, vq_model: Path) -> None:
    ran = run("codebook", "info", book)
    assert ran.status == 0
    assert "size: 32" in ran.out
    assert "made of: noise" in ran.out
    document = run("codebook", "info", vq_model, *TRUST, "--json").document
    assert (document["kind"], document["size"], document["dim"]) == ("model", 64, 3)


def test_export_is_the_decoded_table(run: Run, vq_model: Path, model: Path, tmp_path: Path) -> None:
    path = tmp_path / "table.safetensors"
    assert run("codebook", "export", vq_model, *TRUST, "-o", path).status == 0
    quantizer = Tokenizer.from_pretrained(vq_model, trusted=["tests"]).quantizer
    decoded = quantizer.decode(torch.arange(64)[None, :, None])[0]
    assert torch.equal(read_codebook(path)[0], decoded.detach())
    words = ("codebook", "export", model, *TRUST, "-o", path, "-f")
    assert run(*words).status == 0
    assert read_codebook(path)[1].size == 512
    assert run(*words, "--codebook", "1").status == 2


def test_reindex_a_model_and_remap_its_tokens(
    run: Run, vq_model: Path, tokens: Path, tmp_path: Path
) -> None:
    compact, mapped = tmp_path / "compact", tmp_path / "mapped"
    words = ("codebook", "reindex", vq_model, *TRUST, "--tokens", tokens, "-o", compact, "--json")
    document = run(*words).document
    assert document["size"] < document["old_size"] == 64
    assert document["num_tokens_lost"] == 0
    assert document["num_tokens"] == 3 * 63
    ran = run("codebook", "remap", compact, *TRUST, "--tokens", tokens, "-o", mapped)
    assert ran.status == 0
    assert sorted(path.relative_to(mapped) for path in mapped.rglob("*.vqt")) == sorted(
        path.relative_to(tokens) for path in tokens.rglob("*.vqt")
    )
    # What is decoded is the same, bit for bit.
    old = Tokenizer.from_pretrained(vq_model, trusted=["tests"])
    new = Tokenizer.from_pretrained(compact, trusted=["tests"])
    for path in tokens.rglob("*.vqt"):
        small = mapped / path.relative_to(tokens)
        assert torch.equal(new.decode(read_tokens(small))[0], old.decode(read_tokens(path))[0])
        assert small.stat().st_size <= path.stat().st_size
    # Neither once more, nor with tokens of another model.
    again = run("codebook", "remap", compact, *TRUST, "--tokens", mapped, "-o", tmp_path / "no")
    assert again.status == 1
    assert "expected those of" in again.err
    other = run("codebook", "prune", compact, *TRUST, "--tokens", tokens, "-o", tmp_path / "no")
    assert other.status == 1
    assert "Counting codes" in other.err
    assert not (tmp_path / "no").exists()


def test_prune_a_model(run: Run, vq_model: Path, tokens: Path, tmp_path: Path) -> None:
    pruned = tmp_path / "pruned"
    words = ("codebook", "prune", vq_model, *TRUST, "--tokens", tokens, "-o", pruned)
    assert run(*words, "--minimum", "10").status == 0
    assert Tokenizer.from_pretrained(pruned, trusted=["tests"]).quantizer.codebook_sizes[0] < 64
    # Never over what is there, unless told to; then other files stay.
    (pruned / "mine.txt").write_text("notes")
    assert run(*words).status == 1
    assert run(*words, "-f").status == 0
    assert (pruned / "mine.txt").read_text() == "notes"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".vqkit")]
    assert (
        run("codebook", "remap", pruned, *TRUST, "--tokens", tokens, "-o", tmp_path / "m").status
        == 0
    )


def test_wrong_usage_is_said_in_one_line(run: Run, book: Path, model: Path, tmp_path: Path) -> None:
    out = ("-o", tmp_path / "out.safetensors")
    nothing = "tests.cli.test_codebook:NOTHING"
    for words, text in (
        ((), "expected at least one ACTION SOURCE"),
        (("melt", book, *out), "expected one of build, shrink"),
        (("shrink", *out), "expected one source, got 0"),
        (("shrink", book, book, *out), "expected one source, got 2"),
        (("shrink", book, "--size", "8"), "expected -o NAME"),
        (("shrink", book, *out), "expected --size"),
        (("shrink", book, "--size", "8", "--minimum", "2", *out), "--minimum is not an option"),
        (("shrink", book, "--size", "32", *out), "expected a size from 1 to 31, got 32"),
        (("shrink", book, "--size", "8", "-o", book, "-f"), "will not be written over"),
        (("merge", book, "--tolerance", "-1", *out), "expected a tolerance >= 0"),
        (("build", book.parent, "--size", "8", *out), "expected one of --patches"),
        (("build", book.parent, "--patches", "8", *out), "expected one of --size and"),
        (("build", book.parent, "--size", "8", "--module", "nothing", *out), "PACKAGE:NAME"),
        (("build", book.parent, "--size", "8", "--module", nothing, *out), "expected a function"),
        (("order", model, *TRUST, *out), "expected one learned codebook, got 0"),
        (("order", model, "-m", model, *out), "--model is not an option"),
        (("info", tmp_path / "none"), "found none of them"),
    ):
        ran = run("codebook", *words)
        assert ran.status == 2, words
        assert text in ran.err, ran.err
        assert len(ran.err.splitlines()) == 1
    assert not (tmp_path / "out.safetensors").exists()


def test_damaged_files_and_foreign_tokens(
    run: Run, book: Path, tokens: Path, tmp_path: Path
) -> None:
    out = ("-o", tmp_path / "out.safetensors")
    ran = run("codebook", "prune", book, "--tokens", tokens, *out)
    assert ran.status == 1
    assert "with 32 codes, got tokens of 'image/vq' with codebooks [64]" in ran.err
    assert run("codebook", "prune", book, "--tokens", tmp_path / "none.vqt", *out).status == 1
    book.write_bytes(book.read_bytes()[:-3])
    assert run("codebook", "order", book, *out).status == 2
    assert not (tmp_path / "out.safetensors").exists()


def test_the_callers_chance_is_left_alone(run: Run, book: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    run("codebook", "grow", book, "--size", "40", "-o", tmp_path / "g.safetensors")
    assert torch.equal(torch.rand(3), expected)
    assert json.loads(run("codebook", "info", book, "--json").out)["size"] == 32
