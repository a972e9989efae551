"""How the symbols of a chunk become bytes: a table of coding modes, by the number in the file.

A mode never expands: a chunk for which it needs more bytes than fixed-width packing is written in
mode 0. So the size of any payload is bounded before it is read.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt

from vqkit.coding import (
    RangeDecoder,
    RangeEncoder,
    bits_for,
    decode_adaptively,
    decode_by_neighbours,
    encode_adaptively,
    encode_by_neighbours,
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
    "NEIGHBOURS",
    "CodingMode",
    "check_coder",
    "coding_mode",
    "encode_chunk",
    "max_payload_bytes",
    "mode_name",
]

Indices = npt.NDArray[np.int64]
Grid = tuple[int, ...]
Sizes = tuple[int, ...]


@dataclass(frozen=True)
class CodingMode:
    """One way of coding a chunk.

    ``encode`` takes int64 ``[positions, codebooks]``, the grid of the positions and the codebook
    sizes; ``decode`` takes the payload, the grid and the codebook sizes, and raises `FormatError`
    on bytes that no encoder writes.
    """

    number: int
    name: str
    encode: Callable[[Indices, Grid, Sizes], bytes]
    decode: Callable[[bytes, Grid, Sizes], Indices]


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


def encode_chunk(
    indices: Indices, grid: Grid, codebook_sizes: Sizes, coder: str
) -> tuple[int, bytes]:
    """Number of the mode that makes the smallest payload, of those of the coder, and the payload.

    Of equal sizes the lowest mode is taken; fixed width is always one of them.
    """
    payloads = {mode.number: mode.encode(indices, grid, codebook_sizes) for mode in CODERS[coder]}
    return min(payloads.items(), key=lambda item: (len(item[1]), item[0]))


def max_payload_bytes(num_positions: int, codebook_sizes: Sizes) -> int:
    """The most bytes that a chunk's payload may have, in any mode: the size in mode 0."""
    return sum(packed_size_bytes(num_positions, bits_for(size)) for size in codebook_sizes)


def _encode_fixed_width(indices: Indices, grid: Grid, codebook_sizes: Sizes) -> bytes:
    return b"".join(
        pack(np.ascontiguousarray(indices[:, codebook]), bits_for(size))
        for codebook, size in enumerate(codebook_sizes)
    )


def _decode_fixed_width(payload: bytes, grid: Grid, codebook_sizes: Sizes) -> Indices:
    num_positions = prod(grid)
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
        if column.size and int(column.max()) >= size:
            raise FormatError(
                f"expected indices below {size} in codebook {codebook}, got {column.max()}"
            )
        indices[:, codebook] = column
        start = stop
    return indices


def _encode_adaptive(indices: Indices, grid: Grid, codebook_sizes: Sizes) -> bytes:
    encoder = RangeEncoder()
    for column, size in zip(indices.T, codebook_sizes, strict=True):
        encode_adaptively(column, size, encoder)
    return encoder.to_bytes()


def _decode_adaptive(payload: bytes, grid: Grid, codebook_sizes: Sizes) -> Indices:
    with _range_decoded(payload) as decoder:
        columns = [decode_adaptively(prod(grid), size, decoder) for size in codebook_sizes]
    return np.stack(columns, axis=1)


def _encode_neighbours(indices: Indices, grid: Grid, codebook_sizes: Sizes) -> bytes:
    encoder = RangeEncoder()
    encode_by_neighbours(indices, grid, codebook_sizes, encoder)
    return encoder.to_bytes()


def _decode_neighbours(payload: bytes, grid: Grid, codebook_sizes: Sizes) -> Indices:
    with _range_decoded(payload) as decoder:
        return decode_by_neighbours(grid, codebook_sizes, decoder)


@contextmanager
def _range_decoded(payload: bytes) -> Iterator[RangeDecoder]:
    """A decoder of the payload, all of which must be used."""
    try:
        decoder = RangeDecoder(payload)
        yield decoder
        decoder.finish()
    except CodingError as error:
        raise FormatError(str(error)) from None


FIXED_WIDTH = CodingMode(0, "fixed width", _encode_fixed_width, _decode_fixed_width)
ADAPTIVE = CodingMode(2, "adaptive", _encode_adaptive, _decode_adaptive)
NEIGHBOURS = CodingMode(3, "neighbours", _encode_neighbours, _decode_neighbours)

CODERS = {"auto": (FIXED_WIDTH, ADAPTIVE, NEIGHBOURS), "fixed": (FIXED_WIDTH,)}
"""By name, the modes that a writer may choose from."""

_MODES = {mode.number: mode for mode in (FIXED_WIDTH, ADAPTIVE, NEIGHBOURS)}
