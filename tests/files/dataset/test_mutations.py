"""Damaged data sets give the right data or a `TokenFileError`, soon and in little memory."""

import functools
import io
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.files.dataset.mutations import edit_text, hostile_shard, mutate, seal
from tests.files.dataset.samples import (
    PHOTOS,
    SPEECH,
    in_order,
    random_samples,
    same,
    write_dataset,
    write_shard,
)
from vqkit.errors import TokenFileError
from vqkit.files.dataset import Manifest, Sample, ShardReader, ShardRecord, pages, reader
from vqkit.files.dataset.export import EXPORT_FORMATS, Export, export_dataset, read_export
from vqkit.files.storage import Storage

MAX_SECONDS = 1.0
MAX_BYTES = 192 << 20


def outcome(read: Callable[[], Any]) -> tuple[Any, str]:
    """What was read, or the message of the only error that is allowed."""
    start = time.process_time()
    result, message = None, ""
    try:
        result = read()
    except TokenFileError as error:
        message = str(error)
    assert time.process_time() - start < MAX_SECONDS
    assert (result is None) == message.startswith("Cannot read "), message
    return result, message


def read_shard(data: bytes) -> list[Sample]:
    with ShardReader(io.BytesIO(data), "the shard") as shard:
        return list(shard)


class Anything(int):
    """A checksum that fits."""

    def __ne__(self, other: object) -> bool:
        return False

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = int.__hash__


@contextmanager
def without_checksums() -> Iterator[None]:
    """As if every page had been given a checksum that fits: the hash of the rows is left."""
    file, crc32 = reader.pq.ParquetFile, pages.zlib.crc32

    def unchecked(*words: Any, **settings: Any) -> Any:
        return file(*words, **{**settings, "page_checksum_verification": False})

    reader.pq.ParquetFile = unchecked
    pages.zlib.crc32 = lambda data: Anything()
    try:
        yield
    finally:
        reader.pq.ParquetFile, pages.zlib.crc32 = file, crc32


@functools.cache
def shards() -> list[tuple[bytes, list[Sample]]]:
    samples = [
        random_samples(PHOTOS, 14, tokens=(3, 4)),
        random_samples(PHOTOS, 9),
        random_samples(SPEECH, 6),
    ]
    headers = [PHOTOS, PHOTOS, SPEECH]
    return [
        (write_shard(header, some, rows_per_group=5)[0], in_order(some))
        for header, some in zip(headers, samples, strict=True)
    ]


def damaged_shard(rng: random.Random) -> str:
    data, samples = rng.choice(shards())
    if rng.random() < 0.5:
        footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
        mutant = mutate(data[:footer], rng) + data[footer:]
        with without_checksums():
            read, message = outcome(lambda: read_shard(mutant))
        kind = "unchecked"
    else:
        mutant = mutate(data, rng)
        read, message = outcome(lambda: read_shard(mutant))
        kind = "plain"
    if read is not None:
        assert all(map(same, read, samples))
        assert len(read) == len(samples)
    return f"{kind} shard {'read' if read is not None else fate(message)}"


def fate(message: str) -> str:
    return "checksum" if "CRC-32" in message or "of hash" in message else "parser"


def made_up_shard(rng: random.Random) -> str:
    """Hostile content whose checksums fit: what is read is what stands there."""
    data, rows = hostile_shard(shards()[rng.randrange(2)][0], rng)
    read, message = outcome(lambda: read_shard(data))
    if read is None:
        return f"made-up shard {fate(message)}"
    assert [sample.key for sample in read] == [row["key"] for row in rows]
    for sample, row in zip(read, rows, strict=True):
        if sample.tokens is None:
            assert sample.error == row["error"]
            continue
        codes = np.array(row["codes"], np.int64).reshape(row["shape"])
        assert np.array_equal(sample.tokens.indices[0].numpy(), codes)
    return "made-up shard read"


@functools.cache
def documents() -> list[tuple[bytes, Callable[[bytes], bytes]]]:
    """Documents and what makes them again of what was read."""
    record = write_shard(PHOTOS, random_samples(PHOTOS, 14))[1]
    manifest = Manifest.of(PHOTOS, [record])
    storage = Storage.at("memory://mutations")
    write_dataset(storage, PHOTOS)
    with tempfile.TemporaryDirectory() as folder:
        export = export_dataset(storage, Path(folder) / "e", "memmap", order="delay")

    def again(data: bytes) -> bytes:
        from vqkit.files.dataset.document import explained

        with explained("the sidecar"):
            return Export.from_bytes(data).to_bytes()

    return [
        (record.to_bytes(), lambda data: ShardRecord.from_bytes(data, PHOTOS).to_bytes()),
        (manifest.to_bytes(), lambda data: Manifest.from_bytes(data).to_bytes()),
        (export.to_bytes(), again),
    ]


def damaged_document(rng: random.Random) -> str:
    data, again = rng.choice(documents())
    mutant = rng.choice([mutate, edit_text, edit_text])(data, rng)
    kind = "plain"
    if rng.random() < 0.6:
        mutant, kind = seal(mutant), "sealed"
    read, _ = outcome(lambda: again(mutant))
    if read is None:
        return f"{kind} document refused"
    if kind == "plain":
        assert read == data
    assert again(read) == read
    return f"{kind} document read"


@functools.cache
def exports() -> tuple[Path, list[Sample]]:
    storage = Storage.at("memory://mutations")
    samples = [s for s in write_dataset(storage, PHOTOS, tokens=(2, 2)) if s.tokens is not None]
    folder = Path(tempfile.mkdtemp(prefix="vqkit-mutations-"))
    for format in EXPORT_FORMATS:
        export_dataset(storage, folder / format, format, separator="end", order="delay")
    return folder, samples


def damaged_export(rng: random.Random) -> str:
    """A file of an export, with the hashes left unchecked half of the time."""
    folder, samples = exports()
    target = folder / rng.choice([*EXPORT_FORMATS])
    path = rng.choice(sorted(target.iterdir()))
    data = path.read_bytes()
    check = rng.random() < 0.5
    text = path.suffix in (".json", ".jsonl")
    try:
        path.write_bytes((edit_text if text and rng.random() < 0.5 else mutate)(data, rng))
        read, _ = outcome(lambda: list(read_export(target, check=check)))
    finally:
        path.write_bytes(data)
    kind = "checked" if check else "unchecked"
    if read is None:
        return f"{kind} export refused"
    assert len(read) == len(samples)
    if check:
        assert all(map(same, read, samples))
    return f"{kind} export read"


KINDS = [damaged_shard, damaged_shard, made_up_shard, damaged_document, damaged_export]


def run_mutants(seed: int, num_mutants: int) -> Counter[str]:
    """Read mutants of all kinds in turn; returns what became of them."""
    rng = random.Random(seed)
    fates: Counter[str] = Counter()
    for number in range(num_mutants):
        state = rng.getstate()
        try:
            fates[KINDS[number % len(KINDS)](rng)] += 1
        except BaseException:
            print("mutant", seed, number, hash(state), file=sys.stderr)
            raise
    return fates


def test_hostile_promises_cost_nothing() -> None:
    """Row counts, lengths and sizes of a page that are not there."""
    data, _ = shards()[0]
    footer = int.from_bytes(data[-8:-4], "little")
    for wrong in (
        b"", b"PAR1", data[:-9] + data[-8:], data[:-8] + (1 << 31).to_bytes(4, "little") + b"PAR1",
        data[:-8] + (footer - 1).to_bytes(4, "little") + b"PAR1", b"x" * len(data),
    ):  # fmt: skip
        read, message = outcome(lambda wrong=wrong: read_shard(wrong))
        assert read is None
        assert message


def test_texts_of_a_dictionary_do_not_multiply() -> None:
    """A long text that is stored once must not stand in memory for every row."""
    file = pq.ParquetFile(io.BytesIO(shards()[0][0]))
    table = file.read()
    longest = "x" * 1_000_000
    position = table.column_names.index("source_uri")
    table = table.set_column(position, table.schema.field(position), [[longest] * len(table)])
    sink = io.BytesIO()
    with pq.ParquetWriter(
        sink, table.schema, compression="zstd", write_page_checksum=True
    ) as writer:
        for start in (0, 5, 10):
            writer.write_table(table.slice(start, 5 if start < 10 else 4))
        writer.add_key_value_metadata({b"vqkit": file.metadata.metadata[b"vqkit"]})
    read, message = outcome(lambda: read_shard(sink.getvalue()))
    assert read is None
    assert (
        "expected texts of up to 16384 bytes in column 'source_uri'" in message
        or "pages" in message
    )


@pytest.mark.parametrize(
    "mutants", [100, pytest.param(20_000, marks=pytest.mark.slow)], ids=["100", "20000"]
)
def test_mutants_in_a_process_with_little_memory(mutants: int) -> None:
    """The kernel sees what no hook of Python does; and a crash would not go unnoticed."""
    program = f"""
import os, resource, sys
os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"  # which asks the kernel for what it needs
from pathlib import Path

from tests.files.dataset.test_mutations import run_mutants

run_mutants(seed=100, num_mutants=20)  # so that everything is loaded
if sys.platform == "linux":
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + {MAX_BYTES},) * 2)
fates = run_mutants(seed={mutants}, num_mutants={mutants})
# They reach what they are meant for.
for name in ("plain shard checksum", "plain shard parser", "unchecked shard checksum",
             "made-up shard parser", "made-up shard read", "sealed document refused",
             "sealed document read", "unchecked export refused"):
    assert fates[name] >= {mutants} / 1000, (name, fates)
print("done")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=290
    )
    assert (done.stdout, done.stderr) == ("done\n", "")
