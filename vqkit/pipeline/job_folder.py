"""The output folder of a job: parts, their commit records, and the manifest that ends it."""

import hashlib
import io
import json
import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

from vqkit.clips import DURATION_LAYOUT, DURATION_STREAM, TIME_BASE_SIZES
from vqkit.errors import ConfigError, StorageError, TokenFileError
from vqkit.files.dataset import (
    MANIFEST_NAME,
    DatasetHeader,
    Manifest,
    ShardReader,
    ShardRecord,
    ShardWriter,
    record_name,
    shard_name,
)
from vqkit.files.storage import Storage
from vqkit.pipeline.plan import Plan

__all__ = ["JobFolder", "Quarantine", "header_of"]

_logger = logging.getLogger(__name__)
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_RECORD_NAME = re.compile(r"part-(\d{5,})-of-(\d{5,})\.json", re.ASCII)
_WAIT_SECONDS = (0.5, 2.0)
# Object stores answer slowly, and many at once.
_NUM_THREADS = 16
_STALE_SECONDS = 3600.0


@dataclass(frozen=True)
class Quarantine:
    """A shard that was given up.

    Attributes:
        number: Of the shard.
        reason: Why.
    """

    number: int
    reason: str


class JobFolder:
    """What lies in the output folder of a job, and how it gets there.

    A shard is a *part*, the Parquet file, and its *record*. The first part that is written is the
    shard: whoever comes later with another one for the same shard takes what is there. The record
    is written after the part and is the only mark of completion; a part without one gets one if it
    is sound, else it is removed. So any number of workers may run a shard at once, and any may be
    killed at any moment: nothing is lost, and nothing is there twice.

    Args:
        storage: Where.
        plan: Of the job.
    """

    def __init__(self, storage: Storage, plan: Plan) -> None:
        self.storage = storage
        self.plan = plan
        self.header = header_of(plan)

    def new_shard(self, number: int) -> ShardWriter:
        """What collects the samples of a shard."""
        return ShardWriter(self.header, number, self.plan.num_shards)

    def remove_leftovers(self) -> None:
        """Remove what killed writers left, unless it is so new that they may be alive."""
        self.storage.remove_temporaries(_STALE_SECONDS)

    def records(self) -> Iterator[ShardRecord]:
        """The records that there are, a few at a time.

        Raises:
            ConfigError: A record is of another plan.
        """
        for record in _threaded(self._record, self._recorded_numbers()):
            if record.plan_id != self.plan.plan_id:
                raise ConfigError(
                    f"Cannot go on in {self.storage.location}: expected shards of the plan "
                    f"{self.plan.plan_id}, got {record.name} of {record.plan_id}. Give the new job "
                    "a folder of its own."
                )
            yield record

    def sound_records(self) -> Iterator[ShardRecord]:
        """The records of parts that are there in full length; the other shards are removed."""
        for record, is_whole in _threaded(lambda r: (r, self._is_whole(r)), self.records()):
            if is_whole:
                yield record
                continue
            name = self.storage.describe(record.name)
            _logger.warning("%s is missing or has lost bytes: encoding it again", name)
            # The record first: without it the shard is not done, whatever happens now.
            self.storage.remove(record_name(record.name))
            self.storage.remove(record.name)

    def settle(self, number: int) -> ShardRecord | None:
        """The record of a shard that is done, writing it if only that is missing.

        Returns:
            None if the shard is still to be encoded.
        """
        part = self._part_name(number)
        if self.storage.exists(record_name(part)):
            return self._record(number)
        if not self.storage.exists(part):
            return None
        try:
            record = self._record_of_part(number)
        except TokenFileError as error:
            _logger.warning("%s Encoding it again.", error)
            self.storage.remove(part)
            return None
        self.storage.create(record_name(part), record.to_bytes())
        return self._record(number)

    def commit(self, data: bytes, record: ShardRecord) -> ShardRecord:
        """Make a shard visible, unless another attempt at it was faster.

        Args:
            data: The part.
            record: Its record.

        Returns:
            The record of the part that is there now.

        Raises:
            StorageError: It cannot be written, on several attempts.
        """
        if _patiently(lambda: self.storage.create(record.name, data)):
            name = record_name(record.name)
            _patiently(lambda: self.storage.create(name, record.to_bytes()))
        settled = _patiently(lambda: self.settle(record.number))
        # A damaged part was in the way and is not any more.
        return self.commit(data, record) if settled is None else settled

    def quarantine(self, shard: Quarantine) -> None:
        """Note that a shard was given up."""
        note = {"plan_id": self.plan.plan_id, "reason": shard.reason}
        self.storage.write(self._note_name(shard.number), json.dumps(note).encode())

    def release(self, numbers: Iterable[int]) -> None:
        """Forget that shards were given up: they are tried again."""
        noted = set(self.storage.names("quarantine-"))
        for name in map(self._note_name, numbers):
            if name in noted:
                self.storage.remove(name)

    def finish(self) -> Manifest | None:
        """Write the manifest if every shard is done or given up.

        It follows from the records alone: whoever comes last writes it, and if several do, they
        write the same.

        Returns:
            None while shards are missing.
        """
        done = set(self._recorded_numbers())
        noted = set(self.storage.names("quarantine-"))
        missing = [number for number in range(self.plan.num_shards) if number not in done]
        if any(self._note_name(number) not in noted for number in missing):
            return None
        given_up = {self._part_name(number): self._reason(number) for number in missing}
        manifest = Manifest.of(self.header, self.records(), given_up)
        self.storage.write(MANIFEST_NAME, manifest.to_bytes())
        return manifest

    def _recorded_numbers(self) -> list[int]:
        matches = map(_RECORD_NAME.fullmatch, self.storage.names("part-"))
        found = [(int(match[1]), int(match[2])) for match in matches if match]
        return [number for number, num_shards in found if num_shards == self.plan.num_shards]

    def _record(self, number: int) -> ShardRecord:
        return ShardRecord.read(self.storage, self._part_name(number), self.header)

    def _is_whole(self, record: ShardRecord) -> bool:
        return (
            self.storage.exists(record.name) and self.storage.size(record.name) == record.size_bytes
        )

    def _record_of_part(self, number: int) -> ShardRecord:
        """What the record of a part must say, every row of it read and checked.

        Raises:
            TokenFileError: The part is damaged or another job's.
        """
        name = self._part_name(number)
        data = self.storage.read(name)
        writer = self.new_shard(number)
        with ShardReader(io.BytesIO(data), self.storage.describe(name)) as reader:
            header = reader.header
            if (header.name, header.dataset.layout()) != (name, self.header.layout()):
                raise TokenFileError(
                    f"{self.storage.describe(name)}: expected a shard of the plan "
                    f"{self.plan.plan_id}, got another."
                )
            for sample in reader:
                writer.add(sample)
        _, record = writer.finish()
        return replace(
            record,
            size_bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            row_groups=tuple(group.num_samples for group in header.groups),
        )

    def _reason(self, number: int) -> str:
        return str(json.loads(self.storage.read(self._note_name(number)))["reason"])

    def _part_name(self, number: int) -> str:
        return shard_name(number, self.plan.num_shards)

    def _note_name(self, number: int) -> str:
        return f"quarantine-{number:05d}-of-{self.plan.num_shards:05d}.json"


def header_of(plan: Plan) -> DatasetHeader:
    """What all samples of a job share."""
    options, spec = plan.options, plan.tokenizer
    if options.num_codebooks is not None:
        spec = replace(spec, codebook_sizes=spec.codebook_sizes[: options.num_codebooks])
    settings: dict[str, str | int] = {"batch_size": options.batch_size}
    if spec.modality != "audio":  # sounds have no transparent parts
        settings["alpha"] = options.alpha
    is_of_clips = spec.modality == "video"
    return DatasetHeader.of(
        spec,
        plan_id=plan.plan_id,
        precision="float32",
        device=options.device,
        preprocessing=settings,
        media=(*spec.media_sizes, *TIME_BASE_SIZES) if is_of_clips else None,
        further_streams={DURATION_STREAM: DURATION_LAYOUT} if is_of_clips else None,
    )


def _threaded(function: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
    """Results in order, computed in threads and some of them ahead."""
    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        for some in _batches(items, 4 * _NUM_THREADS):
            yield from pool.map(function, some)


def _batches(items: Iterable[_Item], size: int) -> Iterator[Sequence[_Item]]:
    batch: list[_Item] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    yield batch


def _patiently(action: Callable[[], _Result]) -> _Result:
    """Do it, again after a while if a disk or a store has a bad moment."""
    for seconds in _WAIT_SECONDS:
        try:
            return action()
        except StorageError:
            time.sleep(seconds)
    return action()
