"""Writing a shard, in memory: shards are some megabytes."""

import hashlib
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from vqkit.errors import ConfigError, ShapeError
from vqkit.files.dataset.digest import digest_of
from vqkit.files.dataset.header import DatasetHeader
from vqkit.files.dataset.record import ShardRecord
from vqkit.files.dataset.rows import table_of
from vqkit.files.dataset.sample import Sample
from vqkit.files.dataset.schema import schema_of
from vqkit.files.dataset.shard import (
    MAX_GROUP_ROWS,
    MAX_GROUP_TOKENS,
    MAX_GROUPS,
    MAX_SHARDS,
    RowGroup,
    ShardHeader,
)
from vqkit.files.dataset.tally import Tally, duration_of

__all__ = ["ROWS_PER_GROUP", "ShardWriter"]

ROWS_PER_GROUP = 256
_TOKENS_PER_GROUP = 1 << 22


class ShardWriter:
    """Collects samples, then gives the bytes of the shard and its commit record.

    The rows are the samples in the order in which they came, then those that failed.

    Args:
        header: Of the data set.
        number: Which shard it is, from 0 on.
        num_shards: How many there are.
        rows_per_group: Samples that are read together; fewer where they have very many tokens.

    Raises:
        ConfigError: There is no such shard, or groups of no or too many rows.

    Example:
        >>> import torch
        >>> from vqkit.tokenizers import TokenizerSpec
        >>> from vqkit.tokenizers.tokens import Tokens, TokenStream
        >>> spec = TokenizerSpec("t", "image", 3, ("height", "width"), (8, 8), (512,), "0" * 32)
        >>> stream = TokenStream(torch.tensor([[[[3], [511]]]]), (512,), ("height", "width"))
        >>> size = {"height": 8, "width": 16}
        >>> tokens = Tokens({"tokens": stream}, (size,), "image", "t", "0" * 32)
        >>> writer = ShardWriter(DatasetHeader.of(spec, plan_id="p"), 0, 1)
        >>> writer.add(Sample("a.png", tokens, label="cat"))
        >>> writer.add(Sample("b.png", error="the file is empty"))
        >>> data, record = writer.finish()
        >>> record.name, record.num_rows, record.num_tokens, record.failed
        ('part-00000-of-00001.parquet', 2, 2, (('b.png', 'the file is empty'),))
    """

    def __init__(
        self,
        header: DatasetHeader,
        number: int,
        num_shards: int,
        rows_per_group: int = ROWS_PER_GROUP,
    ) -> None:
        if not 0 <= number < num_shards <= MAX_SHARDS:
            raise ConfigError(f"Shard: expected a number below {num_shards}, got {number}.")
        if not 1 <= rows_per_group <= MAX_GROUP_ROWS:
            raise ConfigError(
                f"Shard: expected 1 to {MAX_GROUP_ROWS} rows in a group, got {rows_per_group}."
            )
        self.header = header
        self.number = number
        self.num_shards = num_shards
        self.rows_per_group = rows_per_group
        self._keys: set[str] = set()
        self._pending: list[Sample] = []
        self._num_pending_tokens = 0
        self._failed: list[Sample] = []
        self._groups: list[RowGroup] = []
        self._tally = Tally(header)
        self._media_seconds = 0.0
        self._sink = pa.BufferOutputStream()
        self._parquet = pq.ParquetWriter(
            self._sink,
            schema_of(header),
            compression="zstd",
            compression_level=3,
            use_dictionary=True,
            # Of indices they tell nothing, and a footer is read before anything else.
            write_statistics=["key", "label", "label_text", "error"],
            write_page_checksum=True,
        )

    def add(self, sample: Sample) -> None:
        """Add a sample.

        Raises:
            ModelMismatchError: Another tokenizer made its tokens.
            ShapeError: Its streams are not the data set's, its key is there already, it has unknown
                tokens or far too many.
        """
        if sample.key in self._keys:
            raise ShapeError(f"Shard: expected every key once, got {sample.key!r} again.")
        if sample.tokens is None:
            self._keys.add(sample.key)
            self._failed.append(sample)
            return
        self.header.check(sample.tokens)
        _refuse_unknown(sample)
        num_tokens = sample.tokens.num_tokens
        if num_tokens > MAX_GROUP_TOKENS:
            raise ShapeError(
                f"Sample {sample.key!r}: expected up to {MAX_GROUP_TOKENS} tokens, got "
                f"{num_tokens}. Cut the media into pieces."
            )
        if self._num_pending_tokens + num_tokens > _TOKENS_PER_GROUP:
            self._write_group()
        self._keys.add(sample.key)
        self._pending.append(sample)
        self._num_pending_tokens += num_tokens
        if len(self._pending) == self.rows_per_group:
            self._write_group()

    def finish(self) -> tuple[bytes, ShardRecord]:
        """The content of the shard's file, and its record without timings."""
        failures = self._failed
        while self._pending or failures:
            room = self.rows_per_group - len(self._pending)
            self._write_group(failures[:room])
            failures = failures[room:]
        if len(self._groups) > MAX_GROUPS:
            raise ShapeError(
                f"Shard: expected up to {MAX_GROUPS} row groups, got {len(self._groups)}. "
                f"Cut the data set into more shards."
            )
        header = ShardHeader(self.header, self.number, self.num_shards, tuple(self._groups))
        self._parquet.add_key_value_metadata(header.to_metadata())
        self._parquet.close()
        data = self._sink.getvalue().to_pybytes()
        return data, ShardRecord(
            number=self.number,
            num_shards=self.num_shards,
            plan_id=self.header.plan_id,
            size_bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            num_tokens=sum(group.num_tokens for group in self._groups),
            row_groups=tuple(group.num_samples for group in self._groups),
            histograms=self._tally.total(),
            failed=tuple((sample.key, sample.error) for sample in self._failed),
            media_seconds=self._media_seconds if self.header.has_duration else None,
        )

    def _write_group(self, failures: Sequence[Sample] = ()) -> None:
        """Write what is pending, and failures after it."""
        samples = [*self._pending, *failures]
        if not samples:
            return
        table = table_of(samples, self.header)
        self._parquet.write_table(table, row_group_size=len(samples))
        self._tally.count(self._pending)
        self._media_seconds += duration_of(self._pending)
        self._groups.append(
            RowGroup(
                num_samples=len(self._pending),
                num_failed=len(failures),
                num_tokens=self._num_pending_tokens,
                digest=digest_of(table),
            )
        )
        self._pending, self._num_pending_tokens = [], 0


def _refuse_unknown(sample: Sample) -> None:
    assert sample.tokens is not None
    for name, stream in sample.tokens.streams.items():
        if stream.indices.numel() and int(stream.indices.min()) < 0:
            raise ShapeError(
                f"Sample {sample.key!r}: expected known tokens, got unknown ones (-1) in stream "
                f"{name!r}. Fill them with a prior before they go into a data set."
            )
