"""Jobs on clips: frames as they are decoded, times kept, broken ones named, tar and Parquet."""

import io
import os
import signal
import tarfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tests.cli.tiny_clips import fading, tiny_video_tokenizer, toned
from tests.media.video_files import clip
from tests.pipeline.test_job import samples_in
from vqkit.clips import encode_clip, frame_times_of, with_duration_layout
from vqkit.errors import ConfigError, MediaError
from vqkit.files.dataset import Sample, verify_dataset
from vqkit.files.storage import Storage
from vqkit.media import VideoReader, VideoWriter, read_video, write_video
from vqkit.pipeline import (
    EncodingJob,
    EncodingOptions,
    FailurePolicy,
    InlineExecutor,
    JobReport,
    ModelReference,
    ProcessExecutor,
    encode_dataset,
    list_inputs,
)
from vqkit.pipeline.clip_reading import ReadClip
from vqkit.pipeline.executors import Executor
from vqkit.pipeline.reader_pool import ReaderPool
from vqkit.pipeline.reading import MediaReader, MediaRequest
from vqkit.tokenizers import Tokens
from vqkit.tokenizers.spec import seconds_of

FRAMES = {"film.mp4": 37, "inner/one.mkv": 1, "vary.mkv": 6, "noise.y4m": 18}
TICKS = [0, 40, 100, 140, 300, 340]
BROKEN = {
    "cut.mp4": "cut short",
    "late.mp4": "it is damaged",
    "text.mkv": "got something else",
}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of several rates and sizes; some are cut short, one after many frames."""
    folder = tmp_path_factory.mktemp("clips")
    (folder / "inner").mkdir()
    film = toned(FRAMES["film.mp4"], 1.0)
    (folder / "film.mp4").write_bytes(film)
    (folder / "cut.mp4").write_bytes(film[:-2000])
    write_video(fading(1, 17, 9), folder / "inner" / "one.mkv", Fraction(30_000, 1001))
    with VideoWriter(folder / "vary.mkv", 20, 24, 40, time_base=Fraction(1, 1000)) as writer:
        writer.write(fading(6), TICKS, last_duration=60)
    write_video(fading(FRAMES["noise.y4m"], 15, 13), folder / "noise.y4m", 25)
    write_video(clip(40, 48, 64), folder / "late.mp4", 25)
    whole = (folder / "late.mp4").read_bytes()
    place = whole.index(b"moov") - 250
    wrong = bytes(byte ^ 0x55 for byte in whole[place : place + 60])
    (folder / "late.mp4").write_bytes(whole[:place] + wrong + whole[place + 60 :])
    (folder / "text.mkv").write_text("no clip")
    (folder / "photo.png").write_bytes(b"not looked at")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "video"
    tiny_video_tokenizer().save_pretrained(folder)
    return folder


def expected_tokens(path: Path) -> Tokens:
    """As ``vqkit encode`` makes them of one file."""
    with VideoReader(path) as reader:
        return encode_clip(reader, tiny_video_tokenizer())


def encode(
    inputs: Path, model: Path, output: Path, executor: Executor | None = None, **options: Any
) -> JobReport:
    job = EncodingJob(
        str(inputs), str(output), ModelReference(str(model)), EncodingOptions(**options)
    )
    return encode_dataset(job, executor or InlineExecutor())


def test_tokens_and_times_are_those_of_each_clip(clips: Path, model: Path, tmp_path: Path) -> None:
    """In batches as well: clips are encoded one by one, whatever else is asked for."""
    report = encode(clips, model, tmp_path / "tokens", batch_size=3)
    samples = samples_in(tmp_path / "tokens")
    assert sorted(samples) == sorted([*FRAMES, *BROKEN])
    seconds = 0.0
    for key, sample in samples.items():
        if key in BROKEN:
            assert BROKEN[key] in sample.error
            assert key in sample.error
            continue
        assert sample.tokens is not None
        expected = expected_tokens(clips / key)
        assert sample.tokens.same_as(with_duration_layout(expected))
        assert frame_times_of(sample.tokens) == frame_times_of(expected)
        size = sample.tokens.media[0]
        assert size["frames"] == FRAMES[key]
        seconds += seconds_of(size) or 0.0
    times = samples["vary.mkv"].tokens
    assert times is not None
    assert frame_times_of(times) is not None
    manifest, document = report.manifest, report.to_dict()
    assert manifest is not None
    assert (document["num_done"], document["num_failed"]) == (len(FRAMES), len(BROKEN))
    assert document["media_seconds"] == manifest.media_seconds == pytest.approx(seconds)
    assert document["bits_per_second"] == pytest.approx(8 * document["size_bytes"] / seconds)
    assert all(document["stage_seconds"][stage] > 0 for stage in ("decode", "wait", "encode"))
    assert verify_dataset(Storage.at(str(tmp_path / "tokens"))).problems == ()


def test_a_policy_ends_a_job(clips: Path, model: Path, tmp_path: Path) -> None:
    job = EncodingJob(
        str(clips), str(tmp_path), ModelReference(str(model)), policy=FailurePolicy(0.0)
    )
    with pytest.raises(MediaError, match=r"Encoding stopped.*cut.mp4"):
        encode_dataset(job, InlineExecutor())


def written_tar(clips: Path, path: Path) -> None:
    """Samples as WebDataset has them: files of one name beside one another."""
    with tarfile.open(path, "w") as archive:
        for number, name in enumerate(["film.mp4", "noise.y4m", "cut.mp4"]):
            stem = f"shard/{number:03d}"
            archive.add(clips / name, f"{stem}.{name.split('.')[1]}")
            for ending, text in (("cls", str(number)), ("txt", "a film")):
                member = tarfile.TarInfo(f"{stem}.{ending}")
                member.size = len(text)
                archive.addfile(member, io.BytesIO(text.encode()))


def test_clips_in_a_tar_file_and_in_parquet(clips: Path, model: Path, tmp_path: Path) -> None:
    names = ["film.mp4", "noise.y4m", "cut.mp4"]
    written_tar(clips, tmp_path / "clips.tar")
    assert len(list_inputs(tmp_path / "clips.tar", "video")) == 3
    rows = [{"bytes": (clips / name).read_bytes(), "path": name} for name in names]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = {"video": pa.array(rows, kind), "label": [0, 1, 2]}
    pq.write_table(pa.table(columns), tmp_path / "clips.parquet")
    found: list[list[Sample]] = []
    for ending in ("tar", "parquet"):
        encode(tmp_path / f"clips.{ending}", model, tmp_path / ending)
        samples = samples_in(tmp_path / ending)
        found.append([samples[key] for key in sorted(samples)])
    assert [s.key for s in found[0]] == ["shard/000.mp4", "shard/001.y4m", "shard/002.mp4"]
    for name, *pair in zip(names, *found, strict=True):
        for number, sample in enumerate(pair):
            assert sample.label == names.index(name), number
            if name in BROKEN:
                assert BROKEN[name] in sample.error
                continue
            assert sample.tokens is not None
            assert sample.tokens.same_as(with_duration_layout(expected_tokens(clips / name)))


def test_tar_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "text.tar").write_text("no archive, but long enough to be looked at")
    with pytest.raises(ConfigError, match="expected a tar file that is not compressed"):
        list_inputs(tmp_path / "text.tar", "video")
    with tarfile.open(tmp_path / "empty.tar", "w") as archive:
        archive.add(tmp_path / "text.tar", "text.tar")
    with pytest.raises(ConfigError, match="expected videos, found none"):
        list_inputs(tmp_path / "empty.tar", "video")


def test_what_is_left_of_a_clip_is_given_up(clips: Path) -> None:
    """And the next item is read all the same, whatever became of the process."""
    names = ["film.mp4", "film.mp4", "late.mp4", "noise.y4m"]
    requests = [MediaRequest(str(clips / name), name) for name in names]
    with ReaderPool(MediaReader("video", 3), 1, 30.0) as pool:
        items = pool.read(requests)
        first = next(items)
        assert isinstance(first, ReadClip)
        assert next(first.blocks(4)).shape == (3, 4, 24, 40)
        second = next(items)
        assert isinstance(second, ReadClip)
        assert pool._serving is not None
        child, _ = pool._serving
        os.kill(child.process.pid or 0, signal.SIGKILL)
        with pytest.raises(MediaError, match="was ended by SIGKILL"):
            [*second.blocks(4)]
        third = next(items)
        assert isinstance(third, ReadClip)
        with pytest.raises(MediaError, match=r"late.mp4.*damaged"):
            [*third.blocks(4)]
        fourth = next(items)
        assert isinstance(fourth, ReadClip)
        frames = torch.cat([*fourth.blocks(5)], 1)
        assert torch.equal(frames, read_video(clips / "noise.y4m").frames)
        assert next(items, None) is None


def test_frames_that_do_not_come_in_time(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(self: VideoReader, num_frames: int) -> torch.Tensor:
        signal.pause()
        raise AssertionError

    monkeypatch.setattr(VideoReader, "read", hang)
    request = MediaRequest(str(clips / "film.mp4"), "film.mp4")
    # A child that is forked from here hangs as well.
    monkeypatch.setattr("vqkit.pipeline.children._runs_alone", lambda: True)
    with ReaderPool(MediaReader("video", 3), 1, 1.0) as pool:
        items = pool.read([request])
        film = next(items)
        assert isinstance(film, ReadClip)
        with pytest.raises(MediaError, match="no further frame was decoded within 1 s"):
            [*film.blocks(4)]


@pytest.mark.slow
def test_workers_and_a_job_that_goes_on(clips: Path, model: Path, tmp_path: Path) -> None:
    """Two processes write the bytes that one writes; what was done before is not done again."""
    encode(clips, model, tmp_path / "one", shard_bytes=60_000)
    encode(clips, model, tmp_path / "two", ProcessExecutor(2), shard_bytes=60_000)
    parts = sorted(path.name for path in (tmp_path / "one").glob("part-*.parquet"))
    assert len(parts) > 2
    for name in parts:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    whole = (tmp_path / "two" / "manifest.json").read_bytes()
    for path in (parts[0], parts[0].replace("parquet", "json"), "manifest.json"):
        (tmp_path / "two" / path).unlink()
    again = encode(clips, model, tmp_path / "two", ProcessExecutor(2), shard_bytes=60_000)
    assert again.progress.num_earlier_shards == len(parts) - 1
    assert (tmp_path / "two" / parts[0]).read_bytes() == (tmp_path / "one" / parts[0]).read_bytes()
    assert len((tmp_path / "two" / "manifest.json").read_bytes()) == pytest.approx(
        len(whole), rel=0.1
    )
