"""Checking a whole data set: what its manifest, its records and its shards say of one another."""

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from vqkit.errors import VqkitError
from vqkit.files.dataset.document import is_close, quoted
from vqkit.files.dataset.manifest import MANIFEST_NAME, Manifest, ShardEntry
from vqkit.files.dataset.reader import ShardReader
from vqkit.files.dataset.record import ShardRecord, record_name
from vqkit.files.dataset.tally import Histograms, Tally, duration_of
from vqkit.files.limits import Limits
from vqkit.files.storage import Storage

__all__ = ["DatasetReport", "verify_dataset"]

_HASH_BYTES = 16

Result = TypeVar("Result")


@dataclass(frozen=True)
class DatasetReport:
    """What was found.

    Attributes:
        problems: What is wrong, each naming the file; empty if nothing is.
        num_shards: Shards that were looked at.
        num_samples: Their samples with tokens.
        num_failed: Their samples without.
        num_tokens: Of all streams.
    """

    problems: tuple[str, ...]
    num_shards: int
    num_samples: int
    num_failed: int
    num_tokens: int


def verify_dataset(
    storage: Storage,
    *,
    deep: bool = True,
    limits: Limits | None = None,
    progress: Callable[[], None] = lambda: None,
) -> DatasetReport:
    """Check that a data set is complete, sound and one.

    Args:
        storage: Where it lies.
        deep: Read the shards in full: hashes, checksums, every row and every token. Else look at
            the names, the sizes and the records alone.
        limits: What a shard may ask for.
        progress: Called after every shard.

    Raises:
        StorageError: There is no manifest.
        TokenFileError: The manifest is damaged, so that there is nothing to compare with.
    """
    manifest = Manifest.read(storage)
    check = _Check(storage, manifest, limits or Limits())
    check.names()
    for shard in manifest.shards:
        check.shard(shard, deep)
        progress()
    check.totals()
    return DatasetReport(
        problems=tuple(check.problems),
        num_shards=len(manifest.shards),
        num_samples=manifest.num_samples,
        num_failed=manifest.num_failed,
        num_tokens=manifest.num_tokens,
    )


@dataclass
class _Check:
    """Collects what is wrong."""

    storage: Storage
    manifest: Manifest
    limits: Limits
    problems: list[str] = field(default_factory=list)
    hashes_of_keys: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        self.tally = Tally(self.manifest.header)

    def names(self) -> None:
        """No shard and no record beside those of the manifest."""
        shards = [shard.name for shard in self.manifest.shards]
        expected = {*shards, *map(record_name, shards)}
        for name in self.storage.names("part-"):
            if name not in expected:
                self.problems.append(f"{name}: expected a file of the manifest, got another")
        for name, reason in self.manifest.quarantined.items():
            self.problems.append(f"{name}: expected a shard, got it in quarantine: {reason}")

    def shard(self, entry: ShardEntry, deep: bool) -> None:
        """A shard and its record against the manifest."""
        record = self._attempt(
            record_name(entry.name),
            lambda: ShardRecord.read(self.storage, entry.name, self.manifest.header),
        )
        if record is not None:
            self.tally.add(record.histograms)
            self._compare(record_name(entry.name), "an entry", entry, ShardEntry.of(record))
            self._compare(
                record_name(entry.name), "plan", self.manifest.header.plan_id, record.plan_id
            )
        if not deep:
            size = self._attempt(entry.name, lambda: self.storage.size(entry.name))
            if size is not None:
                self._compare(entry.name, "bytes", entry.size_bytes, size)
            return
        data = self._attempt(entry.name, lambda: self.storage.read(entry.name))
        if data is not None:
            self._compare(entry.name, "bytes", entry.size_bytes, len(data))
            self._compare(entry.name, "SHA-256", entry.sha256, hashlib.sha256(data).hexdigest())
            self._attempt(entry.name, lambda: self._rows(entry, record, data))

    def totals(self) -> None:
        """The manifest's histograms against those of the records, and every key once."""
        num_keys = len(self.hashes_of_keys) // _HASH_BYTES
        different = np.unique(np.frombuffer(self.hashes_of_keys, f"V{_HASH_BYTES}"))
        if len(different) < num_keys:
            self.problems.append(
                f"{MANIFEST_NAME}: expected every key in one shard, got "
                f"{num_keys - len(different)} in several"
            )
        if not self.problems and not _same(self.tally.total(), self.manifest.histograms):
            self.problems.append(
                f"{MANIFEST_NAME}: expected the histograms of all records together, got others"
            )

    def _rows(self, entry: ShardEntry, record: ShardRecord | None, data: bytes) -> None:
        """What the rows of a shard amount to against its record."""
        header = self.manifest.header
        tally, failed, num_tokens, media_seconds = Tally(header), [], 0, 0.0
        with ShardReader(
            io.BytesIO(data), self.storage.describe(entry.name), self.limits
        ) as reader:
            found = reader.header
            self._compare(entry.name, "name", entry.name, found.name)
            self._compare(entry.name, "header", header.layout(), found.dataset.layout())
            groups = tuple(group.num_samples for group in found.groups)
            self._compare(entry.name, "samples in row groups", entry.row_groups, groups)
            for group in range(len(found.groups)):
                samples = reader.samples(group)
                tally.count(samples)
                media_seconds += duration_of(samples)
                for sample in samples:
                    self.hashes_of_keys += _hash(sample.key)
                    if sample.tokens is None:
                        failed.append((sample.key, sample.error))
                    else:
                        num_tokens += sample.tokens.num_tokens
        self._compare(entry.name, "tokens", entry.num_tokens, num_tokens)
        if record is not None:
            self._compare(entry.name, "failures", record.failed, tuple(failed))
            if not is_close(record.media_seconds or 0.0, media_seconds):
                self._compare(entry.name, "seconds of media", record.media_seconds, media_seconds)
            if not _same(tally.total(), record.histograms):
                self.problems.append(f"{entry.name}: expected the record's histograms, got others")

    def _attempt(self, name: str, action: Callable[[], Result]) -> Result | None:
        try:
            return action()
        except VqkitError as error:
            self.problems.append(f"{name}: {error}")
            return None

    def _compare(self, name: str, what: str, expected: object, got: object) -> None:
        if got != expected:
            self.problems.append(f"{name}: expected {what} {quoted(expected)}, got {quoted(got)}")


def _hash(key: str) -> bytes:
    return hashlib.blake2b(key.encode(), digest_size=_HASH_BYTES).digest()


def _same(some: Histograms, others: Histograms) -> bool:
    return all(
        (one is None and other is None) or (one is not None and one.same_as(other))
        for name, parts in some.items()
        for one, other in zip(parts, others[name], strict=True)
    )
