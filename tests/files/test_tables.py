"""Modes 1, 6 and 7: tables in the model's folder and in the file."""

import io
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from tests.files.coded_samples import RESOURCES, TABLES, counted, counts_by_digest, skewed
from tests.files.crafted import HEADER, PAYLOAD, SYMBOLS, chunk, crc, fields, foot, head
from tests.files.samples import photo
from tests.files.specification import read_vqt
from tests.files.test_header import refuses
from vqkit.errors import ConfigError, TokenFileError
from vqkit.files import (
    CodeCounts,
    CodingResources,
    Limits,
    TableSet,
    dumps,
    loads,
    read_info,
    verify,
)
from vqkit.files.tables import TABLES_FILE
from vqkit.tokenizers.tokens import Tokens, TokenStream


@pytest.mark.parametrize("seed", range(3))
def test_tables_of_other_pictures_make_files_smaller(seed: int) -> None:
    data, plain = dumps(skewed(seed), resources=RESOURCES), dumps(skewed(seed))
    assert read_info(data).streams[0].modes == (1,)
    assert read_info(data).payload_bytes < 0.98 * read_info(plain).payload_bytes
    assert loads(data, resources=RESOURCES).same_as(skewed(seed))
    assert verify(data, resources=RESOURCES).token_hash == read_info(plain).token_hash
    assert data[read_info(data).header_bytes + 6 :][:4] == TABLES.streams["tokens"].digest
    _, symbols = read_vqt(data, counts_by_digest(TABLES))
    assert symbols["tokens"] == skewed(seed).indices.flatten().tolist()


def test_tables_with_neighbours() -> None:
    tokens = skewed(0)
    smooth = tokens.indices.repeat_interleave(4, dim=1).repeat_interleave(3, dim=2)
    stream = TokenStream(smooth, (400, 100), ("height", "width"))
    tokens = Tokens({"tokens": stream}, tokens.media, "image", "", "0" * 32)
    data = dumps(tokens, resources=RESOURCES)
    assert read_info(data).streams[0].modes == (7,)
    assert len(data) < len(dumps(tokens))
    assert loads(data, resources=RESOURCES).same_as(tokens)
    _, symbols = read_vqt(data, counts_by_digest(TABLES))
    assert symbols["tokens"] == smooth.flatten().tolist()


def test_the_first_levels_use_the_first_tables() -> None:
    tokens = skewed(0)
    first = TokenStream(tokens.indices[..., :1].contiguous(), (400,), ("height", "width"))
    tokens = Tokens({"tokens": first}, tokens.media, "image", "", "0" * 32)
    data = dumps(tokens, resources=RESOURCES)
    assert read_info(data).streams[0].modes == (1,)
    assert loads(data, resources=RESOURCES).same_as(tokens)


def test_tables_that_do_not_help_are_not_used() -> None:
    tokens = photo()
    histogram = CodeCounts(512, np.array([7]), np.array([100_000]))
    resources = CodingResources(tables=TableSet.from_counts({"tokens": [histogram]}))
    assert dumps(tokens, resources=resources) == dumps(tokens)
    other = CodingResources(tables=TableSet({"gain": TABLES.streams["tokens"]}))
    assert dumps(skewed(0), resources=other) == dumps(skewed(0))


def test_missing_tables_are_named_with_the_way_to_give_them() -> None:
    data = dumps(skewed(0), resources=RESOURCES)
    digest, other = TABLES.streams["tokens"].digest.hex(), counted(3)
    for resources, got in [
        (None, "got none"),
        (CodingResources(tables=other), f"got {other.streams['tokens'].digest.hex()}"),
    ]:
        with pytest.raises(
            TokenFileError, match=f"expected the tables with digest {digest}, {got}.*with -m"
        ):
            loads(data, resources=resources)


def test_tables_of_other_codebooks_are_refused() -> None:
    """A digest is four bytes: what goes by it is still checked."""
    data = bytearray(dumps(skewed(0), resources=RESOURCES))
    crafted = bytes(data).replace(b"[400,100]", b"[400,101]")
    prelude = crafted[8 : read_info(bytes(data)).header_bytes - 4]
    crafted = crafted[:8] + prelude + crc(prelude) + crafted[8 + len(prelude) + 4 :]
    with pytest.raises(TokenFileError, match=r"expected tables of codebooks \[400, 101\]"):
        loads(crafted, resources=RESOURCES)


def test_a_file_of_many_chunks_holds_its_own_tables() -> None:
    tokens = skewed(0, (200, 30))
    data, single = dumps(tokens, chunk_rows=4), dumps(tokens)
    info = read_info(data).streams[0]
    assert info.modes == (1,)
    assert (info.num_chunks, info.table_bytes > 100) == (50, True)
    plain = sum(len(dumps(tokens_of_rows(tokens, start, 4))) for start in range(0, 200, 4))
    assert info.payload_bytes + info.table_bytes < 0.9 * plain
    assert read_info(single).streams[0].table_bytes == 0
    assert loads(data).same_as(tokens)
    _, symbols = read_vqt(data)
    assert symbols["tokens"] == tokens.indices.flatten().tolist()
    # The model's tables may be better still, and take no room in the file.
    helped = dumps(tokens, chunk_rows=4, resources=RESOURCES)
    assert read_info(helped).streams[0].table_bytes == 0
    assert len(helped) < len(data)


def tokens_of_rows(tokens: Tokens, start: int, rows: int) -> Tokens:
    stream = tokens.streams["tokens"]
    part = TokenStream(
        stream.indices[:, start : start + rows].contiguous(), stream.codebook_sizes, stream.axes
    )
    return Tokens({"tokens": part}, tokens.media, "image", "", "0" * 32)


def test_table_chunks_are_checked() -> None:
    blob = TABLES_OF_FOUR.to_bytes()
    table, symbols = chunk(0, blob, mode=6), chunk(6, PAYLOAD)
    index = [fields(0, len(blob), mode=6), fields(6, 2)]
    sound = head(HEADER) + table + symbols + foot(index, SYMBOLS)
    assert loads(sound).indices.flatten().tolist() == SYMBOLS
    for chunks, fits, message in [
        (table + table + symbols, [index[0], *index], "at most once"),
        (chunk(3, blob, mode=6) + symbols, [fields(3, len(blob), mode=6), index[1]], "without sym"),
        (
            chunk(0, bytes(4000), mode=6) + symbols,
            [fields(0, 4000, mode=6), index[1]],
            "at most 96 bytes of payload",
        ),
    ]:
        refuses(head(HEADER) + chunks + foot(fits, SYMBOLS), message)
    damaged = head(HEADER) + chunk(0, blob[:-1], mode=6) + symbols
    with pytest.raises(TokenFileError, match="words of 4 bytes"):
        loads(damaged + foot([fields(0, len(blob) - 1, mode=6), index[1]], SYMBOLS))


TABLES_OF_FOUR = TableSet.from_counts(
    {"tokens": [CodeCounts(4, np.array([1, 3]), np.array([9, 2]))]}
).streams["tokens"]


def test_the_tables_of_all_streams_together_are_bounded() -> None:
    """Each takes its time to decode, however few bytes it has."""
    streams = b",".join(b'"s%02d":[["time"],[1],[262144]]' % number for number in range(10))
    text = HEADER.replace(b'"tokens":[["height","width"],[2,3],[4]]', streams)
    data = head(text) + b"".join(chunk(0, bytes(8), stream=i, mode=6) for i in range(10))
    with pytest.raises(TokenFileError, match="up to 2097152 counts in all"):
        read_info(io.BytesIO(data))


def test_a_table_chunk_counts_as_a_chunk() -> None:
    data = dumps(skewed(0, (200, 30)), chunk_rows=4)
    loads(data, limits=Limits(num_chunks=51))
    with pytest.raises(TokenFileError, match="at most 50 chunks"):
        loads(data, limits=Limits(num_chunks=50))


def test_tables_are_kept_in_the_models_folder(tmp_path: Path) -> None:
    assert TableSet.load(tmp_path) is None
    assert CodingResources.of_model(tmp_path) == CodingResources()
    path = TABLES.save(tmp_path)
    assert path == tmp_path / TABLES_FILE
    read = CodingResources.of_model(tmp_path).tables
    assert read is not None
    assert read.digests == TABLES.digests
    with pytest.raises(TokenFileError, match="the file exists"):
        TABLES.save(tmp_path)
    counted(3).save(tmp_path, overwrite=True)
    assert TableSet.load(tmp_path).digests == counted(3).digests


SIZES = json.dumps({"tokens": [4]})
GOOD = {"format": "vqkit tables", "version": "1", "codebook_sizes": SIZES}
COUNTS = {"tokens.0": np.array([1, 2, 3, 4], np.int32)}


@pytest.mark.parametrize(
    ("counts", "metadata"),
    [
        (COUNTS, {}),
        (COUNTS, {**GOOD, "format": "other"}),
        (COUNTS, {**GOOD, "version": "2"}),
        (COUNTS, {**GOOD, "codebook_sizes": "{"}),
        (COUNTS, {**GOOD, "codebook_sizes": "[" * 5000}),
        (COUNTS, {**GOOD, "codebook_sizes": '{"tokens": [5]}'}),
        (COUNTS, {**GOOD, "codebook_sizes": '{"tokens": [4, 4]}'}),
        (COUNTS, {**GOOD, "codebook_sizes": '{"tokens": []}'}),
        (COUNTS, {**GOOD, "codebook_sizes": '{"tokens": [true]}'}),
        (COUNTS, {**GOOD, "codebook_sizes": '{"tokens": 4}'}),
        (COUNTS, {**GOOD, "codebook_sizes": '{"other": [4]}'}),
        (COUNTS, {**GOOD, "codebook_sizes": "[4]"}),
        (COUNTS, {**GOOD, "codebook_sizes": json.dumps({"tokens": [1 << 62] * 100_000})}),
        ({"tokens.0": np.array([1, 2, 3, 4], np.int64)}, GOOD),
        ({"tokens.0": np.array([1, -2, 3, 4], np.int32)}, GOOD),
        ({"tokens.0": np.array([1, 2, 3, 9], np.int32)}, GOOD),
        ({"tokens.0": np.array([[1, 2, 3, 4]], np.int32)}, GOOD),
        ({**COUNTS, "tokens.1": COUNTS["tokens.0"]}, GOOD),
    ],
)
def test_damaged_table_files_are_refused(
    tmp_path: Path, counts: dict, metadata: dict, unchecked_shapes: None
) -> None:
    (tmp_path / TABLES_FILE).write_bytes(save(counts, metadata=metadata))
    with pytest.raises(ConfigError, match=r"tables.safetensors: the file is damaged.*vqkit tables"):
        TableSet.load(tmp_path)


def test_the_smallest_sound_table_file_is_read(tmp_path: Path) -> None:
    (tmp_path / TABLES_FILE).write_bytes(save(COUNTS, metadata=GOOD))
    assert TableSet.load(tmp_path).streams["tokens"].codebook_sizes == (4,)


@pytest.mark.parametrize("data", [b"", b"\0" * 8, b"\xff" * 100, struct.pack("<Q", 4) + b"null"])
def test_what_is_no_safetensors_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / TABLES_FILE).write_bytes(data)
    with pytest.raises(ConfigError, match="damaged"):
        TableSet.load(tmp_path)


def test_files_of_tables_are_bounded(tmp_path: Path) -> None:
    with (tmp_path / TABLES_FILE).open("wb") as file:
        file.truncate((64 << 20) + 1)
    with pytest.raises(ConfigError, match="expected up to 67108864 bytes"):
        TableSet.load(tmp_path)


def test_codebooks_too_large_together_get_no_tables() -> None:
    empty = CodeCounts(1 << 40, np.array([], np.int64), np.array([], np.int64))
    with pytest.raises(ConfigError, match=r"up to 2\^21 codes together"):
        TableSet.from_counts({"tokens": [empty] * 9})
