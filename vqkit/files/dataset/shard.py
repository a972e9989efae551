"""What a shard says of itself in the footer, beside the header of its data set."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vqkit.files.dataset.digest import DIGEST_LENGTH
from vqkit.files.dataset.document import Fields, dump_document, parse_document, quoted
from vqkit.files.dataset.header import DatasetHeader
from vqkit.files.format_error import FormatError

__all__ = [
    "MAX_GROUPS", "MAX_GROUP_ROWS", "MAX_GROUP_TOKENS", "MAX_SHARDS", "RowGroup", "ShardHeader",
    "shard_name",
]  # fmt: skip

MAX_GROUPS = 1 << 11
"""Row groups of a shard."""
MAX_GROUP_ROWS = 1 << 12
"""Rows of a row group."""
MAX_GROUP_TOKENS = 1 << 26
"""Tokens of a row group."""
MAX_SHARDS = 1 << 20

_DOCUMENT = b"vqkit"
_MAX_DOCUMENT_BYTES = 1 << 20


def shard_name(number: int, num_shards: int) -> str:
    """The file name of a shard.

    >>> shard_name(42, 1024)
    'part-00042-of-01024.parquet'
    """
    return f"part-{number:05d}-of-{num_shards:05d}.parquet"


@dataclass(frozen=True)
class RowGroup:
    """Some rows of a shard.

    Attributes:
        num_samples: Rows with tokens.
        num_failed: Rows with an error instead, after them.
        num_tokens: Of all streams.
        digest: Hash over the rows.
    """

    num_samples: int
    num_failed: int
    num_tokens: int
    digest: str

    @property
    def num_rows(self) -> int:
        """All rows."""
        return self.num_samples + self.num_failed


@dataclass(frozen=True)
class ShardHeader:
    """What a shard says of itself.

    Attributes:
        dataset: What it shares with the other shards.
        number: Which shard it is, from 0 on.
        num_shards: How many there are.
        groups: Its row groups in order.
    """

    dataset: DatasetHeader
    number: int
    num_shards: int
    groups: tuple[RowGroup, ...]

    @property
    def name(self) -> str:
        """Its file name."""
        return shard_name(self.number, self.num_shards)

    def to_metadata(self) -> dict[bytes, bytes]:
        """The key/value metadata of the Parquet file."""
        document = dump_document(
            {
                "header": self.dataset.to_dict(),
                "number": self.number,
                "num_shards": self.num_shards,
                "row_groups": [
                    [group.num_samples, group.num_failed, group.num_tokens, group.digest]
                    for group in self.groups
                ],
            }
        )
        return {_DOCUMENT: document}

    @staticmethod
    def from_metadata(metadata: Mapping[bytes, bytes] | None) -> "ShardHeader":
        """Inverse of `to_metadata`; keys of others are left alone.

        Raises:
            FormatError: There is none, or it is damaged.
        """
        document = (metadata or {}).get(_DOCUMENT)
        if document is None:
            raise FormatError(
                "expected a shard of a token data set, got another Parquet file",
                fix="Name a folder that vqkit encode --dataset wrote.",
            )
        if len(document) > _MAX_DOCUMENT_BYTES:
            raise FormatError(f"expected a header of up to {_MAX_DOCUMENT_BYTES} bytes, got more")
        fields = parse_document(document, "the header of the shard")
        num_shards = fields.integer("num_shards", lowest=1, highest=MAX_SHARDS)
        header = ShardHeader(
            dataset=DatasetHeader.parse(fields.fields("header")),
            number=fields.integer("number", highest=num_shards - 1),
            num_shards=num_shards,
            groups=tuple(_group(x) for x in fields.items("row_groups", MAX_GROUPS)),
        )
        fields.end()
        return header


def _group(value: Any) -> RowGroup:
    if type(value) is not list or len(value) != 4:
        raise FormatError(f"expected rows, tokens and hash of a row group, got {quoted(value)}")
    samples, failed, tokens, digest = value
    fields = Fields(
        {"samples": samples, "failed": failed, "tokens": tokens, "digest": digest}, "a row group"
    )
    group = RowGroup(
        num_samples=fields.integer("samples", highest=MAX_GROUP_ROWS),
        num_failed=fields.integer("failed", highest=MAX_GROUP_ROWS),
        num_tokens=fields.integer("tokens", highest=MAX_GROUP_TOKENS),
        digest=fields.text("digest", DIGEST_LENGTH, f"[0-9a-f]{{{DIGEST_LENGTH}}}"),
    )
    if not 1 <= group.num_rows <= MAX_GROUP_ROWS:
        raise FormatError(f"expected 1 to {MAX_GROUP_ROWS} rows in a group, got {group.num_rows}")
    return group
