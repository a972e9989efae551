"""Jobs from the plan to the manifest: interrupted, resumed, shared, poisoned."""

import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from tests.pipeline.conftest import NUM_PICTURES, MakeJob
from vqkit.errors import ConfigError, MediaError, ModelMismatchError, StorageError
from vqkit.files.dataset import Manifest, Sample, read_shard, verify_dataset
from vqkit.files.storage import Storage
from vqkit.media import read_image
from vqkit.pipeline import (
    EncodingJob,
    EncodingOptions,
    FailurePolicy,
    InlineExecutor,
    JobReport,
    ModelReference,
    ProcessExecutor,
    Progress,
    RayExecutor,
    ReadingLimits,
    ShardOutcome,
    ShardRange,
    encode_dataset,
)
from vqkit.pipeline.executors import Work
from vqkit.tokenizers import Tokenizer

NUM_INPUTS = NUM_PICTURES + 1
NUM_SHARDS = 4


def samples_in(output: Path | str) -> dict[str, Sample]:
    """All samples, each key once, after a look at everything else."""
    storage = Storage.at(output)
    assert verify_dataset(storage).problems == ()
    shards = Manifest.read(storage).shards
    samples = [sample for shard in shards for sample in read_shard(storage, shard.name)]
    assert len({sample.key for sample in samples}) == len(samples)
    return {sample.key: sample for sample in samples}


def run(job: EncodingJob) -> JobReport:
    return encode_dataset(job, InlineExecutor())


@pytest.fixture
def done(make_job: MakeJob) -> EncodingJob:
    """A job that was carried out."""
    job = make_job()
    report = run(job)
    assert report.progress.num_shards == report.progress.num_done_shards == NUM_SHARDS
    return job


@dataclass(frozen=True)
class Stopping:
    """An executor that is interrupted after some shards."""

    num_shards: int

    def map_shards(self, work: Work, numbers: Sequence[int]) -> Iterator[ShardOutcome]:
        yield from InlineExecutor().map_shards(work, numbers[: self.num_shards])
        raise KeyboardInterrupt


def test_every_input_has_the_tokens_that_the_tokenizer_gives(
    done: EncodingJob, pictures: Path
) -> None:
    tokenizer = Tokenizer.from_pretrained(done.model.path, trusted=["tests"])
    samples = samples_in(done.output)
    assert len(samples) == NUM_INPUTS
    for key, sample in samples.items():
        path = pictures / key
        if path.name == "broken.png":
            assert sample.error.startswith("Cannot read the image 'class1/broken.png': expected")
            continue
        assert sample.tokens is not None
        assert sample.tokens.same_as(tokenizer.encode([read_image(path)]))
        assert sample.source == key
        assert sample.source_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_report_counts(make_job: MakeJob) -> None:
    seen: list[int] = []
    report = encode_dataset(
        make_job(), InlineExecutor(), lambda progress: seen.append(progress.num_done_inputs)
    )
    assert (seen[0], len(seen), seen[-1]) == (0, 1 + NUM_SHARDS, NUM_INPUTS)
    assert not report.is_all_well
    document = report.to_dict()
    assert json.loads(json.dumps(document)) == document
    assert document["complete"] is True
    assert document["num_done"] == NUM_PICTURES
    assert [key for key, _ in document["failed"]] == ["class1/broken.png"]
    assert set(document["stage_seconds"]) == {"read", "decode", "wait", "encode", "write"}
    assert document["stage_seconds"]["encode"] > 0
    manifest = report.manifest
    assert manifest is not None
    assert document["num_tokens"] == manifest.num_tokens > 0
    assert document["size_bytes"] == manifest.size_bytes
    assert manifest.header.plan_id == document["plan_id"]
    assert manifest.header.provenance.preprocessing == {"alpha": "white", "batch_size": 1}


def test_a_second_run_finds_nothing_to_do(done: EncodingJob) -> None:
    before = {path: path.stat().st_mtime_ns for path in Path(done.output).glob("part-*")}
    report = run(done)
    assert report.progress.num_earlier_shards == report.progress.num_done_shards == NUM_SHARDS
    assert report.progress.num_failed == 1, "what failed before still does"
    assert {path: path.stat().st_mtime_ns for path in Path(done.output).glob("part-*")} == before


@pytest.mark.parametrize("num_before", [0, 1, 3])
def test_an_interrupted_job_goes_on(
    make_job: MakeJob, done: EncodingJob, tmp_path: Path, num_before: int
) -> None:
    job = make_job(output=str(tmp_path / "interrupted"))
    with pytest.raises(KeyboardInterrupt):
        encode_dataset(job, Stopping(num_before))
    assert not (tmp_path / "interrupted" / "manifest.json").exists()
    report = run(job)
    assert report.progress.num_earlier_shards == num_before
    assert report.manifest is not None
    assert contents(job.output) == contents(done.output)


def contents(output: str) -> dict[str, bytes]:
    """All files but the records, which hold times."""
    names = (p.name for p in Path(output).iterdir())
    kept = (name for name in names if not (name.startswith("part-") and name.endswith(".json")))
    return {name: (Path(output) / name).read_bytes() for name in kept}


@pytest.mark.parametrize(
    "executor",
    [ProcessExecutor(1), pytest.param(RayExecutor(2), marks=pytest.mark.slow)],
    ids=["process", "ray"],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray", "ignore::FutureWarning:ray")
def test_executors_write_the_same(
    make_job: MakeJob, done: EncodingJob, tmp_path: Path, executor: ProcessExecutor | RayExecutor
) -> None:
    job = make_job(output=str(tmp_path / "elsewhere"))
    report = encode_dataset(job, executor)
    assert report.manifest is not None
    assert contents(job.output) == contents(done.output)


def test_workers_on_threads_of_their_own_leave_this_one_as_it_was(done: EncodingJob) -> None:
    torch.set_num_threads(2)
    try:
        Path(done.output, "part-00000-of-00004.json").unlink()
        Path(done.output, "part-00000-of-00004.parquet").unlink()
        run(done)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize("is_damaged", [False, True])
def test_a_part_without_a_record_is_taken_if_it_is_sound(
    done: EncodingJob, is_damaged: bool, caplog: pytest.LogCaptureFixture
) -> None:
    part = Path(done.output) / "part-00001-of-00004.parquet"
    record = part.with_suffix(".json")
    before, facts = contents(done.output), json.loads(record.read_bytes())
    record.unlink()
    if is_damaged:
        data = bytearray(part.read_bytes())
        data[60] ^= 1  # in a page: those have checksums
        part.write_bytes(data)
    report = run(done)
    assert report.progress.num_earlier_shards == NUM_SHARDS - 1
    assert contents(done.output) == before
    again = json.loads(record.read_bytes())
    assert ("Encoding it again" in caplog.text) == is_damaged
    assert bool(again.pop("seconds")) == is_damaged, "taken as it was, it cost nothing"
    for name in ("seconds", "checksum"):  # the second covers the first
        facts.pop(name)
        again.pop(name, None)
    assert again == facts


def test_a_part_that_lost_bytes_is_made_again(
    done: EncodingJob, caplog: pytest.LogCaptureFixture
) -> None:
    before = contents(done.output)
    part = Path(done.output) / "part-00002-of-00004.parquet"
    part.write_bytes(part.read_bytes()[:-1])
    (Path(done.output) / "part-00003-of-00004.parquet").unlink()
    report = run(done)
    assert report.progress.num_earlier_shards == NUM_SHARDS - 2
    assert contents(done.output) == before
    assert "has lost bytes" in caplog.text


def test_the_faster_of_two_attempts_wins(make_job: MakeJob) -> None:
    """The slower one finds the part, even with other content, and takes it as it is."""
    from vqkit.pipeline.job_folder import JobFolder
    from vqkit.pipeline.shard import EncodingWork

    job = make_job()
    plan = job.stored_plan()
    storage = Storage.at(job.output)
    folder = JobFolder(storage, plan)
    work = EncodingWork(job.model, storage, plan, job.inputs)
    writer = folder.new_shard(0)
    with work.start() as encode:
        for item in [*read_inputs_of(storage, plan, 0)]:
            writer.add(Sample(item.key, error="the other attempt could not read it"))
        data, record = writer.finish()
        faster = folder.commit(data, record)
        slower = encode(0)
        assert slower["num_failed"] == slower["num_failed"] == len(faster.failed) > 0
        # A commit by the slower one, which had begun before, changes nothing either.
        other = folder.new_shard(0)
        other.add(Sample("other", error="of the slower attempt"))
        assert folder.commit(*other.finish()).sha256 == faster.sha256
    assert storage.read(faster.name) == data


def read_inputs_of(storage: Storage, plan: object, number: int) -> Iterator[object]:
    from vqkit.pipeline.plan import Plan, read_inputs

    assert isinstance(plan, Plan)
    return read_inputs(storage, plan, number)


def test_tasks_of_an_array_share_a_job(
    make_job: MakeJob, done: EncodingJob, tmp_path: Path
) -> None:
    output = str(tmp_path / "array")
    tasks = [make_job(output=output, shard_range=ShardRange(task, 3)) for task in (1, 2, 3)]
    reports = [run(task) for task in tasks[1:]]
    assert [report.manifest for report in reports] == [None, None]
    assert [report.progress.num_shards for report in reports] == [1, 1]
    last = run(tasks[0])
    assert last.manifest is not None
    assert last.progress.num_shards == 2
    assert contents(output) == contents(done.output)


def test_tasks_take_the_plan_as_it_is_and_a_full_run_does_not(
    make_job: MakeJob, pictures: Path, tmp_path: Path
) -> None:
    import shutil

    inputs = tmp_path / "inputs"
    shutil.copytree(pictures, inputs)
    whole = make_job(inputs=str(inputs))
    task = replace(whole, shard_range=ShardRange(1, 2))
    run(replace(whole, shard_range=ShardRange(2, 2)))
    shutil.copy(inputs / "class0" / "00.png", inputs / "new.png")
    assert run(task).manifest is not None
    assert "new.png" not in samples_in(whole.output)
    with pytest.raises(ConfigError, match="expected 13 inputs as planned, got 14"):
        run(whole)
    for changed in (
        replace(task, options=EncodingOptions()),
        replace(whole, options=EncodingOptions()),
    ):
        with pytest.raises(ConfigError, match="expected shard_bytes"):
            run(changed)


def test_another_model_is_refused(make_job: MakeJob, done: EncodingJob, tmp_path: Path) -> None:
    from tests.cli.tiny import tiny_tokenizer

    tiny_tokenizer(gain=0.5).save_pretrained(tmp_path / "other")
    other = ModelReference(str(tmp_path / "other"), trusted=("tests",))
    before = contents(done.output)
    for shard_range in (ShardRange(), ShardRange(1, 2)):
        with pytest.raises(ModelMismatchError, match="holds the data set of another job"):
            run(make_job(model=other, shard_range=shard_range))
    assert contents(done.output) == before


@dataclass(frozen=True)
class GivingUp:
    """An executor whose workers die over a shard, before or after they write it."""

    number: int
    writes: bool

    def map_shards(self, work: Work, numbers: Sequence[int]) -> Iterator[ShardOutcome]:
        others = [number for number in numbers if number != self.number or self.writes]
        for outcome in InlineExecutor().map_shards(work, others):
            if outcome.number != self.number:
                yield outcome
        yield ShardOutcome(self.number, None, 3)


def test_a_shard_that_kills_workers_is_quarantined_and_tried_in_the_next_run(
    make_job: MakeJob, done: EncodingJob, tmp_path: Path
) -> None:
    job = make_job(output=str(tmp_path / "poisoned"))
    report = encode_dataset(job, GivingUp(2, writes=False))
    assert not report.is_all_well
    assert report.to_dict()["quarantined"] == [[2, "3 workers died over it"]]
    manifest = report.manifest
    assert manifest is not None
    assert manifest.quarantined == {"part-00002-of-00004.parquet": "3 workers died over it"}
    assert Manifest.read(Storage.at(job.output)).num_shards == NUM_SHARDS
    again = run(job)
    assert again.progress.num_earlier_shards == NUM_SHARDS - 1
    assert contents(job.output) == contents(done.output)


def test_a_shard_whose_last_worker_died_after_the_work_is_done(make_job: MakeJob) -> None:
    report = encode_dataset(make_job(), GivingUp(2, writes=True))
    assert report.progress.quarantined == []
    assert len(samples_in(report_output(make_job))) == NUM_INPUTS


def report_output(make_job: MakeJob) -> str:
    return make_job().output


@pytest.mark.parametrize("policy", ["fail", "skip:5%"])
def test_too_many_failures_end_the_run_and_a_milder_policy_goes_on(
    make_job: MakeJob, policy: str
) -> None:
    job = make_job(policy=FailurePolicy.parse(policy))  # 1 of 13 fails
    with pytest.raises(MediaError, match=rf"as told on errors \({policy}\): class1/broken\.png"):
        run(job)
    assert not (Path(job.output) / "manifest.json").exists()
    report = run(replace(job, policy=FailurePolicy.parse("skip:8%")))
    assert report.manifest is not None
    assert report.progress.num_failed == 1
    with pytest.raises(MediaError, match=r"1 of 13 inputs failed, the last of them class1/broken"):
        run(job)


@pytest.mark.parametrize("text", ["", "skip:", "skip:101%", "skip:-1%", "ignore", "skip:2"])
def test_policies_that_do_not_exist(text: str) -> None:
    with pytest.raises(ConfigError, match="expected fail, skip or skip:2%"):
        FailurePolicy.parse(text)


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/3"])
def test_shard_ranges_that_do_not_exist(text: str) -> None:
    with pytest.raises(ConfigError, match="Shard range: expected"):
        ShardRange.parse(text)


@pytest.mark.parametrize(
    ("num_readers", "seconds"),
    [(0, 1.0), (1, 0.0), (1, float("nan")), (1, -1.0), (1, float("inf"))],
)
def test_limits_that_make_no_sense(num_readers: int, seconds: float) -> None:
    with pytest.raises(ConfigError):
        ReadingLimits(num_readers, seconds)


def test_leftovers_of_killed_writers_are_removed_when_they_are_old(done: EncodingJob) -> None:
    old, new = (Path(done.output) / f".vqkit-{digit * 16}.tmp" for digit in "01")
    for path in (old, new):
        path.write_bytes(b"half a shard")
    hours_ago = time.time() - 7200
    os.utime(old, (hours_ago, hours_ago))
    run(done)
    assert (old.exists(), new.exists()) == (False, True)


def test_an_item_that_hangs_is_an_error_row(make_job: MakeJob, tmp_path: Path) -> None:
    """A pipe that nobody writes to, in the place of a picture."""
    os.mkfifo(tmp_path / "hangs.png")
    (tmp_path / "list.txt").write_text("hangs.png\n")
    job = make_job(inputs=str(tmp_path / "list.txt"), limits=ReadingLimits(1, timeout_seconds=1.0))
    report = run(job)
    assert report.progress.failed == [("hangs.png", "not read and decoded within 1 s")]
    assert report.manifest is not None


def test_files_in_parquet_and_labels(make_job: MakeJob, pictures: Path, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    paths = sorted(pictures.rglob("*.png"))
    path = tmp_path / "pictures.parquet"
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [{"bytes": file.read_bytes(), "path": file.name} for file in paths]
    labels = [int(file.parent.name[-1]) for file in paths]
    pq.write_table(pa.table({"image": pa.array(rows, kind), "label": labels}), path)
    job = make_job(inputs=str(path))
    run(job)
    samples = samples_in(job.output)
    tokenizer = Tokenizer.from_pretrained(job.model.path, trusted=["tests"])
    for number, file in enumerate(paths):
        sample = samples[f"pictures.parquet#{number:010d}"]
        assert sample.label == labels[number]
        assert sample.source == f"pictures.parquet#{number}"
        if sample.tokens is not None:
            assert sample.tokens.same_as(tokenizer.encode([read_image(file)]))
    assert sum(sample.tokens is None for sample in samples.values()) == 1


def test_options_reach_the_tokens(make_job: MakeJob, tmp_path: Path, pictures: Path) -> None:
    from tests.cli.tiny import tiny_tokenizer

    tokenizer = tiny_tokenizer(levels=3)
    tokenizer.save_pretrained(tmp_path / "levels")
    job = make_job(
        model=ModelReference(str(tmp_path / "levels"), trusted=("tests",)),
        options=EncodingOptions(num_codebooks=2, batch_size=4),
    )
    run(job)
    for key, sample in samples_in(job.output).items():
        if sample.tokens is not None:
            expected = tokenizer.encode([read_image(pictures / key)]).first_codebooks(2)
            assert sample.tokens.same_as(expected)


def test_a_store_without_the_part_of_a_moment_ago_is_asked_again(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vqkit.files.storage.folder import FolderStorage
    from vqkit.pipeline import job_folder

    real, calls = FolderStorage.create, []

    def create(self: FolderStorage, name: str, data: bytes) -> bool:
        calls.append(name)
        if name.startswith("part-") and len(calls) % 2:
            raise StorageError("the store has a bad moment")
        return real(self, name, data)

    monkeypatch.setattr(FolderStorage, "create", create)
    monkeypatch.setattr(job_folder, "_WAIT_SECONDS", (0.0, 0.0))
    job = make_job()
    assert run(job).manifest is not None
    assert len(samples_in(job.output)) == NUM_INPUTS


def test_progress_is_about_the_range(make_job: MakeJob) -> None:
    last: list[Progress] = []
    job = make_job(shard_range=ShardRange(1, 2))
    encode_dataset(job, InlineExecutor(), last.append)
    assert last[-1].num_shards == 2
    assert last[-1].num_done_inputs == last[-1].num_inputs < NUM_INPUTS


def test_s3_from_end_to_end(make_job: MakeJob, bucket: str, pictures: Path) -> None:
    """Inputs and output in a store, in two runs on two executors."""
    import fsspec

    store = fsspec.filesystem("s3", use_listings_cache=False)
    for path in pictures.rglob("*.png"):
        store.pipe_file(f"{bucket}/in/{path.relative_to(pictures)}", path.read_bytes())
    job = make_job(inputs=f"{bucket}/in", output=f"{bucket}/out/tokens")
    run(replace(job, shard_range=ShardRange(1, 2)))
    report = encode_dataset(job, ProcessExecutor(1))
    assert report.progress.num_earlier_shards == 2
    samples = samples_in(job.output)
    assert len(samples) == NUM_INPUTS
    tokenizer = Tokenizer.from_pretrained(job.model.path, trusted=["tests"])
    for key, sample in samples.items():
        if sample.tokens is not None:
            assert sample.tokens.same_as(tokenizer.encode([read_image(pictures / key)]))
    assert report.progress.num_failed == 1
