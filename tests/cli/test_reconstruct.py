"""``vqkit reconstruct``."""

import re
from pathlib import Path

import pytest
import torch

from tests.cli.conftest import Pipe, Run
from tests.cli.tiny import tiny_tokenizer
from vqkit.files import dumps
from vqkit.media import image_size, read_image
from vqkit.metrics import psnr


def test_quality_and_rate_of_each(run: Run, model: Path, pictures: Path, tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    names = ["grey.png", "cut.jpg", "photo.png"]
    ran = run(
        "reconstruct",
        *(pictures / name for name in names),
        *("-m", model, "--trust", "tests", "--output-dir", tmp_path),
    )
    assert ran.status == 1
    assert "cut.jpg" in ran.err
    lines = ran.out.splitlines()
    values = []
    for line, name in zip(lines[:-1], ["grey.png", "photo.png"], strict=True):
        original = read_image(pictures / name)
        reconstruction = read_image(tmp_path / name)
        data = dumps(tokenizer.encode([original]))
        value = float(psnr(reconstruction[None], original[None]))
        bits_per_pixel = 8 * len(data) / original[0].numel()
        assert line == (
            f"{pictures / name}: {value:.2f} dB, {bits_per_pixel:.4f} bits per pixel, "
            f"{len(data):,} bytes"
        )
        assert image_size(tmp_path / name) == tuple(original.shape[1:])
        values.append((value, len(data), original[0].numel()))
    mean = sum(value for value, _, _ in values) / 2
    total = 8 * sum(size for _, size, _ in values) / sum(pixels for _, _, pixels in values)
    assert lines[-1] == f"mean: {mean:.2f} dB, {total:.4f} bits per pixel"


def test_json(run: Run, model: Path, photos: Path, tmp_path: Path) -> None:
    options = ("-m", model, "--trust", "tests", "--output-dir", tmp_path / "out", "--json")
    document = run("reconstruct", "-r", photos, *options).document
    values = [item["psnr"] for item in document["items"]]
    assert len(values) == 3
    assert document["mean_psnr"] == pytest.approx(sum(values) / 3)
    assert document["num_done"] == 3
    assert (tmp_path / "out" / "inner" / "a.png").exists()


def test_fewer_codebooks_cost_less_and_give_less(run: Run, pictures: Path, tmp_path: Path) -> None:
    tiny_tokenizer(levels=3).save_pretrained(tmp_path / "model")
    found = []
    for count in (1, 2, 3):
        options = ("-m", tmp_path / "model", "--trust", "tests", "--json", "--codebooks", count)
        ran = run("reconstruct", pictures / "photo.png", *options, "-o", tmp_path / f"{count}.png")
        (item,) = ran.document["items"]
        found.append((item["size_bytes"], item["psnr"]))
    assert found == sorted(found)
    assert len({size for size, _ in found}) == 3


def test_to_standard_output(pipe: Pipe, model: Path, pictures: Path) -> None:
    photo = pictures / "photo.png"
    options = ("-m", model, "--trust", "tests", "-o", "-")
    status, picture, talk = pipe("reconstruct", photo, *options)
    assert status == 0
    tokenizer = tiny_tokenizer()
    expected = tokenizer.decode(tokenizer.encode([read_image(photo)]))[0]
    levels = ((expected + 1) * 127.5).round()
    assert torch.equal(((read_image(picture) + 1) * 127.5).round(), levels)
    assert re.search(r"Reconstructed 1 file with image/tiny on \w+ in .*bits per pixel", talk)
