"""Damage to data sets: accidents, and content that somebody made to fit its checksums."""

import hashlib
import io
import json
import random
import re
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vqkit.files.dataset.digest import digest_of

_NUMBERS = [0, 1, 2, 127, 255, 4096, 65_535, 1 << 24, (1 << 31) - 1, 1 << 31, 1 << 40, 1 << 53]
_NUMBERS += [(1 << 53) + 1, 1 << 62, 1 << 63, 1 << 64, -1]
_WORDS = [b"-1", b"1.0", b"1e9", b"1e999", b"NaN", b"true", b"null", b'""', b"[]", b"{}"]
_WORDS += [b"[" * 50 + b"]" * 50, b'"tokens"', b"00", b" ", b",", b":", b"\xff", b'"\\ud800"']


def mutate(source: bytes, rng: random.Random) -> bytes:
    """One to three accidents anywhere, the ends as likely as the middle."""
    data = bytearray(source)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        first, last = rng.choice(
            [(0, len(data)), (0, len(data)), (0, 100), (len(data) - 3000, len(data))]
        )
        place = rng.randrange(max(0, first), max(1, min(last, len(data))) + 1)
        kind = rng.randrange(5)
        if kind == 0 and place < len(data):
            data[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[place : place + rng.randint(1, 8)] = rng.randbytes(rng.randint(1, 8))
        elif kind == 2:
            del data[place : place + rng.choice([1, 4, 40, len(data)])]
        elif kind == 3:
            data[place:place] = rng.choice([rng.randbytes(rng.randint(1, 20)), bytes(99)])
        else:
            start = rng.randrange(len(source))
            data[place : place + 50] = source[start : start + rng.randint(1, 300)]
    return bytes(data)


def edit_text(source: bytes, rng: random.Random) -> bytes:
    """A number or a word of a JSON text."""
    data = bytearray(source)
    for _ in range(rng.choice([1, 1, 2])):
        numbers = [match.span() for match in re.finditer(rb"\d+", data)]
        start = rng.randrange(len(data) + 1)
        stop = start + rng.choice([0, 1, 5])
        if numbers and rng.random() < 0.7:
            start, stop = rng.choice(numbers)
        word = str(rng.choice([*_NUMBERS, rng.randrange(70)])).encode()
        data[start:stop] = rng.choice(_WORDS) if rng.random() < 0.3 else word
    return bytes(data)


def seal(document: bytes) -> bytes:
    """Make the checksum fit what the document now says."""
    found = re.search(rb'"checksum":"([0-9a-f]{64})"', document)
    if found is None:
        return document
    start, stop = found.span(1)
    blank = document[:start] + b"0" * 64 + document[stop:]
    digest = hashlib.sha256(blank).hexdigest().encode()
    return document[:start] + digest + document[stop:]


def hostile_shard(source: bytes, rng: random.Random) -> tuple[bytes, list[dict[str, Any]]]:
    """The shard with other content, whose hashes and checksums fit; and its rows."""
    file = pq.ParquetFile(io.BytesIO(source))
    document = json.loads(file.metadata.metadata[b"vqkit"])
    groups = [file.read_row_group(i).to_pydict() for i in range(file.num_row_groups)]
    schema = file.schema_arrow.remove_metadata()
    for _ in range(rng.choice([1, 1, 2])):
        group = rng.randrange(len(groups))
        rng.choice(_EDITS)(groups[group], document["row_groups"][group], document, rng)
    tables = []
    for columns, facts in zip(groups, document["row_groups"], strict=True):
        table = _table(columns, schema)
        facts[3] = digest_of(table)
        tables.append(table)
    if rng.random() < 0.1:
        kind = rng.randrange(4)
        tables = [_other_types(table, kind) for table in tables]
    document["checksum"] = "0" * 64
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    sink = io.BytesIO()
    options: dict[str, Any] = {"compression": "zstd", "write_page_checksum": rng.random() < 0.95}
    with pq.ParquetWriter(sink, tables[0].schema, **options) as writer:
        for table in tables:
            writer.write_table(table, row_group_size=max(1, table.num_rows))
        writer.add_key_value_metadata({b"vqkit": seal(text.encode())})
    rows = [row for table in tables for row in table.to_pylist()]
    return sink.getvalue(), rows


Columns = dict[str, list[Any]]


def _edit_shape(columns: Columns, facts: list[Any], document: Any, rng: random.Random) -> None:
    row = rng.randrange(len(columns["shape"]))
    shape = list(columns["shape"][row] or [1, 1, 1])
    choices = [[], None, [*shape, 1], shape[:-1], [2**31 - 1] * 3, [-1, -1, 1], shape[::-1]]
    if shape:
        changed = list(shape)
        changed[rng.randrange(len(shape))] = rng.choice([0, 1, -1, 2**31 - 1, 7])
        choices.append(changed)
    columns["shape"][row] = rng.choice(choices)


def _edit_codes(columns: Columns, facts: list[Any], document: Any, rng: random.Random) -> None:
    row = rng.randrange(len(columns["codes"]))
    codes = list(columns["codes"][row] or [])
    if codes and rng.random() < 0.5:
        codes[rng.randrange(len(codes))] = rng.choice([0, 511, 512, 65_535, None])
    else:
        codes = rng.choice([[*codes, 1], codes[:-1], [], [3] * 50_000])
    columns["codes"][row] = rng.choice([codes, codes, codes, None])


def _edit_texts(columns: Columns, facts: list[Any], document: Any, rng: random.Random) -> None:
    name = rng.choice(["key", "error", "source_uri", "label_text"])
    row = rng.randrange(len(columns[name]))
    texts = ["", columns["key"][0], "x" * 5000, "x" * 100_000, "\x1b[2J", "ü"]
    columns[name][row] = rng.choice(texts if name == "key" else [*texts, None])


def _edit_numbers(columns: Columns, facts: list[Any], document: Any, rng: random.Random) -> None:
    name = rng.choice(["media_height", "media_width", "label"])
    row = rng.randrange(len(columns[name]))
    columns[name][row] = rng.choice([None, -1, 0, 1 << 53, (1 << 53) + 1, (1 << 63) - 1])


def _edit_facts(columns: Columns, facts: list[Any], document: Any, rng: random.Random) -> None:
    facts[rng.randrange(3)] = rng.choice([0, 1, 5, 4096, 4097, 1 << 26, 1 << 40, -1])


def _edit_header(columns: Columns, facts: list[Any], document: Any, rng: random.Random) -> None:
    stream = document["header"]["streams"]["tokens"]
    size = rng.choice([1, 2, 300, 512, 65_536, 65_537, 1 << 24, 1 << 40, 0])
    stream["codebook_sizes"] = rng.choice([[size], [size, size], []])
    if rng.random() < 0.5:
        from math import log2

        sizes = stream["codebook_sizes"]
        stream["nominal_bits_per_position"] = sum(log2(max(1, size)) for size in sizes)
    if rng.random() < 0.3:
        stream["axes"] = rng.choice([[], ["height"], ["width", "height"], ["a", "b", "c"]])


def _edit_rows(columns: Columns, facts: list[Any], document: Any, rng: random.Random) -> None:
    """A row twice, or one less."""
    row = rng.randrange(len(columns["key"]))
    for values in columns.values():
        if len(values) > 1 and facts[0] % 2:
            del values[row]
        else:
            values.insert(row, values[row])


_Edit = Callable[[Columns, list[Any], Any, random.Random], None]
_EDITS: list[_Edit] = [
    _edit_shape, _edit_codes, _edit_texts, _edit_numbers, _edit_facts, _edit_header, _edit_rows
]  # fmt: skip


def _table(columns: Columns, schema: pa.Schema) -> pa.Table:
    arrays = [pa.array(columns[field.name], field.type) for field in schema]
    return pa.table(arrays, schema=schema)


def _other_types(table: pa.Table, kind: int) -> pa.Table:
    """A column of another type or name, or one that is missing or too many."""
    if kind == 0:
        return table.set_column(1, "codes", table["codes"].cast(pa.list_(pa.int64())))
    if kind == 1:
        return table.drop_columns(["shape"])
    if kind == 2:
        return table.rename_columns([name.upper() for name in table.column_names])
    return table.append_column("more", table["key"])
