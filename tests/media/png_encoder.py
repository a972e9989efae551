"""A PNG encoder written straight from ISO/IEC 15948, to make files that Pillow cannot."""

import struct
import zlib

import numpy as np

ADAM7 = [
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
]
COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of_rows(
    width: int, height: int, depth: int, colour_type: int, rows: bytes, *extra: bytes, interlace=0
) -> bytes:
    """A file around rows that are filtered already; ``extra`` chunks stand before the pixels."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, interlace)
    pixels = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [chunk(b"IHDR", header), *extra, pixels, chunk(b"IEND", b"")]
    )


def encode(samples: np.ndarray, *extra: bytes, filters=(0,), interlace: bool = False) -> bytes:
    """Encode [height, width, bands] of uint8 or uint16; the rows take the filters in turn."""
    height, width, bands = samples.shape
    depth = samples.dtype.itemsize * 8
    big_endian = samples.astype(samples.dtype.newbyteorder(">"))
    rows = b""
    for left, top, column_step, row_step in ADAM7 if interlace else [(0, 0, 1, 1)]:
        part = big_endian[top::row_step, left::column_step]
        if part.size:
            rows += _filtered(part, filters)
    return png_of_rows(
        width, height, depth, COLOUR_TYPES[bands], rows, *extra, interlace=int(interlace)
    )


def _filtered(samples: np.ndarray, filters) -> bytes:
    pixel_bytes = samples.shape[2] * samples.dtype.itemsize
    before = bytes(samples.shape[1] * pixel_bytes)
    result = bytearray()
    for number, row in enumerate(samples):
        kind = filters[number % len(filters)]
        current = row.tobytes()
        result.append(kind)
        for i, value in enumerate(current):
            left = current[i - pixel_bytes] if i >= pixel_bytes else 0
            corner = before[i - pixel_bytes] if i >= pixel_bytes else 0
            above = before[i]
            predicted = (0, left, above, (left + above) // 2, _paeth(left, above, corner))[kind]
            result.append((value - predicted) % 256)
        before = current
    return bytes(result)


def _paeth(a: int, b: int, c: int) -> int:
    p = a + b - c
    return min((a, b, c), key=lambda neighbour: abs(p - neighbour))
