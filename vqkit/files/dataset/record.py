"""The commit record of a shard: what lies beside it once it is complete."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vqkit.errors import TokenFileError
from vqkit.files.dataset.document import Fields, dump_document, explained, parse_document, quoted
from vqkit.files.dataset.header import DatasetHeader
from vqkit.files.dataset.histogram import Histogram
from vqkit.files.dataset.shard import (
    MAX_GROUP_ROWS,
    MAX_GROUPS,
    MAX_SHARDS,
    shard_name,
)
from vqkit.files.dataset.tally import Histograms
from vqkit.files.format_error import FormatError
from vqkit.files.storage import Storage

__all__ = [
    "Failure", "ShardRecord", "dump_duration", "dump_failures", "dump_histograms",
    "parse_duration", "parse_failures", "parse_histograms", "read_document", "record_name",
]  # fmt: skip

_FORMAT, _VERSION = "vqkit shard", 1
_MAX_BYTES = 1 << 28
_MAX_STAGES = 64

Failure = tuple[str, str]
"""Key of a sample, and why it has no tokens."""


def record_name(shard: str) -> str:
    """The file name of a shard's record.

    >>> record_name("part-00042-of-01024.parquet")
    'part-00042-of-01024.json'
    """
    return f"{shard.removesuffix('.parquet')}.json"


@dataclass(frozen=True, eq=False)
class ShardRecord:
    """What is known of a shard that is complete. Its file is the only mark of completion.

    Attributes:
        number: Which shard it is, from 0 on.
        num_shards: How many there are.
        plan_id: Of the run that wrote it.
        size_bytes: Length of the Parquet file.
        sha256: Of the Parquet file, 64 hex digits.
        num_tokens: Of all streams.
        row_groups: Samples with tokens in each row group.
        histograms: Of each codebook of each stream; None where too many codes are in use.
        failed: The samples that have no tokens, which stand last in the shard.
        seconds: What each stage of the work took.
        media_seconds: Duration of the sounds or clips with tokens; None of media that have none.
    """

    number: int
    num_shards: int
    plan_id: str
    size_bytes: int
    sha256: str
    num_tokens: int
    row_groups: tuple[int, ...]
    histograms: Histograms
    failed: tuple[Failure, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    media_seconds: float | None = None

    @property
    def name(self) -> str:
        """File name of the shard."""
        return shard_name(self.number, self.num_shards)

    @property
    def num_samples(self) -> int:
        """Rows with tokens."""
        return sum(self.row_groups)

    @property
    def num_rows(self) -> int:
        """All rows."""
        return self.num_samples + len(self.failed)

    def to_bytes(self) -> bytes:
        """The content of the record's file."""
        return dump_document(
            {
                "format": _FORMAT,
                "format_version": _VERSION,
                "name": self.name,
                "number": self.number,
                "num_shards": self.num_shards,
                "plan_id": self.plan_id,
                "size_bytes": self.size_bytes,
                "sha256": self.sha256,
                "num_rows": self.num_rows,
                "num_tokens": self.num_tokens,
                "row_groups": list(self.row_groups),
                "histograms": dump_histograms(self.histograms),
                "failed": dump_failures(self.failed),
                "seconds": dict(self.seconds),
                **dump_duration(self.media_seconds),
            }
        )

    @staticmethod
    def from_bytes(data: bytes, header: DatasetHeader, name: str = "the record") -> "ShardRecord":
        """Inverse of `to_bytes`, every field checked.

        Args:
            data: Content of the file.
            header: Of the data set, which says what codebooks there are.
            name: What the file is called in messages.

        Raises:
            TokenFileError: It is no sound record.
        """
        with explained(name):
            fields = parse_document(data, "the record")
            fields.version(_FORMAT, _VERSION)
            num_shards = fields.integer("num_shards", lowest=1, highest=MAX_SHARDS)
            record = ShardRecord(
                number=fields.integer("number", highest=num_shards - 1),
                num_shards=num_shards,
                plan_id=fields.text("plan_id", 128),
                size_bytes=fields.integer("size_bytes"),
                sha256=fields.text("sha256", 64, "[0-9a-f]{64}"),
                num_tokens=fields.integer("num_tokens"),
                row_groups=fields.integers("row_groups", MAX_GROUPS, highest=MAX_GROUP_ROWS),
                histograms=parse_histograms(fields.fields("histograms"), header),
                failed=parse_failures(fields.items("failed", MAX_GROUPS * MAX_GROUP_ROWS)),
                seconds=_seconds(fields),
                media_seconds=parse_duration(fields, header),
            )
            if fields.take("name") != record.name or fields.integer("num_rows") != record.num_rows:
                raise FormatError(
                    f"expected {record.name} with {record.num_rows} rows, got another"
                )
            fields.end()
            return record

    @staticmethod
    def read(storage: Storage, shard: str, header: DatasetHeader) -> "ShardRecord":
        """The record of a shard.

        Raises:
            StorageError: There is none.
            TokenFileError: It is damaged, or another shard's.
        """
        name = record_name(shard)
        data = read_document(storage, name, _MAX_BYTES)
        record = ShardRecord.from_bytes(data, header, storage.describe(name))
        if record.name != shard:
            raise TokenFileError(
                f"Cannot read {storage.describe(name)}: expected the record of {shard}, got that "
                f"of {record.name}. Fetch the data set again."
            )
        return record


def read_document(storage: Storage, name: str, max_bytes: int) -> bytes:
    """A file whose size is looked at before it is read.

    Raises:
        StorageError: There is none.
        TokenFileError: It is too large.
    """
    size = storage.size(name)
    if size > max_bytes:
        raise TokenFileError(
            f"Cannot read {storage.describe(name)}: expected up to {max_bytes} bytes, got {size}. "
            f"Fetch the data set again."
        )
    return storage.read(name)


def dump_histograms(histograms: Histograms) -> dict[str, Any]:
    """Plain JSON types."""
    return {
        name: [None if part is None else part.to_dict() for part in parts]
        for name, parts in histograms.items()
    }


def parse_histograms(fields: Fields, header: DatasetHeader) -> dict[str, list[Histogram | None]]:
    """Inverse of `dump_histograms`.

    Raises:
        FormatError: They are not those of the header's streams and codebooks.
    """
    histograms = {}
    for name, stream in header.streams.items():
        sizes = stream.codebook_sizes
        parts = fields.items(name, len(sizes))
        if len(parts) != len(sizes):
            raise FormatError(f"expected {len(sizes)} histograms of {name!r}, got {len(parts)}")
        histograms[name] = [Histogram.parse(x, size) for x, size in zip(parts, sizes, strict=True)]
    fields.end()
    return histograms


def dump_failures(failed: Sequence[Failure]) -> list[list[str]]:
    """Plain JSON types."""
    return [[key, reason] for key, reason in failed]


def parse_failures(values: Sequence[Any]) -> tuple[Failure, ...]:
    """Inverse of `dump_failures`.

    Raises:
        FormatError: They are no pairs of texts.
    """
    for value in values:
        is_pair = type(value) is list and len(value) == 2
        if not is_pair or not all(type(text) is str and text for text in value):
            raise FormatError(f"expected keys and reasons of failures, got {quoted(value)}")
    return tuple((key, reason) for key, reason in values)


def dump_duration(media_seconds: float | None) -> dict[str, float]:
    """The field of media that last alone."""
    return {} if media_seconds is None else {"media_seconds": media_seconds}


def parse_duration(fields: Fields, header: DatasetHeader) -> float | None:
    """Inverse of `dump_duration`.

    Raises:
        FormatError: It is missing where the data set is one of sounds or clips, or no duration.
    """
    return fields.number("media_seconds") if header.has_duration else None


def _seconds(fields: Fields) -> dict[str, float]:
    inner = Fields(fields.mapping("seconds", _MAX_STAGES), "seconds")
    return {stage: inner.number(stage) for stage in inner.names()}
