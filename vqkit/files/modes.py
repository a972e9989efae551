"""How the symbols of a chunk become bytes: a table of coding modes, by the number in the file.

A mode never expands: a chunk for which it needs more bytes than fixed-width packing is written in
mode 0. So the size of any payload is bounded before it is read.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vqkit.coding import (
    MAX_ALPHABET,
    RangeDecoder,
    RangeEncoder,
    bits_for,
    decode_adaptively,
    encode_adaptively,
    pack,
    packed_size_bytes,
    unpack,
)
from vqkit.errors import CodingError, ConfigError, ShapeError
from vqkit.files.format_error import NEWER, FormatError

__all__ = [
    "ADAPTIVE",
    "CODERS",
    "FIXED_WIDTH",
    "CodingMode",
    "check_coder",
    "coding_mode",
    "encode_chunk",
    "max_payload_bytes",
    "mode_name",
]

Indices = npt.NDArray[np.int64]
Sizes = tuple[int, ...]


@dataclass(frozen=True)
class CodingMode:
    """One way of coding a chunk.

    ``encode`` takes int64 ``[positions, codebooks]`` and the codebook sizes; ``decode`` takes the
    payload, the number of positions and the codebook sizes, and raises `FormatError` on bytes that
    no encoder writes.
    """

    number: int
    name: str
    encode: Callable[[Indices, Sizes], bytes]
    decode: Callable[[bytes, int, Sizes], Indices]


def coding_mode(number: int) -> CodingMode:
    """The mode of that number.

    Raises:
        FormatError: if this version does not know it.
    """
    if number not in _MODES:
        raise FormatError(f"expected a coding mode of {sorted(_MODES)}, got {number}", fix=NEWER)
    return _MODES[number]


def mode_name(number: int) -> str:
    """The mode's name; its number if this version does not know it."""
    return _MODES[number].name if number in _MODES else f"mode {number}"


def check_coder(coder: str) -> None:
    """Refuse a name that is none of `CODERS`.

    Raises:
        ConfigError: Names them all.
    """
    if coder not in CODERS:
        raise ConfigError(f"Wrong coder: expected one of {', '.join(CODERS)}, got {coder!r}.")


def encode_chunk(indices: Indices, codebook_sizes: Sizes, coder: str) -> tuple[int, bytes]:
    """Number of the mode that makes the smallest payload, of those of the coder, and the payload.

    Of equal sizes the lowest mode is taken; fixed width is always one of them.
    """
    payloads = {mode.number: mode.encode(indices, codebook_sizes) for mode in CODERS[coder]}
    return min(payloads.items(), key=lambda item: (len(item[1]), item[0]))


def max_payload_bytes(num_positions: int, codebook_sizes: Sizes) -> int:
    """The most bytes that a chunk's payload may have, in any mode: the size in mode 0."""
    return sum(packed_size_bytes(num_positions, bits_for(size)) for size in codebook_sizes)


def _encode_fixed_width(indices: Indices, codebook_sizes: Sizes) -> bytes:
    return b"".join(
        pack(np.ascontiguousarray(indices[:, codebook]), bits_for(size))
        for codebook, size in enumerate(codebook_sizes)
    )


def _decode_fixed_width(payload: bytes, num_positions: int, codebook_sizes: Sizes) -> Indices:
    expected = max_payload_bytes(num_positions, codebook_sizes)
    if len(payload) != expected:
        raise FormatError(f"expected {expected} bytes of packed tokens, got {len(payload)}")
    indices = np.empty((num_positions, len(codebook_sizes)), np.int64)
    start = 0
    for codebook, size in enumerate(codebook_sizes):
        stop = start + packed_size_bytes(num_positions, bits_for(size))
        try:
            column = unpack(payload[start:stop], num_positions, bits_for(size))
        except ShapeError:
            raise FormatError(
                f"expected zeros in the unused bits after codebook {codebook}, got others"
            ) from None
        _check_range(column, size, codebook)
        indices[:, codebook] = column
        start = stop
    return indices


def _encode_adaptive(indices: Indices, codebook_sizes: Sizes) -> bytes:
    """The low bits of symbols too large for a table, packed; then all else, range-coded."""
    encoder = RangeEncoder()
    low_bits = []
    for codebook, size in enumerate(codebook_sizes):
        column = np.ascontiguousarray(indices[:, codebook])
        num_low = _num_low_bits(size, len(indices))
        low_bits.append(pack(column & ((1 << num_low) - 1), num_low))
        if size > 1:
            encode_adaptively(column >> num_low, ((size - 1) >> num_low) + 1, encoder)
    return b"".join(low_bits) + encoder.to_bytes()


def _decode_adaptive(payload: bytes, num_positions: int, codebook_sizes: Sizes) -> Indices:
    widths = [_num_low_bits(size, num_positions) for size in codebook_sizes]
    num_packed = sum(packed_size_bytes(num_positions, width) for width in widths)
    if len(payload) < num_packed:
        raise FormatError(f"expected {num_packed} bytes of low bits, got {len(payload)}")
    indices = np.empty((num_positions, len(codebook_sizes)), np.int64)
    start = 0
    try:
        decoder = RangeDecoder(payload[num_packed:])
        for codebook, (size, width) in enumerate(zip(codebook_sizes, widths, strict=True)):
            stop = start + packed_size_bytes(num_positions, width)
            column = unpack(payload[start:stop], num_positions, width)
            if size > 1:
                num_high = ((size - 1) >> width) + 1
                column |= decode_adaptively(num_positions, num_high, decoder) << width
            _check_range(column, size, codebook)
            indices[:, codebook] = column
            start = stop
        decoder.finish()
    except CodingError as error:
        raise FormatError(str(error)) from None
    except ShapeError:
        raise FormatError("expected zeros in the unused low bits, got others") from None
    return indices


def _num_low_bits(codebook_size: int, num_positions: int) -> int:
    """Bits of an index that are not predicted, because the table would be too large.

    Tables grow with the number of symbols, so that their making takes no more than its share of the
    time, whatever a file declares.
    """
    table_bits = min(bits_for(MAX_ALPHABET), 8 + num_positions.bit_length())
    return max(0, bits_for(codebook_size) - table_bits)


def _check_range(column: Indices, codebook_size: int, codebook: int) -> None:
    if column.size and int(column.max()) >= codebook_size:
        raise FormatError(
            f"expected indices below {codebook_size} in codebook {codebook}, got {column.max()}"
        )


FIXED_WIDTH = CodingMode(0, "fixed width", _encode_fixed_width, _decode_fixed_width)
ADAPTIVE = CodingMode(2, "adaptive", _encode_adaptive, _decode_adaptive)

CODERS = {"auto": (FIXED_WIDTH, ADAPTIVE), "fixed": (FIXED_WIDTH,)}
"""By name, the modes that a writer may choose from."""

_MODES = {mode.number: mode for mode in (FIXED_WIDTH, ADAPTIVE)}
