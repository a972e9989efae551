"""VMAF by a program that is not here: a stand-in takes the same arguments and reads the files."""

import os
import stat
import sys
from pathlib import Path

import pytest

from tests.evaluation.video_stand_in import BlockClips, clips
from vqkit.errors import MediaError, MissingExtraError
from vqkit.evaluation import VMAF, VideoQuality, evaluate

# Scores 100 less the mean difference of the bytes of a frame; as libvmaf does for equal clips.
BODY = """
def frames(path):
    data = open(path, "rb").read()
    head, *rest = data.split(b"FRAME\\n")
    assert head.startswith(b"YUV4MPEG2 W32 H24 F25:1 Ip A1:1 C420mpeg2"), head
    return rest

def write(reference, distorted, log):
    rows = []
    for i, (a, b) in enumerate(zip(frames(reference), frames(distorted), strict=True)):
        error = sum(abs(x - y) for x, y in zip(a, b, strict=True)) / len(a)
        rows.append({"frameNum": i, "metrics": {"vmaf": 100 - error}})
    json.dump({"frames": rows}, open(log, "w"))
"""

VMAF_MAIN = """
named = dict(word[2:].split("=", 1) for word in sys.argv[1:] if "=" in word)
assert "--json" in sys.argv and named.get("model") in (None, "version=x")
write(named["reference"], named["distorted"], named["output"])
"""

FFMPEG_MAIN = """
if "-filters" in sys.argv:
    print(" .. libvmaf           VV->V      Calculate the VMAF")
    sys.exit()
distorted, reference = [sys.argv[i + 1] for i, word in enumerate(sys.argv) if word == "-i"]
graph = sys.argv[sys.argv.index("-lavfi") + 1]
options = dict(part.split("=", 1) for part in graph.split("libvmaf=")[1].split(":"))
assert options["log_fmt"] == "json"
write(reference, distorted, options["log_path"])
"""


def program(folder: Path, name: str, main: str) -> Path:
    path = folder / name
    path.write_text(f"#!{sys.executable}\nimport json, sys\n{BODY}\n{main}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.mark.parametrize(
    ("name", "main", "model"),
    [("vmaf", VMAF_MAIN, "version=x"), ("ffmpeg", FFMPEG_MAIN, None)],
)
def test_both_clips_are_written_and_each_frame_scored(name, main, model, tmp_path):
    vmaf = VMAF(program(tmp_path, name, main), model)
    quality = VideoQuality(flow="none", vmaf=vmaf)
    media = clips(2)
    report = evaluate(BlockClips(num_levels=4), media, dataset="x", quality=quality)
    assert report.failures == ()
    for (_, footage), item in zip(media, report.items, strict=True):
        scores = item.series["vmaf"]
        assert len(scores) == footage.frames.shape[1]
        assert all(50 < score < 99 for score in scores)
        assert item.scores["vmaf"] == pytest.approx(sum(scores) / len(scores))
    (metric,) = (metric for metric in quality.metrics if metric.name == "vmaf")
    assert metric.reason is None
    assert f"program {name}" in metric.definition


def test_a_program_on_the_path_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingExtraError, match="enable-libvmaf"):
        VMAF()
    program(tmp_path, "ffmpeg", "")  # one without the filter
    with pytest.raises(MissingExtraError, match="vmaf or ffmpeg"):
        VMAF()
    found = program(tmp_path, "vmaf", VMAF_MAIN)
    assert VMAF().definition.endswith("program vmaf")
    assert VMAF().command(Path("a"), Path("b"), Path("c"))[0] == os.fspath(found)


@pytest.mark.parametrize(
    ("main", "message"),
    [
        ("sys.exit('no model')", "ended with 1: no model"),
        (
            VMAF_MAIN.replace("write(", "(lambda *paths: open(paths[2], 'w').write('{}'))("),
            "score of each",
        ),
    ],
    ids=["fails", "other log"],
)
def test_what_the_program_says_is_in_the_report(main, message, tmp_path):
    quality = VideoQuality(flow="none", vmaf=VMAF(program(tmp_path, "vmaf", main)))
    (failure,) = evaluate(BlockClips(), clips(1), dataset="x", quality=quality).failures
    assert failure.error == MediaError.__name__
    assert message in failure.message
