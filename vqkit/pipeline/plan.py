"""The plan of a job: which inputs make which shard, and an identity for all of it."""

import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from vqkit.errors import ConfigError, ModelMismatchError, VqkitError
from vqkit.files.dataset import MANIFEST_NAME
from vqkit.files.storage import Storage
from vqkit.pipeline.inputs import Input, Inputs
from vqkit.pipeline.options import EncodingOptions
from vqkit.tokenizers import TokenizerSpec

__all__ = ["PLAN_NAME", "Plan", "PlannedInputs", "make_plan", "read_inputs"]

PLAN_NAME = "plan.json"
_FORMAT_VERSION = 1
_MAX_PLAN_BYTES = 1 << 26
_PLAN_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_KEYS = {"format", "format_version", "plan_id", "tokenizer", "options", "inputs", "starts"}

_MIB = 1 << 20
_USUAL_NUM_SHARDS = 64
_SMALLEST_SHARD, _LARGEST_SHARD = 16 * _MIB, 256 * _MIB
# Opening a file and starting an encoder cost about as much as so many bytes.
_WORK_PER_ITEM = 1 << 15


@dataclass(frozen=True)
class PlannedInputs:
    """What a plan says of its inputs.

    Attributes:
        root: What relative paths are below.
        count: How many.
        size_bytes: Of those whose size is known.
        digest: SHA-256 over the table of inputs, see :meth:`Inputs.digest`.
        column: The column of a Parquet file that holds them, if they lie in one.
        has_integer_labels: Labels are numbers, not texts.
    """

    root: str
    count: int
    size_bytes: int
    digest: str
    column: str = ""
    has_integer_labels: bool = True


@dataclass(frozen=True)
class Plan:
    """A job. It lies in the output folder, beside the table of inputs.

    Attributes:
        tokenizer: What encodes.
        options: How.
        inputs: What.
        starts: Of each shard, the number of its first input.
    """

    tokenizer: TokenizerSpec
    options: EncodingOptions
    inputs: PlannedInputs
    starts: tuple[int, ...]

    @property
    def num_shards(self) -> int:
        """Shards."""
        return len(self.starts)

    @cached_property
    def plan_id(self) -> str:
        """32 hex digits that every shard carries.

        The same model, options and inputs give the same plan, wherever the inputs lie.
        """
        identity = {
            "fingerprint": self.tokenizer.fingerprint,
            "options": self.options.to_dict(),
            "inputs": [self.inputs.count, self.inputs.digest],
            "starts": self.starts,
        }
        text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    @property
    def table_name(self) -> str:
        """Name of the table of inputs; no ``.parquet``, for readers take all of these as shards."""
        return f"plan-{self.plan_id}.inputs"

    def bounds(self, number: int) -> tuple[int, int]:
        """Numbers of the first input of a shard, and of the first one after it."""
        ends = (*self.starts[number + 1 : number + 2], self.inputs.count)
        return self.starts[number], ends[0]

    def size(self, number: int) -> int:
        """Inputs of a shard."""
        start, stop = self.bounds(number)
        return stop - start

    def check_same(self, other: "Plan", where: str) -> None:
        """Refuse to mix two jobs in one folder.

        Raises:
            ModelMismatchError: The other plan has another model.
            ConfigError: It has other inputs or options.
        """
        if self.plan_id == other.plan_id:
            return
        told = f"Cannot go on in {where}: it holds the data set of another job"
        fix = "Give the new job a folder of its own."
        if self.tokenizer.fingerprint != other.tokenizer.fingerprint:
            raise ModelMismatchError(
                f"{told}: expected the model {self.tokenizer.name!r} "
                f"({self.tokenizer.fingerprint}), got {other.tokenizer.name!r} "
                f"({other.tokenizer.fingerprint}). {fix}"
            )
        if self.options != other.options:
            mine, theirs = self.options.to_dict(), other.options.to_dict()
            changed = [
                f"{name} {mine[name]!r}, got {theirs[name]!r}"
                for name in mine
                if mine[name] != theirs[name]
            ]
            raise ConfigError(f"{told}: expected {'; '.join(changed)}. Set it back. {fix}")
        raise ConfigError(
            f"{told}: expected {self.inputs.count:,} inputs as planned, got "
            f"{other.inputs.count:,}, and not all of the same name, size and version. A data set "
            "does not grow: encode what is new into a folder of its own."
        )

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        document = {
            "format": "vqkit plan",
            "format_version": _FORMAT_VERSION,
            "plan_id": self.plan_id,
            "tokenizer": self.tokenizer.to_dict(),
            "options": self.options.to_dict(),
            "inputs": vars(self.inputs),
            "starts": self.starts,
        }
        return (json.dumps(document, sort_keys=True, separators=(",", ":")) + "\n").encode()

    @staticmethod
    def from_bytes(data: bytes, where: str) -> "Plan":
        """Inverse of :meth:`to_bytes`.

        Raises:
            ConfigError: It is no plan, or a damaged one.
        """
        try:
            plan = _parsed(data)
        except (VqkitError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise ConfigError(
                f"Plan {where}: expected what vqkit wrote, got something else ({error}). Start "
                "again in a new folder."
            ) from error
        return plan

    def store(self, storage: Storage, inputs: Inputs) -> None:
        """Write plan and table of inputs, unless a plan is there; then it must be the same.

        Raises:
            ConfigError: Another plan is there, or shards without one; ModelMismatchError if its
                model differs.
        """
        # Looked for first: if there are any now, their plan is there a moment later.
        has_shards = bool(storage.names("part-")) or storage.exists(MANIFEST_NAME)
        if not storage.exists(PLAN_NAME):
            if has_shards:
                raise ConfigError(
                    f"Cannot encode into {storage.location}: expected no data set or one with its "
                    f"{PLAN_NAME}, got shards without. Choose another folder."
                )
            # The table first: a plan that is there can be worked on.
            storage.create(self.table_name, _table_bytes(inputs))
            storage.create(PLAN_NAME, self.to_bytes())
        Plan.read(storage).check_same(self, storage.location)

    @staticmethod
    def read(storage: Storage) -> "Plan":
        """The plan of a folder.

        Raises:
            ConfigError: It is damaged.
            StorageError: There is none.
        """
        return Plan.from_bytes(storage.read(PLAN_NAME), storage.describe(PLAN_NAME))


def make_plan(inputs: Inputs, tokenizer: TokenizerSpec, options: EncodingOptions) -> Plan:
    """Cut inputs into shards of about equal work.

    A pure function: the same arguments give the same plan on every machine.
    """
    sizes = inputs.sizes
    planned = PlannedInputs(
        inputs.root,
        len(inputs),
        int(sizes[sizes > 0].sum()),
        inputs.digest(),
        inputs.column,
        inputs.has_integer_labels,
    )
    return Plan(tokenizer, options, planned, _cut(sizes, options.shard_bytes))


def read_inputs(storage: Storage, plan: Plan, number: int) -> Iterator[Input]:
    """The inputs of a shard, from the table in the folder."""
    start, stop = plan.bounds(number)
    with storage.open(plan.table_name) as file:
        table = pq.ParquetFile(file, page_checksum_verification=True)
        metadata, first = table.metadata, 0
        for group in range(metadata.num_row_groups):
            last = first + metadata.row_group(group).num_rows
            if first < stop and start < last:
                rows = table.read_row_group(group)
                part = Inputs("", rows, "", plan.inputs.has_integer_labels)
                yield from part.items(max(start - first, 0), min(stop, last) - first)
            first = last


def _cut(sizes: "np.ndarray[Any, np.dtype[np.int64]]", shard_bytes: int | None) -> tuple[int, ...]:
    """Starts of runs of about equal work."""
    known = sizes[sizes >= 0]
    usual = int(known.sum()) // len(known) if len(known) else 0
    work = np.where(sizes < 0, usual, sizes) + _WORK_PER_ITEM
    total = int(work.sum())
    if shard_bytes is None:
        shard_bytes = min(max(total // _USUAL_NUM_SHARDS, _SMALLEST_SHARD), _LARGEST_SHARD)
    num_shards = min(max(1, round(total / shard_bytes)), len(sizes))
    before = np.cumsum(work) - work
    wanted = [number * total // num_shards for number in range(num_shards)]
    starts = np.unique(np.searchsorted(before, wanted))
    return tuple(int(start) for start in starts if start < len(sizes))


def _table_bytes(inputs: Inputs) -> bytes:
    target = io.BytesIO()
    pq.write_table(
        inputs.table,
        target,
        row_group_size=1 << 14,
        compression="zstd",
        write_page_checksum=True,
    )
    return target.getvalue()


def _parsed(data: bytes) -> Plan:
    if len(data) > _MAX_PLAN_BYTES:
        raise ConfigError(f"more than {_MAX_PLAN_BYTES} bytes")
    document = json.loads(data)
    if not isinstance(document, dict) or set(document) != _KEYS:
        raise ConfigError(f"expected the keys {sorted(_KEYS)}")
    if (document["format"], document["format_version"]) != ("vqkit plan", _FORMAT_VERSION):
        raise ConfigError(f"expected version {_FORMAT_VERSION}, got {document['format_version']}")
    plan = Plan(
        TokenizerSpec.from_dict(document["tokenizer"]),
        EncodingOptions.from_dict(document["options"]),
        PlannedInputs(**document["inputs"]),
        _checked_starts(document["starts"], document["inputs"]),
    )
    if plan.plan_id != document["plan_id"]:
        raise ConfigError(f"expected the plan id {plan.plan_id}, got {document['plan_id']}")
    return plan


def _checked_starts(starts: Sequence[Any], inputs: Mapping[str, Any]) -> tuple[int, ...]:
    edges = [*starts, inputs["count"]]
    if edges[:1] != [0] or any(b <= a for a, b in pairwise(edges)):
        raise ConfigError("shards are not in order")
    return tuple(starts)
