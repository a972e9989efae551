"""``vqkit info``; the keys of its JSON are an interface."""

from pathlib import Path

import pytest

from tests.cli.conftest import Pipe, Run
from tests.cli.tiny import tiny_tokenizer


@pytest.fixture
def file(run: Run, model: Path, pictures: Path, tmp_path: Path) -> Path:
    path = tmp_path / "photo.vqt"
    options = ("-m", model, "--trust", "tests", "--coder", "fixed")
    run("encode", pictures / "photo.png", *options, "-o", path)
    return path


def test_token_file_as_json(run: Run, file: Path) -> None:
    ran = run("info", file, "--json")
    assert (ran.status, ran.err) == (0, "")
    document = ran.document
    assert (document["format"], document["version"]) == ("vqkit info", 1)
    (item,) = document["items"]
    size_bytes = file.stat().st_size
    parts = [item.pop(f"{name}_bytes") for name in ("header", "chunk", "footer")]
    assert min(parts) > 0
    assert sum(parts) + -(-7 * 9 * 9 // 8) == size_bytes
    (level,) = item.pop("levels")
    assert item.pop("entropy_bits") == level.pop("entropy_bits") < 63 * 6
    assert level == {
        "stream": "tokens",
        "codebook": 0,
        "codebook_size": 512,
        "num_tokens": 63,
        "num_unknown": 0,
        "nominal_bits": 63 * 9.0,
    }
    assert len(item.pop("token_hash")) == 32
    payload_bytes = -(-7 * 9 * 9 // 8)
    assert item == {
        "path": str(file),
        "error": None,
        "kind": "token file",
        "format_version": 1,
        "modality": "image",
        "media": {"height": 50, "width": 70},
        "model": "image/tiny",
        "fingerprint": tiny_tokenizer().fingerprint,
        "model_path": None,
        "num_tokens": 63,
        "size_bytes": size_bytes,
        "payload_bytes": payload_bytes,
        "table_bytes": 0,
        "overhead_bytes": size_bytes - payload_bytes,
        "not_decoded": None,
        "num_chunks": 1,
        "nominal_bits": 63 * 9.0,
        "bits_per_pixel": 8 * size_bytes / 3500,
        "nominal_bits_per_pixel": 63 * 9 / 3500,
        "streams": [
            {
                "name": "tokens",
                "axes": ["height", "width"],
                "shape": [7, 9],
                "codebook_sizes": [512],
                "num_tokens": 63,
                "nominal_bits": 63 * 9.0,
                "payload_bytes": payload_bytes,
                "table_bytes": 0,
                "num_chunks": 1,
                "modes": [0],
                "has_unknown": False,
                "coding": "fixed width",
            }
        ],
    }


def test_model_as_json(run: Run, model: Path) -> None:
    ran = run("info", model, "--json")
    assert ran.status == 0
    (item,) = ran.document["items"]
    assert item.pop("vqkit_version")
    assert item.pop("weights_bytes") == (model / "model.safetensors").stat().st_size
    assert item == {
        "path": str(model),
        "error": None,
        "kind": "model",
        "format_version": 1,
        "model": "image/tiny",
        "fingerprint": tiny_tokenizer().fingerprint,
        "model_path": str(model),
        "modality": "image",
        "channels": 3,
        "axes": ["height", "width"],
        "strides": [8, 8],
        "codebook_sizes": [512],
        "bits_per_position": 9.0,
        "nominal_bits_per_pixel": 9 / 64,
        "nominal_bits_per_second": None,
        "sample_rate_hz": None,
        "chunking": None,
        "parts": {
            "frontend": "vqkit.tokenizers.ImageFrontend",
            "encoder": "tests.cli.tiny.BlockMeans",
            "quantizer": "vqkit.quantizers.FSQ",
            "decoder": "tests.cli.tiny.Blocks",
        },
    }


def test_in_words(run: Run, model: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VQKIT_MODELS", str(model.parent))
    ran = run("info", file, model)
    assert ran.status == 0
    first, second = ran.out.split("\n\n")
    assert first.startswith(f"{file}\n")
    assert "media: image, height 50, width 70" in first
    assert "7 x 9 positions, 1 codebook(s) of 512 codes" in first
    assert "coding of tokens: fixed width, 71 bytes (71 nominal)" in first
    assert f"model here: {model}" in first
    assert f"{file.stat().st_size:,} bytes" in first
    assert "stride: 8 x 8" in second
    assert "vqkit.quantizers.FSQ" in second


def test_output_folder_of_a_training_and_a_folder_of_files(
    run: Run, model: Path, file: Path, tmp_path: Path
) -> None:
    (tmp_path / "trained").mkdir()
    (tmp_path / "trained" / "model").symlink_to(model)
    (item,) = run("info", tmp_path / "trained", "--json").document["items"]
    assert item["kind"] == "model"
    (item,) = run("info", file.parent, "--json").document["items"]
    assert item["kind"] == "token file"


def test_what_is_neither_is_named(run: Run, file: Path) -> None:
    Path("empty").mkdir()
    Path("text").write_text("hello")
    ran = run("info", "empty", "text", "missing", file, "--json")
    assert ran.status == 1
    errors = [item["error"] for item in ran.document["items"]]
    assert ["empty" in (errors[0] or ""), "text" in (errors[1] or "")] == [True, True]
    assert "missing" in errors[2]
    assert errors[3] is None
    assert len(ran.err.splitlines()) == 3


def test_standard_input(pipe: Pipe, file: Path) -> None:
    status, out, _ = pipe("info", "-", data=file.read_bytes())
    assert status == 0
    assert b"image/tiny" in out


def test_hostile_names_do_nothing_to_the_terminal(run: Run, file: Path) -> None:
    evil = Path("a\x1b[2J\nb.vqt")
    evil.write_bytes(file.read_bytes())
    ran = run("info", evil)
    assert "\x1b" not in ran.out
    assert ran.out.startswith("a\\x1b[2J\\nb.vqt\n")
    evil.write_bytes(b"")
    ran = run("info", evil)
    assert "\x1b" not in ran.err
    assert len(ran.err.splitlines()) == 1
