"""``vqkit evaluate`` and ``vqkit report`` on clips."""

import json
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from tests.cli.conftest import Run
from tests.cli.test_video import fading
from vqkit.cli.rates import extent_of
from vqkit.media import video_info, write_video
from vqkit.nets import LightVideoDecoder, LightVideoEncoder
from vqkit.quantizers import FSQ
from vqkit.tokenizers import Tokenizer, VideoFrontend


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    sizes = {"dim": 4, "widths": [8, 8], "num_blocks": [1, 1]}
    encoder, decoder = LightVideoEncoder(**sizes), LightVideoDecoder(**sizes)
    folder = tmp_path_factory.mktemp("models") / "video"
    Tokenizer(VideoFrontend(), encoder, FSQ([5] * 4), decoder, "video/x").save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    write_video(fading(11), folder / "film.mp4", Fraction(30_000, 1001))
    (folder / "broken.mp4").write_bytes((folder / "film.mp4").read_bytes()[:900])
    return folder


def test_a_folder_of_clips(run: Run, model: Path, clips: Path, tmp_path: Path) -> None:
    report = tmp_path / "report"
    options = [
        "--output-dir",
        report,
        "--max-frames",
        9,
        "--flow",
        "none",
        "--reference",
        "x264=40",
    ]
    ran = run("evaluate", clips, "-m", model, *options, "--match", "x264", "--json")
    assert ran.status == 1
    assert "broken.mp4" in ran.err
    document = ran.document
    assert document["modality"] == "video"
    (item,) = document["items"]
    assert (item["size"]["frames"], len(item["series"]["psnr"])) == (9, 9)
    assert len(item["series"]["entropy_bits"]) == 3
    assert item["seconds"] == pytest.approx(9 * 1001 / 30_000)
    assert item["actual_bits_per_second"] == pytest.approx(8 * item["size_bytes"] / item["seconds"])
    ladder, matched = document["references"]
    assert (ladder["name"], matched["name"]) == ("x264", "x264_matched")
    reasons = {row["name"]: row["reason"] for row in document["measured"]}
    assert "--lpips" in reasons["lpips"]
    assert "--vmaf" in reasons["vmaf"]
    assert "--flow" in reasons["warping_error"]
    assert {path.name for path in report.iterdir()} == {
        "report.json", "usage.png", "rate_quality.png", "over_time.png", "clip_worst.mp4",
        "frames_worst.png",
    }  # fmt: skip
    assert video_info(report / "clip_worst.mp4").frame_rate == Fraction(30_000, 1001)

    shown = run("report", report)
    assert shown.status == 0
    assert "kbit/s, of files" in shown.out
    expected = run("report", report, "--expected", "video/x", "--minutes", 1)
    (tmp_path / "expected.json").write_text(expected.out)
    assert "kilobits_per_second_of_files" in json.loads(expected.out)["metrics"]
    assert run("report", report, "--check", tmp_path / "expected.json").status == 0


def test_pixels_are_those_of_all_frames() -> None:
    """Of a clip whose rate nobody knows."""
    size = {"frames": 9, "height": 24, "width": 40, "frame_rate_numerator": 0}
    assert extent_of(size) == ("num_pixels", 9 * 24 * 40)


def test_wrong_options(run: Run, model: Path, clips: Path, tmp_path: Path) -> None:
    options = ["evaluate", clips / "film.mp4", "-m", model, "--output-dir", tmp_path / "report"]
    for wrong, message in (
        (["--metrics", "pesq"], "is a tokenizer of video"),
        (["--reference", "webp"], "x264, vp9, av1"),
        (["--match", "opus"], "--match opus: expected one of x264, vp9, av1"),
        (["--flow", "nowhere:flow"], "--flow nowhere:flow"),
    ):
        ran = run(*options, *wrong)
        assert ran.status == 2
        assert message in ran.err
    ran = run(*options, "--vmaf", tmp_path / "no_vmaf")
    assert ran.status != 0
    assert "libvmaf" in ran.err
