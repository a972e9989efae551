"""What the README and the pages of ``docs`` show runs as it stands there."""

import re
import shlex
from pathlib import Path

import pytest
import torch

from vqkit.cli.main import main
from vqkit.cli.train import find_recipe
from vqkit.data import Photos
from vqkit.media import read_video, write_image, write_video
from vqkit.nets import FastDecoder, FastEncoder, LightVideoDecoder, LightVideoEncoder
from vqkit.quantizers import FSQ, Factorized
from vqkit.tokenizers import ImageFrontend, Tokenizer, VideoFrontend

README = Path(__file__).resolve().parents[1] / "README.md"
DOCS = README.parent / "docs"
PAGES = [README, *sorted(p for p in DOCS.rglob("*.md") if "_build" not in p.parts)]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if blocks(page, "python")],
    ids=lambda page: str(page.relative_to(README.parent)),
)
def test_python_blocks_run(page, tmp_path, monkeypatch):
    """Each by itself; what does not run, signatures say, is marked ``text``."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    for block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), {"__name__": page.stem})
    if page == README:
        # At most what fixed width takes: 2,437 bytes of tokens and 224 of everything else.
        assert 1000 < (tmp_path / "image.vqt").stat().st_size <= 2661


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
    of_clips = tmp_path / "clips_model"
    small = {"dim": 4, "widths": (8, 8), "num_blocks": (1, 1)}
    Tokenizer(
        VideoFrontend(),
        LightVideoEncoder(**small),
        FSQ([8, 5, 5, 5]),
        LightVideoDecoder(**small),
    ).save_pretrained(of_clips)
    write_video(torch.zeros(3, 16, 32, 48), tmp_path / "film.mp4", 1)
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
                word = word.replace("runs/.../model", str(model)).replace("MODEL", str(of_clips))
                arguments += sorted(map(str, tmp_path.glob(word))) if "*" in word else [word]
            if verb == "prior":  # the same with less of everything
                arguments += ["--steps", "2", "--dim", "32", "--depth", "1"]
            assert main(arguments) == 0, capsys.readouterr().err
    assert ran == [
        *("train", "encode", "decode", "verify", "info", "evaluate"),
        *("encode", "decode", "prior", "encode", "dataset", "dataset"),
    ]
    assert len(list((tmp_path / "decoded").rglob("*.png"))) == 2
    assert (tmp_path / "report" / "report.json").is_file()
    assert read_video(tmp_path / "scene.mp4").frames.shape == (3, 3, 32, 48)  # 13, 14 ... to 15


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(README.parent)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_the_photo_of_the_picture_is_held_out():
    assert "chelsea" not in Photos().names
