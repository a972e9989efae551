"""Media to token files and back on the command line."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.cli.conftest import SIZES, Pipe, Run
from tests.cli.tiny import tiny_tokenizer
from vqkit.files import read_info, read_tokens, write_tokens
from vqkit.files.modes import CODERS
from vqkit.media import image_size, read_image


def test_every_kind_of_picture_and_a_broken_one(
    run: Run, model: Path, pictures: Path, tmp_path: Path
) -> None:
    names = sorted([*SIZES, "cut.jpg"])
    files = [pictures / name for name in names]
    ran = run("encode", *files, "-m", model, "--trust", "tests", "--output-dir", tmp_path / "T")
    assert ran.status == 1
    assert ran.out == ""
    failed = ran.err[ran.err.index("Failed: 1 of 8 files:") :]
    assert "cut.jpg" in failed
    assert "cut short" in failed
    assert {path.name for path in (tmp_path / "T").iterdir()} == {f"{n}.vqt" for n in SIZES}

    tokens = sorted((tmp_path / "T").iterdir())
    assert run("verify", *tokens).status == 0
    ran = run("decode", *tokens, "-m", model, "--trust", "tests", "--output-dir", tmp_path / "R")
    assert ran.status == 0
    for name, size in SIZES.items():
        assert image_size(tmp_path / "R" / f"{Path(name).stem}.png") == size


def test_the_file_holds_what_the_tokenizer_says(
    run: Run, model: Path, pictures: Path, tmp_path: Path
) -> None:
    tokenizer = tiny_tokenizer()
    for name in SIZES:
        file = tmp_path / f"{name}.vqt"
        ran = run("encode", pictures / name, "-m", model, "--trust", "tests", "-o", file, "-q")
        assert ran == (0, "", "")
        tokens = read_tokens(file)
        assert tokens.same_as(tokenizer.encode([read_image(pictures / name)]))
        picture = tmp_path / f"{name}.out.png"
        run("decode", file, "-m", model, "--trust", "tests", "-o", picture)
        levels = (tokenizer.decode(tokens)[0] + 1) * 127.5
        assert torch.equal(((read_image(picture) + 1) * 127.5).round(), levels.round())


def test_folders_keep_their_tree(run: Run, model: Path, photos: Path, tmp_path: Path) -> None:
    flat, deep = tmp_path / "flat", tmp_path / "deep"
    options = ("-m", model, "--trust", "tests", "--output-dir")
    assert run("encode", photos, *options, flat).status == 0
    assert _files(flat) == ["a.png.vqt", "b.png.vqt"]
    assert run("encode", "-r", photos, *options, deep).status == 0
    assert _files(deep) == ["a.png.vqt", "b.png.vqt", "inner/a.png.vqt"]
    assert run("decode", "-r", deep, *options, tmp_path / "R").status == 0
    assert _files(tmp_path / "R") == ["a.png", "b.png", "inner/a.png"]


def test_default_outputs_stand_beside_the_inputs(run: Run, model: Path, photos: Path) -> None:
    options = ("-m", model, "--trust", "tests")
    assert run("encode", photos / "a.png", *options).status == 0
    assert (photos / "a.png.vqt").exists()
    ran = run("decode", photos / "a.png.vqt", *options)
    assert ran.status == 1  # the original is there
    assert "the file exists" in ran.err
    assert run("decode", photos / "a.png.vqt", *options, "--format", "webp").status == 0
    assert image_size(photos / "a.webp") == SIZES["photo.png"]


def test_never_overwrites_without_force(
    run: Run, model: Path, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.png.vqt").write_text("mine")
    files = [photos / "a.png", photos / "b.png"]
    options = ("-m", model, "--trust", "tests", "--output-dir", tmp_path)
    ran = run("encode", *files, *options)
    assert ran.status == 1
    assert "a.png.vqt' : the file exists" in ran.err.replace("':", "' :")
    assert (tmp_path / "a.png.vqt").read_text() == "mine"
    assert read_info(tmp_path / "b.png.vqt").modality == "image"
    assert run("encode", *files, *options, "-f").status == 0
    assert read_info(tmp_path / "a.png.vqt").modality == "image"


def test_dry_run_writes_nothing(run: Run, model: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran = run("encode", "-n", "-r", photos, "-m", model, "--output-dir", out)
    assert ran.status == 0
    assert ran.out.splitlines() == [
        f"{photos / name} -> {out / name}.vqt" for name in ("a.png", "b.png", "inner/a.png")
    ]
    assert not out.exists()
    ran = run("encode", "-n", photos / "a.png", tmp_path / "no.png", "-m", model, "--json")
    assert ran.status == 1
    assert [item["status"] for item in ran.document["items"]] == ["planned", "failed"]
    assert "no.png" in ran.err


def test_standard_input_and_output(pipe: Pipe, model: Path, pictures: Path) -> None:
    options = ("-m", model, "--trust", "tests", "-q")
    photo = pictures / "photo.png"
    status, tokens, talk = pipe("encode", "-", *options, data=photo.read_bytes())
    assert (talk, status) == ("", 0)
    assert read_tokens(tokens).same_as(tiny_tokenizer().encode([read_image(photo)]))
    assert pipe("encode", photo, *options, "-o", "-") == (0, tokens, "")

    status, picture, talk = pipe("decode", "-", *options, data=tokens)
    assert (status, talk) == (0, "")
    assert picture.startswith(b"\x89PNG")
    assert image_size(picture) == SIZES["photo.png"]
    status, picture, _ = pipe("decode", "-", *options, "--format", "bmp", data=tokens)
    assert picture.startswith(b"BM")
    assert pipe("verify", "-", "-q", data=tokens) == (0, b"", "")
    assert pipe("verify", "-", "-q", data=tokens[:-1])[0] == 1


def test_binary_data_stay_off_terminals(pipe: Pipe, model: Path, pictures: Path) -> None:
    options = ("-m", model, "--trust", "tests")
    photo = pictures / "photo.png"
    status, out, talk = pipe("encode", photo, *options, "-o", "-", terminal=True)
    assert (status, out) == (2, b"")
    assert "terminal" in talk
    status, out, talk = pipe("encode", "-", *options, "-o", "a.vqt", terminal=True)
    assert status == 2
    assert "got a terminal" in talk
    status, out, talk = pipe("encode", photo, *options, "-o", "-", "--json")
    assert (status, out) == (2, b"")
    status, out, talk = pipe("encode", "-", *options, "--output-dir", "T", data=b"GIF")
    assert status == 2
    assert "has no name" in talk


def test_json_is_one_document(run: Run, model: Path, pictures: Path, tmp_path: Path) -> None:
    options = ("-m", model, "--trust", "tests", "--output-dir", tmp_path, "--json")
    ran = run("encode", pictures / "cut.jpg", pictures / "photo.png", *options)
    assert ran.status == 1
    document = ran.document
    assert document["command"] == "encode"
    assert document["model"]["name"] == "image/tiny"
    assert (document["num_done"], document["num_failed"], document["num_not_started"]) == (1, 1, 0)
    failed, done = document["items"]
    assert failed["status"] == "failed"
    assert "cut short" in failed["error"]
    assert done["status"] == "done"
    assert done["media"] == {"height": 50, "width": 70}
    size_bytes = Path(done["output"]).stat().st_size
    assert done["size_bytes"] == document["size_bytes"] == size_bytes
    assert done["bits_per_pixel"] == document["bits_per_pixel"] == 8 * size_bytes / 3500


def test_large_pictures_are_refused_unless_asked_for(
    run: Run, model: Path, pictures: Path, tmp_path: Path
) -> None:
    height, width = SIZES["photo.png"]
    words = (
        "encode",
        pictures / "photo.png",
        "-m",
        model,
        "--trust",
        "tests",
        "-o",
        tmp_path / "x",
    )
    refused = run(*words, "--max-pixels", height * width - 1)
    assert refused.status == 1
    assert f"more than the limit of {height * width - 1}" in refused.err
    assert run(*words, "--max-pixels", height * width).status == 0


def test_first_codebooks_alone(run: Run, pictures: Path, tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer(levels=3)
    tokenizer.save_pretrained(tmp_path / "model")
    options = ("-m", tmp_path / "model", "--trust", "tests", "-q")
    whole, short = tmp_path / "whole.vqt", tmp_path / "short.vqt"
    photo = pictures / "photo.png"
    assert run("encode", photo, *options, "-o", whole).status == 0
    assert run("encode", photo, *options, "-o", short, "--codebooks", 2).status == 0
    assert read_tokens(whole).codebook_sizes == (125, 125, 125)
    assert read_tokens(short).codebook_sizes == (125, 125)
    assert torch.equal(read_tokens(short).indices, read_tokens(whole).indices[..., :2])
    run("decode", whole, *options, "-o", tmp_path / "1.png", "--codebooks", 2)
    run("decode", short, *options, "-o", tmp_path / "2.png")
    run("decode", whole, *options, "-o", tmp_path / "3.png")
    one, two, three = (read_image(tmp_path / f"{i}.png") for i in (1, 2, 3))
    assert torch.equal(one, two)
    assert not torch.equal(one, three)
    ran = run("encode", photo, *options, "-o", tmp_path / "x.vqt", "--codebooks", 4)
    assert ran.status == 2
    assert "has 3 codebook(s)" in ran.err


def test_every_coder_can_be_asked_for(run: Run) -> None:
    shown = run("encode", "--help").out.partition("--coder {")[2].partition("}")[0]
    assert {*shown.split(",")} == {*CODERS, "portable"}


def test_a_picture_of_one_colour_is_coded_smaller(run: Run, model: Path, tmp_path: Path) -> None:
    picture, sizes = tmp_path / "white.png", {}
    Image.new("RGB", (640, 480), "white").save(picture)
    for coder in ("auto", "fixed"):
        file = tmp_path / f"{coder}.vqt"
        options = ("-m", model, "--trust", "tests", "--coder", coder)
        assert run("encode", picture, *options, "-o", file).status == 0
        assert run("verify", file).status == 0
        sizes[coder] = file.stat().st_size
    assert read_tokens(tmp_path / "auto.vqt").same_as(read_tokens(tmp_path / "fixed.vqt"))
    assert sizes["auto"] < 0.3 * sizes["fixed"]


def test_another_model_is_named(run: Run, model: Path, pictures: Path, tmp_path: Path) -> None:
    tiny_tokenizer("image/other", gain=0.5).save_pretrained(tmp_path / "other")
    file = tmp_path / "a.vqt"
    run("encode", pictures / "photo.png", "-m", model, "--trust", "tests", "-o", file)
    ran = run("decode", file, "-m", tmp_path / "other", "--trust", "tests", "-o", "a.png")
    assert ran.status == 1
    assert "'image/other'" in ran.err
    assert "'image/tiny'" in ran.err


def test_wrong_kinds_of_files_are_told(
    run: Run, model: Path, pictures: Path, tmp_path: Path
) -> None:
    options = ("-m", model, "--trust", "tests", "--output-dir", tmp_path)
    file = tmp_path / "a.vqt"
    run("encode", pictures / "photo.png", "-m", model, "--trust", "tests", "-o", file)
    ran = run("encode", file, *options)
    assert ran.status == 1
    assert "vqkit decode" in ran.err
    ran = run("decode", pictures / "photo.png", *options)
    assert ran.status == 1
    assert "vqkit encode" in ran.err


def test_failed_inputs_of_every_kind_leave_the_others_alone(
    run: Run, model: Path, photos: Path, tmp_path: Path
) -> None:
    Path("empty").mkdir()
    Path("outer", "inner").mkdir(parents=True)
    Path("text.png").write_text("hello")
    names = ["missing.png", "empty", "text.png", "outer"]
    ran = run("encode", *names, photos / "a.png", "-m", model, "--trust", "tests", "-o", "-")
    assert ran.status == 2  # one output for several
    ran = run(
        "encode", *names, photos / "a.png", "-m", model, "--trust", "tests", "--output-dir", "T"
    )
    assert ran.status == 1
    assert "4 of 5 files" in ran.err
    for reason in ("missing.png", "Cannot find images in", "text.png", "with -r"):
        assert reason in ran.err
    assert _files(Path("T")) == ["a.png.vqt"]


def test_ctrl_c_leaves_whole_files_and_a_summary(
    run: Run, model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import vqkit.files

    calls = []

    def write(*arguments: object, **settings: object) -> object:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return write_tokens(*arguments, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(vqkit.files, "write_tokens", write)
    options = ("-m", model, "--trust", "tests", "--output-dir", tmp_path / "T", "--json")
    ran = run("encode", "-r", photos, *options)
    assert ran.status == 130
    assert ran.document["interrupted"] is True
    assert (ran.document["num_done"], ran.document["num_not_started"]) == (1, 2)
    assert "interrupted; 2 of 3 files not finished" in ran.err
    assert _files(tmp_path / "T") == ["a.png.vqt"]


def test_unexpected_errors_are_one_line_unless_debugging(
    run: Run, model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import vqkit.media

    def fail(*arguments: object, **settings: object) -> object:
        raise RuntimeError("first line\nsecond line \x1b[2J")

    monkeypatch.setattr(vqkit.media, "ImageReader", fail)
    options = ("-m", model, "--trust", "tests", "-o", tmp_path / "a.vqt", "-q")
    ran = run("encode", photos / "a.png", *options)
    assert ran.status == 1
    assert len(ran.err.splitlines()) == 1
    assert "RuntimeError: first line second line \\x1b[2J" in ran.err
    ran = run("encode", photos / "a.png", *options, "--debug")
    assert ran.status == 1
    assert "Traceback" in ran.err


def test_library_warnings_are_shown_once_and_plainly(run: Run, model: Path, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (9, 9), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    options = ("-m", model, "--trust", "tests", "-f", "-o", tmp_path / "a.vqt")
    for _ in range(2):
        ran = run("encode", tmp_path / "two.gif", *options)
        assert ran.status == 0
        assert ran.err.count("only the first is read") == 1


def test_alpha(run: Run, model: Path, tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    levels = {}
    for alpha, status in (("white", 0), ("black", 0), ("refuse", 1)):
        file = tmp_path / f"{alpha}.vqt"
        options = ("-m", model, "--trust", "tests", "-o", file, "--alpha", alpha)
        assert run("encode", tmp_path / "clear.png", *options).status == status
        if not status:
            run("decode", file, "-m", model, "--trust", "tests", "-o", f"{alpha}.png")
            levels[alpha] = float(read_image(f"{alpha}.png").mean())
    assert levels["white"] > 0.4 > -0.4 > levels["black"]


def test_grey_models_take_colour_pictures(run: Run, pictures: Path, tmp_path: Path) -> None:
    tiny_tokenizer(channels=1).save_pretrained(tmp_path / "grey")
    options = ("-m", tmp_path / "grey", "--trust", "tests")
    assert run("encode", pictures / "photo.png", *options, "-o", "a.vqt").status == 0
    assert run("decode", "a.vqt", *options, "-o", "a.png").status == 0
    with Image.open("a.png") as picture:
        assert picture.mode == "L"


def _files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
