"""Damage to token files: accidents, and accidents whose checksums somebody put right again.

Nothing of vqkit is used here: the repair walks the file by the specification as far as it goes.
"""

import random
import struct
from collections.abc import Sequence

from tests.files.crafted import crc, varint
from tests.files.specification import Tables, fitting_hash

_NUMBERS = [0, 1, 2, 127, 128, 255, 256, 1 << 14, 1 << 20, 1 << 24, (1 << 24) + 1, 1 << 27]
_NUMBERS += [1 << 28, (1 << 28) + 1, 1 << 31, 1 << 32, 1 << 62, (1 << 62) + 1, 1 << 63, 1 << 64]
# The reader that computes the hash is slow; of larger files the last check alone is not reached.
_MOST_HASHED_SYMBOLS = 3000
_WORDS = [b"-1", b"1.0", b"1e9", b"NaN", b"true", b"null", b'""', b"[]", b"{}", b'"\\ud800"']
_WORDS += [b"[" * 50 + b"]" * 50, b'"tokens"', b"00", b" ", b",", b":", b"\xff"]


def mutate(source: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """One to three accidents."""
    data = bytearray(source)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        rng.choice(_MUTATIONS)(data, others, rng)
    return bytes(data)


def _place(data: bytearray, rng: random.Random) -> int:
    """Anywhere, with the header, the first chunk's fields and the footer as likely as the rest."""
    start, stop = rng.choice(
        [(0, len(data)), (8, 12), (12, 220), (180, 240), (len(data) - 60, len(data))]
    )
    return rng.randrange(max(0, min(start, len(data))), max(1, min(stop, len(data))) + 1)


def _flip(data: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    if data:
        data[min(_place(data, rng), len(data) - 1)] ^= 1 << rng.randrange(8)


def _replace(data: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    start = _place(data, rng)
    data[start : start + rng.randint(1, 8)] = rng.randbytes(rng.randint(1, 8))


def _cut(data: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    start = _place(data, rng)
    stop = rng.choice([len(data), start + rng.randint(1, 40), rng.randint(start, len(data) + 1)])
    del data[start:stop]


def _insert(data: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    start = _place(data, rng)
    data[start:start] = rng.choice([rng.randbytes(rng.randint(1, 20)), bytes(rng.randint(1, 99))])


def _splice(data: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    other = rng.choice(others)
    start, first = _place(data, rng), rng.randrange(len(other))
    stop = rng.choice([len(data), start, start + rng.randint(1, 300)])
    data[start:stop] = other[first : first + rng.randint(1, len(other))]


def _edit_length(data: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    """The length of the header or of the footer, or a varint somewhere."""
    number = rng.choice([*_NUMBERS, len(data), len(data) - 4])
    where = rng.randrange(3)
    if where == 0:
        data[10:12] = struct.pack("<H", number & 0xFFFF)
    elif where == 1:
        data[-4:] = struct.pack("<I", number & 0xFFFFFFFF)
    else:
        start = _place(data, rng)
        data[start : start + rng.randint(0, 3)] = varint(number)


def _edit_header(data: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    """A number or a word in the JSON text, with the text's length put right."""
    if len(data) < 16:
        return
    text = bytes(data[12 : 12 + struct.unpack("<H", data[10:12])[0]])
    start = rng.randrange(len(text) + 1)
    digits = [i for i, byte in enumerate(text) if 48 <= byte < 58]
    if digits and rng.random() < 0.6:
        start = rng.choice(digits)
    stop = start
    while stop < len(text) and text[stop : stop + 1].isdigit():
        stop += 1
    word = rng.choice([str(rng.choice(_NUMBERS)).encode(), str(rng.randrange(70)).encode()])
    if rng.random() < 0.3:
        word = rng.choice(_WORDS)
    edited = text[:start] + word + text[stop:]
    data[10 : 12 + len(text)] = struct.pack("<H", len(edited) & 0xFFFF) + edited


_MUTATIONS = [_flip, _flip, _replace, _cut, _insert, _splice, _edit_length, _edit_header]
_MUTATIONS += [_edit_header]


def repair(source: bytes, rng: random.Random, tables: Tables) -> bytes:
    """Make checksums and, in most cases, index, hash and lengths fit what the file now says.

    ``tables`` are those that chunks may name, for the reader that computes the hash.
    """
    data = bytearray(source)
    if len(data) < 16:
        return source
    position = 12 + struct.unpack("<H", data[10:12])[0]
    if position + 4 > len(data):
        return source
    data[position : position + 4] = crc(bytes(data[8:position]))
    position += 4
    index: list[bytes] = []
    num_symbols = 0
    while position < len(data) and data[position]:
        found = _fields(data, position)
        if found is None or sum(found[1:]) + 4 > len(data):
            return bytes(data)
        symbols, payload_bytes, start = found
        num_symbols += symbols
        index.append(bytes(data[position:start]))
        end = start + payload_bytes
        data[end : end + 4] = crc(bytes(data[position:end]))
        position = end + 4
    if rng.random() < 0.2:  # keep the footer that there is, with a checksum that fits
        end = len(data) - 8
        if end > position:
            data[end : end + 4] = crc(bytes(data[position:end]))
        return bytes(data)
    footer = b"\0" + varint(len(index)) + b"".join(index)
    body = bytes(data[:position])
    fitting = None
    if num_symbols <= _MOST_HASHED_SYMBOLS:
        fitting = fitting_hash(body + _closed(footer + bytes(16)), tables)
    return body + _closed(footer + (fitting or bytes(16)))


def _closed(footer: bytes) -> bytes:
    """A footer with its checksum and its length."""
    footer += crc(footer)
    return footer + struct.pack("<I", len(footer))


def _fields(data: bytearray, position: int) -> tuple[int, int, int] | None:
    """Symbols, payload length and payload offset of a chunk that begins at ``position``."""
    values = []
    for what in ("stream", "mode", "symbols", "payload"):
        value = shift = 0
        while True:
            if position >= len(data) or shift > 63:
                return None
            byte = data[position]
            position += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128 or what == "mode":
                break
        values.append(value)
    return values[2], values[3], position
