"""Encoding a data set: plan, run what is missing, finish. Every run of a job is a resumption."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from vqkit.errors import MediaError
from vqkit.files.dataset import Manifest
from vqkit.files.storage import Storage
from vqkit.pipeline.executors import Executor, ShardOutcome, Summary
from vqkit.pipeline.inputs import Inputs, list_inputs, root_of
from vqkit.pipeline.job_folder import JobFolder, Quarantine
from vqkit.pipeline.model import ModelReference
from vqkit.pipeline.options import EncodingOptions, FailurePolicy, ReadingLimits, ShardRange
from vqkit.pipeline.plan import PLAN_NAME, Plan, make_plan
from vqkit.pipeline.shard import STAGES, EncodingWork, summary_of

__all__ = ["EncodingJob", "JobReport", "Progress", "encode_dataset"]

MAX_FAILURES_TOLD = 1000


@dataclass
class Progress:
    """How far a run is; its numbers are about the shards of this run's range.

    Attributes:
        num_shards: To be done.
        num_inputs: In them.
        num_earlier_shards: That were done when the run began.
        num_done_shards: Done by now, those included.
        num_done_inputs: In them.
        num_failed: Inputs that failed.
        num_tokens: In the shards that are done.
        size_bytes: Of the shards that are done.
        media_seconds: Duration of the sounds or clips in the shards that are done.
        new_media_seconds: Of those that were encoded in this run.
        medium: What it is that lasts, "sound" or "video".
        failed: The first keys and reasons.
        quarantined: Shards that were given up.
        seconds: By stage, of all workers together, in this run.
    """

    num_shards: int
    num_inputs: int
    num_earlier_shards: int = 0
    num_done_shards: int = 0
    num_done_inputs: int = 0
    num_failed: int = 0
    num_tokens: int = 0
    size_bytes: int = 0
    media_seconds: float = 0.0
    new_media_seconds: float = 0.0
    medium: str = "sound"
    failed: list[tuple[str, str]] = field(default_factory=list)
    quarantined: list[Quarantine] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))

    def add(self, summary: Summary, num_inputs: int, *, is_earlier: bool) -> None:
        """Count a shard that is done."""
        self.num_done_shards += 1
        self.num_done_inputs += num_inputs
        for name in ("num_failed", "num_tokens", "size_bytes", "media_seconds"):
            setattr(self, name, getattr(self, name) + summary[name])
        room = MAX_FAILURES_TOLD - len(self.failed)
        self.failed += [(key, reason) for key, reason in summary["failed"][:room]]
        if is_earlier:
            self.num_earlier_shards += 1
            return
        self.new_media_seconds += summary["media_seconds"]
        for stage, seconds in summary["seconds"].items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds


@dataclass(frozen=True)
class JobReport:
    """What a run came to.

    Attributes:
        plan: Of the job.
        progress: Of this run's range of shards.
        manifest: Of the whole data set; None while shards of other ranges are missing.
        seconds: That the run took.
    """

    plan: Plan
    progress: Progress
    manifest: Manifest | None
    seconds: float

    @property
    def is_all_well(self) -> bool:
        """Whether every input of the range has tokens now."""
        return not self.progress.num_failed and not self.progress.quarantined

    def rates(self) -> dict[str, float | None]:
        """Of sounds and clips: duration, bits per second, how much faster this run was than they.

        ``times_real_time`` is None where this run had nothing left to do. Empty for other media.
        """
        if not self.plan.tokenizer.has_duration:
            return {}
        progress = self.progress
        media_seconds, new_seconds = progress.media_seconds, progress.new_media_seconds
        return {
            "media_seconds": media_seconds,
            "bits_per_second": 8 * progress.size_bytes / media_seconds if media_seconds else None,
            "times_real_time": new_seconds / max(self.seconds, 1e-9) if new_seconds else None,
        }

    def to_dict(self) -> dict[str, Any]:
        """JSON types."""
        progress = self.progress
        return {
            "plan_id": self.plan.plan_id,
            "complete": self.manifest is not None,
            "num_shards": progress.num_shards,
            "num_earlier_shards": progress.num_earlier_shards,
            "num_done_shards": progress.num_done_shards,
            "num_inputs": progress.num_inputs,
            "num_done": progress.num_done_inputs - progress.num_failed,
            "num_failed": progress.num_failed,
            "num_tokens": progress.num_tokens,
            "size_bytes": progress.size_bytes,
            **self.rates(),
            "seconds": self.seconds,
            "stage_seconds": progress.seconds,
            "failed": [[*failure] for failure in progress.failed],
            "quarantined": [[shard.number, shard.reason] for shard in progress.quarantined],
        }


@dataclass(frozen=True)
class EncodingJob:
    """A data set to be: what is encoded, with what, where to.

    Args:
        inputs: A folder, a list or a Parquet file, see :func:`vqkit.pipeline.list_inputs`.
        output: A folder or the prefix of an object store; the data set will be all there is in it.
        model: Encodes.
        options: How.
        policy: On items that fail.
        limits: On reading.
        shard_range: The shards that this run does; others do the rest.
    """

    inputs: str
    output: str
    model: ModelReference
    options: EncodingOptions = field(default_factory=EncodingOptions)
    policy: FailurePolicy = field(default_factory=FailurePolicy)
    limits: ReadingLimits = field(default_factory=ReadingLimits)
    shard_range: ShardRange = field(default_factory=ShardRange)

    def plan(self) -> tuple[Plan, Inputs]:
        """List the inputs and cut them into shards; writes nothing.

        Raises:
            ConfigError: There are no inputs or no such model.
        """
        spec = self.model.spec()
        inputs = list_inputs(self.inputs, spec.modality)
        return make_plan(inputs, spec, self.options), inputs

    def stored_plan(self) -> Plan:
        """The plan in the output folder, after writing it or comparing with what is there.

        A run of some shards takes a plan that is there as it is: a hundred tasks of an array shall
        not list a million inputs a hundred times.

        Raises:
            ConfigError: The folder holds another job; ModelMismatchError if its model differs.
        """
        storage = Storage.at(self.output)
        if not self.shard_range.is_all and storage.exists(PLAN_NAME):
            plan = Plan.read(storage)
            same = replace(plan, tokenizer=self.model.spec(), options=self.options)
            plan.check_same(same, storage.location)
            return plan
        plan, inputs = self.plan()
        plan.store(storage, inputs)
        return plan


def encode_dataset(
    job: EncodingJob,
    executor: Executor,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> JobReport:
    """Encode what is missing of a data set.

    Every shard is encoded at least once and visible exactly once. Interrupted at any moment, even
    by SIGKILL, the same call goes on where it was: with this executor or another one, here or on
    another machine.

    Args:
        job: What to do.
        executor: Where to do it.
        on_progress: Called when a shard is done.

    Raises:
        ConfigError: The inputs cannot be listed, or the folder holds another job.
        ModelMismatchError: It holds one of another model.
        MediaError: More inputs failed than the policy allows.
        StorageError: The output cannot be written.
    """
    begin = time.perf_counter()
    plan = job.stored_plan()
    storage = Storage.at(job.output)
    folder = JobFolder(storage, plan)
    folder.remove_leftovers()
    numbers = job.shard_range.numbers(plan.num_shards)
    medium = "video" if plan.tokenizer.modality == "video" else "sound"
    num_inputs = sum(plan.size(number) for number in numbers)
    progress = Progress(len(numbers), num_inputs, medium=medium)
    missing = _missing(folder, numbers, progress)
    folder.release(missing)
    on_progress(progress)
    work = EncodingWork(job.model, storage, plan, root_of(job.inputs), job.policy, job.limits)
    _check_policy(job.policy, progress, plan)
    for outcome in executor.map_shards(work, missing):
        _count(outcome, folder, progress)
        _check_policy(job.policy, progress, plan)
        on_progress(progress)
    return JobReport(plan, progress, folder.finish(), time.perf_counter() - begin)


def _missing(folder: JobFolder, numbers: Iterable[int], progress: Progress) -> list[int]:
    """Count the shards that are done and give the others."""
    missing = dict.fromkeys(numbers)
    for record in folder.sound_records():
        if record.number in missing:
            del missing[record.number]
            num_inputs = folder.plan.size(record.number)
            progress.add(summary_of(record), num_inputs, is_earlier=True)
    return [*missing]


def _count(outcome: ShardOutcome, folder: JobFolder, progress: Progress) -> None:
    summary = outcome.summary
    if summary is None:
        # Its worker may have died just after the part was written.
        record = folder.settle(outcome.number)
        summary = None if record is None else summary_of(record)
    if summary is not None:
        num_inputs = folder.plan.size(outcome.number)
        progress.add(summary, num_inputs, is_earlier=False)
        return
    shard = Quarantine(outcome.number, f"{outcome.num_deaths} workers died over it")
    folder.quarantine(shard)
    progress.quarantined.append(shard)


def _check_policy(policy: FailurePolicy, progress: Progress, plan: Plan) -> None:
    if policy.allows(progress.num_failed, plan.inputs.count):
        return
    key, reason = progress.failed[-1] if progress.failed else ("", "")
    raise MediaError(
        f"Encoding stopped, as told on errors ({policy}): {progress.num_failed:,} of "
        f"{plan.inputs.count:,} inputs failed, the last of them {key}: {reason}. What is done "
        "stays: run it again and let more errors pass."
    )
