"""Headers that lie, each in its own way, in files whose checksums are right."""

import time
import tracemalloc
from typing import Any

import pytest

from tests.files.crafted import HEADER, PAYLOAD, SOUND, SYMBOLS, chunk, fields, foot, head
from vqkit.errors import TokenFileError
from vqkit.files import loads, read_info, verify
from vqkit.files.header import FileHeader
from vqkit.files.limits import Limits


def with_header(text: bytes) -> bytes:
    return head(text) + chunk(6, PAYLOAD) + foot([fields(6, 2)], SYMBOLS)


def with_streams(streams: str) -> bytes:
    start = HEADER.index(b'"streams":')
    return with_header(HEADER[:start] + b'"streams":' + streams.encode() + b"}")


def with_tokens(stream: str) -> bytes:
    return with_streams('{"tokens":' + stream + "}")


def changed(old: str, new: str) -> bytes:
    assert HEADER.count(old.encode()) == 1
    return with_header(HEADER.replace(old.encode(), new.encode()))


def refuses(data: bytes, message: str) -> None:
    """Everything that reads must refuse, soon and without memory."""
    for read in (loads, read_info, verify):
        tracemalloc.start()
        start = time.process_time()
        with pytest.raises(TokenFileError, match=message):
            read(data)
        seconds = time.process_time() - start
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert seconds < 0.5
        assert peak < 4 << 20


def test_the_file_that_the_lies_start_from_is_sound() -> None:
    assert loads(SOUND).indices.flatten().tolist() == SYMBOLS
    assert FileHeader.from_bytes(HEADER, Limits()).to_bytes() == HEADER


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ("[8192,16384]", "whole rows of 16384 of the 134217728 symbols"),
        ("[134217728,1]", "expected 134217728 symbols in stream 'tokens', got 6"),
        ("[1,134217728]", "whole rows of 134217728"),
        ("[268435456,2]", "at most 268435456 tokens, got 536870912"),
        ("[65536,65536]", "at most 268435456 tokens, got 4294967296"),
        ("[2,268435457]", "at most 268435456 positions along an axis"),
        ("[0,268435457]", "at most 268435456 positions along an axis"),
        ("[0,268435456]", "whole rows|got 6"),
        ("[2,9223372036854775808]", "at most 268435456 positions along an axis"),
        ("[2," + "9" * 4000 + "]", "at most 268435456 positions along an axis"),
        ("[2," + "9" * 5000 + "]", "expected JSON"),
        ("[-2,3]", "whole grid size in stream 'tokens' >= 0, got -2"),
        ("[-2,-3]", "whole grid size"),
        ("[2.0,3]", "whole numbers only, got '2.0'"),
        ("[2e0,3]", "whole numbers only, got '2e0'"),
        ("[1e400,3]", "whole numbers only"),
        ("[NaN,3]", "whole numbers only, got 'NaN'"),
        ("[-Infinity,3]", "whole numbers only, got '-Infinity'"),
        ("[true,3]", "whole grid size in stream 'tokens' >= 0, got True"),
        ("[3,null]", "whole grid size"),
        ('["2",3]', "whole grid size"),
        ("[[2],3]", "whole grid size"),
        ("[2]", "one size for each"),
        ("[2,3,1]", "one size for each"),
        ("[02,3]", "expected JSON"),
        ("[-0,3]", "canonical JSON|whole rows"),
    ],
)
def test_shapes(shape: str, message: str) -> None:
    refuses(with_tokens(f'[["height","width"],{shape},[4]]'), message)


def test_empty_axes_do_not_hide_huge_ones() -> None:
    refuses(
        with_tokens(f'[["a","b","c","d"],[0,{1 << 28},{1 << 28},{1 << 28}],[4]]'),
        "at most 268435456 tokens",
    )


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ("[0]", "whole codebook size in stream 'tokens' >= 1, got 0"),
        ("[-4]", "whole codebook size"),
        ("[4.5]", "whole numbers only"),
        ("[false]", "whole codebook size"),
        ("[]", "at least one codebook"),
        (f"[{(1 << 62) + 1}]", f"at most {1 << 62} codes in a codebook"),
        ("[1]", "at most 0 bytes of payload, got 2"),
        ("[3]", "indices below 3 in codebook 0, got 3"),
        ("[4,4]", "expected 12 symbols"),
        ("4", r"expected \[axes, shape, codebook sizes\]"),
    ],
)
def test_codebook_sizes(sizes: str, message: str) -> None:
    data = with_tokens(f'[["height","width"],[2,3],{sizes}]')
    if sizes == "[3]":  # seen only where tokens are decoded
        with pytest.raises(TokenFileError, match=message):
            loads(data)
    else:
        refuses(data, message)


def test_tokens_that_take_no_bits_are_bounded() -> None:
    """A bomb: a quarter of a billion symbols of a codebook with one code are an empty payload."""
    text = HEADER.replace(b"[2,3],[4]", b"[16384,16384],[1]")
    bomb = head(text)
    for _ in range(16):
        bomb += chunk(1 << 24, b"")
    refuses(bomb, r"at most 1048576 tokens of codebooks with one code, got 268435456.*Limits\(")


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ('["height","height"]', "different axes"),
        ('["height"]', "one size for each"),
        ('["Height","width"]', "axis name"),
        ('["","width"]', "axis name"),
        ('["height",7]', "axis name up to 32 characters.*got 7"),
        ('["height",["width"]]', "axis name"),
        ('["hei\\u0067ht","width"]', "canonical JSON"),
        ('["\\ud800","width"]', "axis name"),
        ('"height"', r"expected \[axes, shape, codebook sizes\]"),
        ("{}", r"expected \[axes, shape, codebook sizes\]"),
    ],
)
def test_axes(axes: str, message: str) -> None:
    refuses(with_tokens(f"[{axes},[2,3],[4]]"), message)


@pytest.mark.parametrize(
    ("streams", "message"),
    [
        ("{}", "streams by name"),
        ("[]", "streams by name"),
        ("null", "streams by name"),
        ('{"tokens":[["a"],[6]]}', r"expected \[axes, shape, codebook sizes\]"),
        ('{"tokens":[["a"],[6],[4],[]]}', r"expected \[axes, shape, codebook sizes\]"),
        ('{"":[["a"],[6],[4]]}', "stream name"),
        ('{"to kens":[["a"],[6],[4]]}', "stream name"),
        ('{"tokens":[["a"],[6],[4]],"tokens":[["a"],[6],[4]]}', "every key once"),
        ('{"tokens":[["a"],[6],[4]],"other":[["a"],[6],[4]]}', "canonical JSON"),
        ('{"tokens":[["a","b","c","d","e"],[1,1,1,2,3],[4]]}', "at most 4 axes"),
    ],
)
def test_streams(streams: str, message: str) -> None:
    refuses(with_streams(streams), message)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"image"', '"Image"', "modality"),
        ('"image"', "3", "modality"),
        ('["image",{"height":1}]', '["image"]', "a pair as media"),
        ('["image",{"height":1}]', '{"image":1}', "a pair as media"),
        ('{"height":1}', "[]", "media sizes by name"),
        ('{"height":1}', '{"height":-1}', "media size 'height' >= 0, got -1"),
        ('{"height":1}', '{"height":1.5}', "whole numbers only"),
        ('{"height":1}', '{"height":9007199254740993}', "up to 9007199254740992"),
        ('{"height":1}', '{"height":1,"height":2}', "every key once"),
        ('{"height":1}', '{"Height":1}', "media size name"),
        ('["m"', '["m\\u001b[2J"', r"printable characters, got 'm\\x1b\[2J'"),
        ('["m"', '["\\ud83d"', "printable"),
        ('["m"', '["m\\u202e"', "printable"),
        ('["m"', '["' + "m" * 201 + '"', "up to 200 printable"),
        ('["m"', "[1", "printable"),
        ('["m",', '["m",1,', "a pair as model"),
        ('"00000000', '"0000000g', "32 hex digits"),
        ('"00000000', '"0000000A', "32 hex digits"),
        ('"00000000', '"000000000', "32 hex digits"),
        ('"model"', '"codec"', r"expected the keys \['media', 'model', 'streams'\]"),
        ('{"media"', '{"extra":1,"media"', r"expected the keys.*got \['extra'"),
        ('"m","', '"m", "', "canonical JSON"),
        ('{"height":1}', '{"height":01}', "expected JSON"),
    ],
)
def test_fields(old: str, new: str, message: str) -> None:
    refuses(changed(old, new), message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "expected JSON"),
        (b"{", "expected JSON"),
        (b"[]", "expected the keys"),
        (b"null", "expected the keys"),
        (b"1", "expected the keys"),
        (b"NaN", "whole numbers only"),
        (b'"media"', "expected the keys"),
        (b"[" * 65_535, "deep nesting|expected JSON"),
        (b"[" * 30_000 + b"]" * 30_000, "deep nesting|expected the keys"),
        (b'{"a":' * 13_000, "deep nesting|expected JSON"),
        (b"9" * 65_535, "expected JSON"),
        (HEADER + b" ", "canonical JSON"),
        (HEADER + b"x", "expected JSON"),
        (HEADER + b"\0", "expected JSON"),
        (b"\xef\xbb\xbf" + HEADER, "expected ASCII, got 0xef"),
        (HEADER.replace(b'"m"', '"ä"'.encode()), "expected ASCII, got 0xc3"),
        (HEADER.replace(b'"m"', b'"\xff"'), "expected ASCII, got 0xff"),
    ],
)
def test_texts(text: bytes, message: str) -> None:
    refuses(with_header(text), message)


def test_the_length_of_the_header_is_limited() -> None:
    data = with_header(HEADER)
    for read in (loads, read_info):
        with pytest.raises(TokenFileError, match=r"at most 100 bytes of header.*header_bytes"):
            read(data, limits=Limits(header_bytes=100))


@pytest.mark.parametrize("tokenizer", ["", "ä/ö", "模型", "😀", 'quote"back\\slash', "x" * 200])
def test_any_printable_tokenizer_id_is_kept(tokenizer: str) -> None:
    header: Any = FileHeader.from_bytes(HEADER, Limits())
    text = FileHeader(
        header.modality, header.media, tokenizer, header.fingerprint, header.streams
    ).to_bytes()
    assert text.isascii()
    assert FileHeader.from_bytes(text, Limits()).tokenizer == tokenizer
