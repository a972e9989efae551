"""Chunks and footers that lie, in files whose checksums are right."""

import io
import struct

import numpy as np
import pytest

from tests.files.crafted import (
    HEADER,
    MAGIC,
    PAYLOAD,
    SOUND,
    SYMBOLS,
    chunk,
    crc,
    fields,
    foot,
    head,
    varint,
)
from tests.files.samples import SAMPLES, speech
from tests.files.test_header import refuses
from vqkit.coding import StreamTables
from vqkit.errors import TokenFileError
from vqkit.files import CodingResources, Limits, container, dumps, loads, read_info, verify
from vqkit.files.modes import TABLES, decode_chunk
from vqkit.files.reader import Reader

END = foot([fields(6, 2)], SYMBOLS)


def test_every_strict_prefix_is_refused() -> None:
    for size in range(len(SOUND)):
        for read in (loads, read_info, verify):
            with pytest.raises(TokenFileError):
                read(SOUND[:size])


def test_every_flipped_bit_is_seen() -> None:
    for bit in range(8 * len(SOUND)):
        damaged = bytearray(SOUND)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(TokenFileError):
            loads(damaged)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (b"", "expected 8 more bytes, got the end of the file"),
        (b"\x89PNG\r\n\x1a\n", "expected a token file"),
        (b"RIFF\0\0\0\0", "expected a token file.*Give a .vqt file"),
        (MAGIC.replace(b"\r\n", b"\n"), "text or 7-bit transfer"),
        (MAGIC.replace(b"\n", b"\r\n"), "text or 7-bit transfer"),
        (MAGIC.replace(b"\x89", b"\x09"), "text or 7-bit transfer"),
    ],
)
def test_magic(start: bytes, message: str) -> None:
    refuses(start + SOUND[8:] if start else b"", message)


def test_a_later_version_is_named() -> None:
    refuses(head(version=2), r"format version 1, got 2.*made by a newer vqkit: update")


def test_unknown_flags_are_refused() -> None:
    refuses(head(flags=1) + chunk(6, PAYLOAD) + END, r"flags.*got 0x1.*made by a newer vqkit")


@pytest.mark.parametrize("mode", [99, 127])
def test_unknown_modes_are_refused(mode: int) -> None:
    data = head() + chunk(6, PAYLOAD, mode=mode) + foot([fields(6, 2, mode=mode)], SYMBOLS)
    refuses(data, rf"coding mode of .*, got {mode}.*made by a newer vqkit: update")


@pytest.mark.parametrize(
    ("chunks", "index", "message"),
    [
        ([], [], "expected 6 symbols in stream 'tokens', got 0"),
        ([(3, b"\x1b", {})], None, "expected 6 symbols in stream 'tokens', got 3"),
        ([(6, PAYLOAD, {}), (3, b"\x1b", {})], None, "of the 0 symbols"),
        ([(2, b"\x0b", {}), (4, b"\x1b", {})], None, "whole rows of 3"),
        ([(0, b"", {})], None, "whole rows of 3"),
        ([(9, b"\0\0\0", {})], None, "whole rows of 3 of the 6 symbols"),
        ([(1 << 27, b"", {})], None, "whole rows of 3 of the 6 symbols"),
        ([(6, PAYLOAD, {"stream": 1})], None, "a stream of 1, got number 1"),
        ([(6, PAYLOAD, {"stream": 1 << 40})], None, "a stream of 1, got number"),
        ([(6, PAYLOAD + b"\0", {})], None, "at most 2 bytes of payload, got 3"),
    ],
)
def test_chunks(chunks: list, index: list | None, message: str) -> None:
    body = b"".join(chunk(count, payload, **rest) for count, payload, rest in chunks)
    if index is None:
        index = [fields(count, len(payload), **rest) for count, payload, rest in chunks]
    refuses(head() + body + foot(index, SYMBOLS), message)


@pytest.mark.parametrize(
    ("payload", "symbols", "message"),
    [
        (PAYLOAD[:1], SYMBOLS, "expected 2 bytes of packed tokens, got 1"),
        (b"", SYMBOLS, "expected 2 bytes of packed tokens, got 0"),
        (
            bytes([PAYLOAD[0], PAYLOAD[1] | 0x10]),
            SYMBOLS,
            "zeros in the unused bits after codebook 0",
        ),
        (PAYLOAD, [3, 2, 1, 0, 1, 3], "expected tokens of hash"),
    ],
)
def test_payloads(payload: bytes, symbols: list[int], message: str) -> None:
    data = head() + chunk(6, payload) + foot([fields(6, len(payload))], symbols)
    for read in (loads, verify):
        with pytest.raises(TokenFileError, match=message):
            read(data)


FOOTERS = [
    (foot([fields(6, 2)], SYMBOLS, num_chunks=0), "1 chunks in the index, got 0|CRC-32"),
    (foot([fields(6, 2)], SYMBOLS, num_chunks=2), "1 chunks in the index, got 2|stream"),
    (foot([fields(6, 2)], SYMBOLS, num_chunks=1 << 60), "1 chunks in the ind|at most 65536 ch"),
    (foot([fields(6, 1)], SYMBOLS), "index of the chunks that were read|footer after 9 bytes"),
    (foot([fields(6, 2, mode=99)], SYMBOLS), "index of the chunks|coding mode"),
    (foot([fields(6, 2)] * 2, SYMBOLS), "1 chunks in the index, got 2|of the 0 symbols"),
    (foot([], SYMBOLS), "1 chunks in the index, got 0|expected 6 symbols"),
    (END + b"\0", "end of the file, got more|footer"),
    (END + END, "end of the file, got more|footer after"),
    (END[:-4] + struct.pack("<I", 33), "footer of 2[0-9] bytes, got 33|end of the chunks"),
    (END[:-4] + struct.pack("<I", 0), "footer of 2[0-9] bytes, got 0|end of the file"),
    (END[:-4] + b"\xff" * 4, "footer of 2[0-9] bytes, got 4294967295|within the file"),
]


@pytest.mark.parametrize(("footer", "message"), FOOTERS, ids=[message for _, message in FOOTERS])
def test_footers(footer: bytes, message: str) -> None:
    refuses(head() + chunk(6, PAYLOAD) + footer, message)


@pytest.mark.parametrize(
    ("mark", "message"),
    [
        (b"\x81\0", "shortest varint"),
        (b"\x80\0", "shortest varint"),
        (b"\x81" * 10, "up to 9 bytes"),
        (b"\xff" * 8 + b"\x7f", "a stream of 1"),
    ],
)
def test_varints_have_one_spelling(mark: bytes, message: str) -> None:
    data = mark + bytes([0]) + varint(6) + varint(2) + PAYLOAD
    with pytest.raises(TokenFileError, match=message):
        loads(head() + data + crc(data) + END)


def test_counts_of_chunks_are_limited() -> None:
    text = HEADER.replace(b"[2,3],[4]", b"[101,1],[2]")
    many = head(text) + chunk(1, b"\0") * 101 + foot([fields(1, 1)] * 101, [0] * 101)
    for read in (loads, read_info):
        with pytest.raises(TokenFileError, match=r"at most 100 chunks, got 101.*num_chunks"):
            read(many, limits=Limits(num_chunks=100))
    assert loads(many, limits=Limits(num_chunks=101)).num_tokens == 101


def test_a_declared_payload_is_not_allocated() -> None:
    """2^24 symbols of 62 bits are declared, and the file ends there."""
    text = HEADER.replace(b"[2,3],[4]", b"[16777216,1],[4611686018427387904]")
    refuses(head(text) + fields(1 << 24, 130_023_424), "got the end of the file|footer|end of")


def test_chunks_of_streams_may_be_mixed_in_any_order() -> None:
    text = HEADER.replace(b'"streams":{', b'"streams":{"a":[["time"],[2],[4]],')
    rows = chunk(3, b"\x1b", stream=1), chunk(3, bytes([0b10_01_00]), stream=1)
    gains = chunk(1, b"\x02"), chunk(1, b"\x01")
    row, gain = fields(3, 1, stream=1), fields(1, 1)
    for order, index in [
        ([*rows, *gains], [row, row, gain, gain]),
        ([gains[0], *rows, gains[1]], [gain, row, row, gain]),
        ([gains[0], rows[0], gains[1], rows[1]], [gain, row, gain, row]),
    ]:
        tokens = loads(head(text) + b"".join(order) + foot(index, [2, 1, *SYMBOLS]))
        assert tokens.streams["a"].indices.flatten().tolist() == [2, 1]
        assert tokens.indices.flatten().tolist() == SYMBOLS


@pytest.mark.parametrize("name", SAMPLES)
def test_the_index_leads_to_every_chunk(name: str) -> None:
    """What a reader that seeks does: footer first, then any chunk on its own."""
    tokens, _ = SAMPLES[name]
    data = dumps(tokens, chunk_rows=2)
    contents = container.read_index(Reader(io.BytesIO(data), "data"), Limits())
    offset = contents.header_bytes
    done, resources = [0] * len(contents.header.streams), CodingResources()
    for part in contents.chunks:
        stream = contents.header.streams[part.stream]
        start = offset + len(part.to_bytes())
        payload = data[start : start + part.payload_bytes]
        num_codebooks = len(stream.codebook_sizes)
        offset += part.size_bytes
        if part.mode == TABLES:
            tables = StreamTables.from_bytes(payload, stream.codebook_sizes)
            resources = resources.with_embedded(stream.name, tables)
            continue
        layout = stream.layout_of(part.num_symbols)
        rows = decode_chunk(part.mode, payload, layout, resources)
        whole = tokens.streams[stream.name].indices.numpy().reshape(-1, num_codebooks)
        first = done[part.stream]
        np.testing.assert_array_equal(rows, whole[first : first + len(rows)])
        done[part.stream] += len(rows)
    assert data[offset] == 0


def test_chunks_are_written_one_of_each_stream_in_turn() -> None:
    data = dumps(speech(), chunk_rows=20)
    chunks = container.read_index(Reader(io.BytesIO(data), "data"), Limits()).chunks
    names = ["gain", "pauses", "speaker", "tokens"]
    assert [names[part.stream] for part in chunks] == [
        *("gain", "speaker", "tokens"),
        *("tokens", "tokens", "tokens"),
    ]
