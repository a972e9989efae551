"""What the README shows runs as it stands there."""

import re
import shlex
from pathlib import Path

import pytest
import torch

from vqkit.cli.main import main
from vqkit.cli.train import find_recipe
from vqkit.data import Photos
from vqkit.media import write_image
from vqkit.nets import FastDecoder, FastEncoder
from vqkit.quantizers import FSQ, Factorized
from vqkit.tokenizers import ImageFrontend, Tokenizer

README = Path(__file__).resolve().parents[1] / "README.md"
PAGES = [README, *(README.parent / "docs" / name for name in ("quantizers.md", "interchange.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = blocks(page, "python")
    assert found
    for block in found:
        exec(compile(block, str(page), "exec"), {})
    if page == README:
        assert 2400 < (tmp_path / "image.vqt").stat().st_size < 2700


def test_command_lines_run(tmp_path, monkeypatch, capsys):
    """With a model and photos in the places that the README leaves open."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    model = tmp_path / "runs" / "image" / "example" / "now" / "model"
    Tokenizer(
        ImageFrontend(),
        FastEncoder(dim=4, widths=(8, 8), num_blocks=(1, 1)),
        Factorized(FSQ([8, 8, 8]), dim=4),
        FastDecoder(dim=4, widths=(8, 8), num_blocks=(1, 1)),
    ).save_pretrained(model)
    photos = tmp_path / "PHOTOS"
    photos.mkdir()
    for i in range(2):
        write_image(torch.rand(3, 20, 30) * 2 - 1, photos / f"{i}.png")
    ran = []
    for line in "\n".join(blocks(README, "bash")).splitlines():
        for command in line.split("#")[0].split("&&"):
            words = shlex.split(command)
            if not words or words[0] != "vqkit":
                continue
            verb = words[1]
            ran.append(verb)
            if verb == "train":
                assert find_recipe(words[2].removeprefix("recipe="))
                continue
            arguments = []
            for word in words[1:]:
                word = word.replace("runs/.../model", str(model))
                arguments += sorted(map(str, tmp_path.glob(word))) if "*" in word else [word]
            assert main(arguments) == 0, capsys.readouterr().err
    assert ran == ["train", "encode", "decode", "verify", "info", "evaluate"]
    assert len(list((tmp_path / "decoded").rglob("*.png"))) == 2
    assert (tmp_path / "report" / "report.json").is_file()


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README.read_text()):
        if not target.startswith("http"):
            assert (README.parent / target).exists(), target


def test_the_photo_of_the_picture_is_held_out():
    assert "chelsea" not in Photos().names
