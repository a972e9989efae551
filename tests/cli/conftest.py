"""A model folder, pictures of every kind, and the command line without a new process."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from tests.cli.tiny import tiny_tokenizer
from tests.media.png_encoder import encode as encode_png
from vqkit.cli.main import main


class Ran(NamedTuple):
    """What a command left behind."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ran]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in this process."""

    def run_command(*words: object) -> Ran:
        capsys.readouterr()
        status = main([str(word) for word in words])
        captured = capsys.readouterr()
        return Ran(status, captured.out, captured.err)

    return run_command


class Stream(io.TextIOWrapper):
    """Standard input or output, on a terminal or not."""

    def __init__(self, data: bytes = b"", terminal: bool = False) -> None:
        super().__init__(io.BytesIO(data), encoding="utf-8")
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


Pipe = Callable[..., tuple[int, bytes, str]]


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Pipe:
    """Run a command with bytes on standard input; give status, bytes on output, talk."""

    def run(*words: object, data: bytes = b"", terminal: bool = False) -> tuple[int, bytes, str]:
        capsys.readouterr()
        output = Stream(terminal=terminal)
        monkeypatch.setattr(sys, "stdin", Stream(data, terminal))
        monkeypatch.setattr(sys, "stdout", output)
        status = main([str(word) for word in words])
        output.flush()
        assert isinstance(output.buffer, io.BytesIO)
        return status, output.buffer.getvalue(), capsys.readouterr().err

    return run


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_tokenizer().save_pretrained(folder)
    return folder


SIZES = {  # height and width
    "cmyk.jpg": (24, 40),
    "deep.png": (17, 31),
    "grey.png": (20, 9),
    "long.png": (1, 4000),
    "photo.png": (50, 70),
    "point.png": (1, 1),
    "rgba.png": (33, 16),
}


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One picture of every kind, and a JPEG that was cut short, in the middle of the order."""
    folder = tmp_path_factory.mktemp("pictures")
    for name, (height, width) in SIZES.items():
        rows, columns = np.mgrid[:height, :width]
        bands = [rows / height, columns / width, (rows + columns) / (height + width)]
        rgb = (np.stack(bands, axis=-1) * 255).astype(np.uint8)
        picture = Image.fromarray(rgb)
        if name == "deep.png":
            (folder / name).write_bytes(encode_png(rgb.astype(np.uint16) * 257))
            continue
        mode = {"cmyk.jpg": "CMYK", "grey.png": "L", "rgba.png": "RGBA"}.get(name, "RGB")
        picture.convert(mode).save(folder / name)
    whole = folder / "whole.jpg"
    Image.effect_noise((64, 64), 80).save(whole)
    (folder / "cut.jpg").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    whole.unlink()
    return folder


@pytest.fixture
def photos(pictures: Path, tmp_path: Path) -> Path:
    """Sound pictures in a tree of folders."""
    folder = tmp_path / "photos"
    (folder / "inner").mkdir(parents=True)
    for target in ("a.png", "b.png", "inner/a.png"):
        (folder / target).write_bytes((pictures / "photo.png").read_bytes())
    return folder


@pytest.fixture(autouse=True)
def _nothing_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No models of the machine's owner, no runs of the checkout."""
    monkeypatch.delenv("VQKIT_MODELS", raising=False)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
