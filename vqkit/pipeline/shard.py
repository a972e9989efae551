"""A shard from its inputs to its commit: what every worker runs, whatever started it."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from vqkit.errors import MediaError, ShapeError
from vqkit.files.dataset import Sample, ShardRecord, ShardWriter
from vqkit.files.storage import Storage
from vqkit.pipeline.clip_reading import ReadClip
from vqkit.pipeline.encoder import ItemEncoder
from vqkit.pipeline.executors import RunShard, Summary
from vqkit.pipeline.inputs import Input, request_of
from vqkit.pipeline.job_folder import JobFolder
from vqkit.pipeline.model import ModelReference, exact_arithmetic
from vqkit.pipeline.options import FailurePolicy, ReadingLimits
from vqkit.pipeline.plan import Plan, read_inputs
from vqkit.pipeline.reader_pool import ReaderPool, reason_of
from vqkit.pipeline.reading import MediaReader, ReadMedia
from vqkit.tokenizers import Tokens

__all__ = ["STAGES", "EncodingWork", "ShardEncoder", "summary_of"]

STAGES = ("read", "decode", "wait", "encode", "write")
"""What the seconds of a shard are spent on: the first two beside the others, in readers."""

_MAX_FAILURES_TOLD = 20


@dataclass(frozen=True)
class EncodingWork:
    """What workers do in an encoding job.

    Args:
        model: The tokenizer, as every worker finds it.
        storage: The output folder.
        plan: Of the job.
        root: What relative paths of inputs are below, as workers see it.
        policy: On items that fail.
        limits: On reading.
    """

    model: ModelReference
    storage: Storage
    plan: Plan
    root: str
    policy: FailurePolicy = field(default_factory=FailurePolicy)
    limits: ReadingLimits = field(default_factory=ReadingLimits)

    @contextmanager
    def start(self) -> Iterator[RunShard]:
        """Start the readers and load the model."""
        options, spec, limits = self.plan.options, self.plan.tokenizer, self.limits
        reader = MediaReader(spec.modality, spec.channels, options.alpha)
        # The readers first: what they come from shall be small and single-threaded.
        with (
            ReaderPool(reader, limits.num_readers, limits.timeout_seconds) as readers,
            exact_arithmetic(),
        ):
            tokenizer = self.model.load(options.device, spec.fingerprint)
            encoder = ItemEncoder(tokenizer, options.batch_size, options.num_codebooks)
            yield ShardEncoder(self, JobFolder(self.storage, self.plan), encoder, readers)


class ShardEncoder:
    """Runs shards one after another with the model and the readers of its worker.

    Args:
        work: Of the job.
        folder: Where shards go.
        encoder: Turns media into tokens.
        readers: Turn inputs into media.
    """

    def __init__(
        self, work: EncodingWork, folder: JobFolder, encoder: ItemEncoder, readers: ReaderPool
    ) -> None:
        self.work = work
        self.folder = folder
        self.encoder = encoder
        self.readers = readers

    def __call__(self, number: int) -> Summary:
        """Encode a shard unless it is done; a second time does no harm.

        Raises:
            MediaError: More items failed than the policy allows.
            StorageError: The shard cannot be written.
            WorkerLostError: The device does not work any more.
        """
        record = self.folder.settle(number)
        return summary_of(self._encode(number) if record is None else record)

    def _encode(self, number: int) -> ShardRecord:
        seconds = dict.fromkeys(STAGES, 0.0)
        writer = self.folder.new_shard(number)
        num_failed = 0
        for sample in self._samples(number, seconds):
            begin = time.perf_counter()
            sample = _added(writer, sample)
            seconds["write"] += time.perf_counter() - begin
            num_failed += sample.tokens is None
            if not self.work.policy.allows(num_failed, self.work.plan.inputs.count):
                raise MediaError(
                    f"Encoding stopped, as told on errors ({self.work.policy}): {sample.key}: "
                    f"{sample.error}. Remove it from the inputs, or let errors pass."
                )
        begin = time.perf_counter()
        data, record = writer.finish()
        seconds["write"] += time.perf_counter() - begin
        return self.folder.commit(data, replace(record, seconds=seconds))

    def _samples(self, number: int, seconds: dict[str, float]) -> Iterator[Sample]:
        """The samples of a shard in the order of its inputs; adds up what they took."""
        batch: list[tuple[Input, ReadMedia | str]] = []
        for item, read in self._media(number, seconds):
            if isinstance(read, ReadClip):
                # Those of a clip wait for nobody: its frames are taken while they are decoded.
                yield from self._encode_batch(batch, seconds)
                yield self._encode_clip(item, read, seconds)
                batch = []
                continue
            batch.append((item, read))
            if len(batch) == self.encoder.batch_size:
                yield from self._encode_batch(batch, seconds)
                batch = []
        yield from self._encode_batch(batch, seconds)

    def _media(
        self, number: int, seconds: dict[str, float]
    ) -> Iterator[tuple[Input, ReadMedia | ReadClip | str]]:
        """The inputs of a shard, each with its media or the reason why there are none."""
        plan = self.work.plan
        inputs = [*read_inputs(self.work.storage, plan, number)]
        root, column = self.work.root, plan.inputs.column
        answers = self.readers.read(request_of(item, root, column) for item in inputs)
        for item in inputs:
            begin = time.perf_counter()
            answer = next(answers)
            seconds["wait"] += time.perf_counter() - begin
            if isinstance(answer, ReadMedia):
                for stage, spent in answer.seconds.items():
                    seconds[stage] += spent
            yield item, answer

    def _encode_batch(
        self, batch: Sequence[tuple[Input, ReadMedia | str]], seconds: dict[str, float]
    ) -> Iterator[Sample]:
        begin = time.perf_counter()
        encoded = iter(
            self.encoder.encode([read for _, read in batch if isinstance(read, ReadMedia)])
        )
        seconds["encode"] += time.perf_counter() - begin
        for item, read in batch:
            sha256 = read.sha256 if isinstance(read, ReadMedia) else ""
            answer = next(encoded) if isinstance(read, ReadMedia) else read
            yield _sample(item, answer, sha256)

    def _encode_clip(self, item: Input, clip: ReadClip, seconds: dict[str, float]) -> Sample:
        begin = time.perf_counter()
        answer = self.encoder.encode_clip(clip)
        seconds["encode"] += time.perf_counter() - begin - clip.seconds_waited
        seconds["wait"] += clip.seconds_waited
        for stage, spent in clip.seconds.items():
            seconds[stage] += spent
        return _sample(item, answer, clip.sha256)


def _sample(item: Input, answer: Tokens | str, sha256: str) -> Sample:
    """The row of an input: its tokens, or the reason why there are none."""
    source = item.path if item.row < 0 else f"{item.path}#{item.row}"
    tokens, reason = (None, answer) if isinstance(answer, str) else (answer, "")
    return Sample(item.key, tokens, source, sha256, item.label, reason)


def _added(writer: ShardWriter, sample: Sample) -> Sample:
    """Add a sample, or that it cannot be; returns which."""
    try:
        writer.add(sample)
    except ShapeError as error:  # more tokens than a row may have
        sample = replace(sample, tokens=None, error=reason_of(error))
        writer.add(sample)
    return sample


def summary_of(record: ShardRecord) -> Summary:
    """What a worker says of a shard."""
    return {
        "number": record.number,
        "num_samples": record.num_samples,
        "num_failed": len(record.failed),
        "num_tokens": record.num_tokens,
        "media_seconds": record.media_seconds or 0.0,
        "size_bytes": record.size_bytes,
        "seconds": dict(record.seconds),
        "failed": [[*failure] for failure in record.failed[:_MAX_FAILURES_TOLD]],
    }
