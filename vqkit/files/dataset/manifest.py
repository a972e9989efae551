"""The manifest of a data set: written last, read first."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vqkit.errors import ConfigError, StorageError
from vqkit.files.dataset.document import (
    Fields,
    dump_document,
    explained,
    is_close,
    parse_document,
    quoted,
)
from vqkit.files.dataset.header import DatasetHeader
from vqkit.files.dataset.record import (
    Failure,
    ShardRecord,
    dump_duration,
    dump_failures,
    dump_histograms,
    parse_duration,
    parse_failures,
    parse_histograms,
    read_document,
)
from vqkit.files.dataset.shard import MAX_GROUP_ROWS, MAX_GROUPS, MAX_SHARDS, shard_name
from vqkit.files.dataset.tally import Histograms, Tally
from vqkit.files.format_error import FormatError
from vqkit.files.storage import Storage

__all__ = ["MANIFEST_NAME", "Manifest", "ShardEntry"]

MANIFEST_NAME = "manifest.json"

_FORMAT, _VERSION = "vqkit manifest", 1
_MAX_BYTES = 1 << 28
_MAX_LISTED_FAILURES = 10_000


@dataclass(frozen=True)
class ShardEntry:
    """What the manifest says of a shard.

    Attributes:
        name: File name.
        size_bytes: Length of the file.
        sha256: Of the file.
        num_tokens: Of all streams.
        num_failed: Rows with an error instead of tokens.
        row_groups: Samples with tokens in each row group.
        media_seconds: Duration of the sounds or clips with tokens; None of media that have none.
    """

    name: str
    size_bytes: int
    sha256: str
    num_tokens: int
    num_failed: int
    row_groups: tuple[int, ...]
    media_seconds: float | None = None

    @staticmethod
    def of(record: ShardRecord) -> "ShardEntry":
        """What a commit record says."""
        return ShardEntry(
            name=record.name,
            size_bytes=record.size_bytes,
            sha256=record.sha256,
            num_tokens=record.num_tokens,
            num_failed=len(record.failed),
            row_groups=record.row_groups,
            media_seconds=record.media_seconds,
        )

    @property
    def num_samples(self) -> int:
        """Rows with tokens."""
        return sum(self.row_groups)


@dataclass(frozen=True, eq=False)
class Manifest:
    """What a data set is, once all of its shards are there.

    Attributes:
        header: What all samples share.
        num_shards: Of the plan, those in quarantine included.
        shards: The shards that there are, in order.
        histograms: Of each codebook of each stream, over all shards.
        failed: The first 10,000 samples without tokens, with the reasons.
        quarantined: Shards that could not be made, with the reasons.
    """

    header: DatasetHeader
    num_shards: int
    shards: tuple[ShardEntry, ...]
    histograms: Histograms
    failed: tuple[Failure, ...] = ()
    quarantined: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def of(
        header: DatasetHeader,
        records: Iterable[ShardRecord],
        quarantined: Mapping[str, str] | None = None,
    ) -> "Manifest":
        """Sum up the commit records of all shards, in any order.

        Args:
            header: Of the data set.
            records: One for each shard; not held in memory.
            quarantined: File names of shards that could not be made, with the reasons.

        Raises:
            ConfigError: A shard is missing, there twice, or of another plan.
        """
        quarantined = dict(quarantined or {})
        tally = Tally(header)
        entries: dict[str, ShardEntry] = {}
        failed: dict[str, tuple[Failure, ...]] = {}
        num_shards = len(quarantined)
        for record in records:
            if record.plan_id != header.plan_id or record.name in entries:
                raise ConfigError(
                    f"Manifest: expected every shard of plan {header.plan_id} once, got "
                    f"{record.name} of plan {record.plan_id}."
                )
            num_shards = record.num_shards
            entries[record.name] = ShardEntry.of(record)
            failed[record.name] = record.failed[:_MAX_LISTED_FAILURES]
            tally.add(record.histograms)
        expected = {shard_name(number, num_shards) for number in range(num_shards)}
        if entries.keys() | quarantined.keys() != expected or entries.keys() & quarantined.keys():
            wrong = expected ^ (entries.keys() | quarantined.keys())
            raise ConfigError(
                f"Manifest: expected a record of each of {num_shards} shards, got {len(entries)} "
                f"and {len(quarantined)} in quarantine; see {sorted(wrong)[:3]}."
            )
        names = sorted(entries)
        listed = [failure for name in names for failure in failed[name]]
        return Manifest(
            header=header,
            num_shards=num_shards,
            shards=tuple(entries[name] for name in names),
            histograms=tally.total(),
            failed=tuple(listed[:_MAX_LISTED_FAILURES]),
            quarantined=quarantined,
        )

    @property
    def num_samples(self) -> int:
        """Samples with tokens."""
        return sum(shard.num_samples for shard in self.shards)

    @property
    def num_failed(self) -> int:
        """Samples without tokens."""
        return sum(shard.num_failed for shard in self.shards)

    @property
    def num_tokens(self) -> int:
        """Tokens of all streams."""
        return sum(shard.num_tokens for shard in self.shards)

    @property
    def size_bytes(self) -> int:
        """Bytes of all shards."""
        return sum(shard.size_bytes for shard in self.shards)

    @property
    def media_seconds(self) -> float | None:
        """Duration of the sounds or clips with tokens; None of media that have none."""
        if not self.header.has_duration:
            return None
        return math.fsum(shard.media_seconds or 0.0 for shard in self.shards)

    @property
    def entropy_bits(self) -> dict[str, tuple[float | None, ...]]:
        """Bits of a token by its frequency, of each codebook; None where they were not counted."""
        return {
            name: tuple(None if part is None else part.entropy_bits for part in parts)
            for name, parts in self.histograms.items()
        }

    def to_bytes(self) -> bytes:
        """The content of the manifest's file."""
        return dump_document(
            {
                "format": _FORMAT,
                "format_version": _VERSION,
                "header": self.header.to_dict(),
                "num_shards": self.num_shards,
                "shards": [
                    {
                        "name": shard.name,
                        "size_bytes": shard.size_bytes,
                        "sha256": shard.sha256,
                        "num_tokens": shard.num_tokens,
                        "num_failed": shard.num_failed,
                        "row_groups": list(shard.row_groups),
                        **dump_duration(shard.media_seconds),
                    }
                    for shard in self.shards
                ],
                "totals": self._totals(),
                "measured_entropy_bits": {k: list(v) for k, v in self.entropy_bits.items()},
                "histograms": dump_histograms(self.histograms),
                "failed": dump_failures(self.failed),
                "quarantined": sorted([name, why] for name, why in self.quarantined.items()),
            }
        )

    @staticmethod
    def from_bytes(data: bytes, name: str = "the manifest") -> "Manifest":
        """Inverse of `to_bytes`, every field checked.

        Raises:
            TokenFileError: It is no sound manifest.
        """
        with explained(name):
            fields = parse_document(data, "the manifest")
            fields.version(_FORMAT, _VERSION)
            header = DatasetHeader.parse(fields.fields("header"))
            num_shards = fields.integer("num_shards", highest=MAX_SHARDS)
            manifest = Manifest(
                header=header,
                num_shards=num_shards,
                shards=tuple(
                    _entry(Fields(content, "a shard of the manifest"), header)
                    for content in fields.items("shards", num_shards)
                ),
                histograms=parse_histograms(fields.fields("histograms"), header),
                failed=parse_failures(fields.items("failed", _MAX_LISTED_FAILURES)),
                quarantined=dict(parse_failures(fields.items("quarantined", num_shards))),
            )
            manifest._check(fields)
            fields.end()
            return manifest

    @staticmethod
    def read(storage: Storage) -> "Manifest":
        """The manifest of the data set that lies there.

        Raises:
            StorageError: There is none: it is no data set, or not finished.
            TokenFileError: It is damaged.
        """
        if not storage.exists(MANIFEST_NAME):
            raise StorageError(
                f"Cannot read {storage.location}: expected a token data set with {MANIFEST_NAME}, "
                f"found none. Check the name, or finish it by giving vqkit encode --dataset again."
            )
        data = read_document(storage, MANIFEST_NAME, _MAX_BYTES)
        return Manifest.from_bytes(data, storage.describe(MANIFEST_NAME))

    def _totals(self) -> dict[str, float]:
        return {
            "num_samples": self.num_samples,
            "num_failed": self.num_failed,
            "num_tokens": self.num_tokens,
            "size_bytes": self.size_bytes,
            **dump_duration(self.media_seconds),
        }

    def _check(self, fields: Fields) -> None:
        """Compare what can be computed with what stands there."""
        names = [shard.name for shard in self.shards]
        expected = [shard_name(number, self.num_shards) for number in range(self.num_shards)]
        if sorted([*names, *self.quarantined]) != expected or names != sorted(names):
            raise FormatError(f"expected {self.num_shards} shards in order, got {quoted(names)}")
        totals = fields.take("totals")
        if totals != self._totals():
            raise FormatError(f"expected totals {self._totals()}, got {quoted(totals)}")
        entropies = fields.fields("measured_entropy_bits")
        for name, values in self.entropy_bits.items():
            written = entropies.items(name, len(values))
            if len(written) != len(values) or not all(map(_agree, written, values)):
                raise FormatError(f"expected entropies {quoted(values)} of {name!r}, got others")
        entropies.end()


def _entry(fields: Fields, header: DatasetHeader) -> ShardEntry:
    entry = ShardEntry(
        name=fields.text("name", 100),
        size_bytes=fields.integer("size_bytes"),
        sha256=fields.text("sha256", 64, "[0-9a-f]{64}"),
        num_tokens=fields.integer("num_tokens"),
        num_failed=fields.integer("num_failed"),
        row_groups=fields.integers("row_groups", MAX_GROUPS, highest=MAX_GROUP_ROWS),
        media_seconds=parse_duration(fields, header),
    )
    fields.end()
    return entry


def _agree(written: Any, computed: float | None) -> bool:
    if written is None or computed is None:
        return written is computed
    return type(written) in (int, float) and is_close(written, computed)
