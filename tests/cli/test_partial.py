"""Parts of token files, and what is left of damaged ones, on the command line."""

from pathlib import Path

import pytest
import torch

from tests.cli.conftest import Pipe, Run
from tests.cli.tiny import tiny_tokenizer
from tests.files.test_recovery import flip, layout_of
from vqkit.files import read_info, read_tokens, write_tokens
from vqkit.media import read_image


@pytest.fixture
def file(run: Run, model: Path, pictures: Path, tmp_path: Path) -> Path:
    """A picture of 50 x 70 pixels, 7 x 9 tokens, in chunks of two rows."""
    path = tmp_path / "photo.vqt"
    options = ("-m", model, "--trust", "tests", "--chunk-rows", 2, "-o", path)
    assert run("encode", pictures / "photo.png", *options).status == 0
    assert read_info(path).num_chunks == 4
    return path


def options(model: Path, output: Path) -> tuple[object, ...]:
    return ("-m", model, "--trust", "tests", "-o", output, "-f")


@pytest.mark.parametrize(
    ("part", "bounds"),
    [
        ("height=0:50", (0, 50, 0, 70)),
        ("height=10:21,width=33:70", (10, 21, 33, 70)),
        ("width=0:1", (0, 50, 0, 1)),
    ],
)
def test_a_part_is_what_the_whole_has_there(
    run: Run, model: Path, file: Path, tmp_path: Path, part: str, bounds: tuple[int, ...]
) -> None:
    whole, cut = tmp_path / "whole.png", tmp_path / "part.png"
    assert run("decode", file, *options(model, whole)).status == 0
    ran = run("decode", file, *options(model, cut), "--part", part, "--json")
    assert ran.status == 0
    top, bottom, left, right = bounds
    assert torch.equal(read_image(cut), read_image(whole)[:, top:bottom, left:right])
    assert "height" in ran.document["items"][0]["media"]


def test_a_part_of_a_damaged_file(run: Run, model: Path, file: Path, tmp_path: Path) -> None:
    long = tiny_tokenizer().encode([torch.zeros(3, 400, 16)])
    write_tokens(long, file, overwrite=True, chunk_rows=10, coder="fixed")
    data = file.read_bytes()
    file.write_bytes(flip(data, layout_of(data)[4].offset + 20))
    cut = tmp_path / "part.png"
    assert run("decode", file, *options(model, cut)).status == 1
    assert run("decode", file, *options(model, cut), "--part", "height=0:100").status == 0
    ran = run("decode", file, *options(model, cut), "--part", "height=300:390")
    assert ran.status == 1
    assert "CRC-32" in ran.err


@pytest.mark.parametrize("part", ["height", "height=3", "height=5:5", "height=1:2,height=2:3", ""])
def test_parts_are_checked(run: Run, model: Path, file: Path, tmp_path: Path, part: str) -> None:
    ran = run("decode", file, *options(model, tmp_path / "x.png"), "--part", part)
    assert ran.status == 2
    assert "expected AXIS=FIRST:END" in ran.err


def test_parts_that_are_not_there(run: Run, model: Path, file: Path, tmp_path: Path) -> None:
    for part, message in [("time=0:3", "ranges along"), ("width=0:71", "within 0 to 70")]:
        ran = run("decode", file, *options(model, tmp_path / "x.png"), "--part", part)
        assert ran.status == 1
        assert message in ran.err
    ran = run(
        "decode", file, *options(model, tmp_path / "x.png"), "--part", "width=0:7", "--recover"
    )
    assert ran.status == 2


def test_what_is_intact_is_decoded(run: Run, model: Path, file: Path, tmp_path: Path) -> None:
    whole, left = tmp_path / "whole.png", tmp_path / "left.png"
    run("decode", file, *options(model, whole))
    data = file.read_bytes()
    file.write_bytes(flip(data, layout_of(data)[1].offset + 10))
    assert run("decode", file, *options(model, left)).status == 1
    assert not left.exists()
    ran = run("decode", file, *options(model, left), "--recover", "--json")
    assert ran.status == 1
    assert "lost 18 of 63 tokens: rows 2 to 3 of tokens (its checksum does not fit)" in ran.err
    (item,) = ran.document["items"]
    assert (item["status"], item["is_damaged"], item["num_lost_tokens"]) == ("done", True, 18)
    assert item["losses"][0]["start_row"] == 2
    intact, recovered = read_image(whole), read_image(left)
    assert torch.equal(recovered[:, :16], intact[:, :16])
    assert torch.equal(recovered[:, 32:], intact[:, 32:])
    assert torch.equal(recovered[:, 16:32], torch.zeros_like(intact[:, 16:32]).round()) or (
        recovered[:, 16:32].abs().max() < 0.01
    )


def test_recovering_a_sound_file_is_decoding_it(
    run: Run, model: Path, file: Path, tmp_path: Path
) -> None:
    run("decode", file, *options(model, tmp_path / "a.png"))
    ran = run("decode", file, *options(model, tmp_path / "b.png"), "--recover")
    assert (ran.status, "lost" in ran.err) == (0, False)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_truncated_files_from_a_pipe(pipe: Pipe, model: Path, file: Path, tmp_path: Path) -> None:
    data = file.read_bytes()
    cut = data[: layout_of(data)[2].offset + 3]
    words = ("decode", "-", *options(model, tmp_path / "left.png"), "--recover")
    status, _, talk = pipe(*words, data=cut)
    assert status == 1
    assert "the footer is damaged or missing" in talk
    assert "lost 27 of 63 tokens: rows 4 to 6" in talk
    status, _, talk = pipe(*words, data=data[:100])
    assert status == 1
    assert "Cannot read" in talk


def test_unknown_tokens_are_told(run: Run, model: Path, file: Path, tmp_path: Path) -> None:
    tokens = read_tokens(file)
    tokens.indices[:, 1] = -1
    write_tokens(tokens, file, overwrite=True)
    ran = run("decode", file, *options(model, tmp_path / "x.png"))
    assert ran.status == 0
    assert "9 of 63 tokens are unknown" in ran.err
