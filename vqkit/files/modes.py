"""How the symbols of a chunk become bytes: a table of coding modes, by the number in the file.

A mode never expands: a writer whose mode needs more bytes than fixed-width packing uses mode 0. So
the size of any payload is bounded before it is read.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vqkit.coding import bits_for, pack, packed_size_bytes, unpack
from vqkit.errors import ShapeError
from vqkit.files.format_error import NEWER, FormatError

__all__ = ["FIXED_WIDTH", "CodingMode", "coding_mode", "max_payload_bytes"]


@dataclass(frozen=True)
class CodingMode:
    """One way of coding a chunk.

    ``encode`` takes int64 ``[positions, codebooks]`` and the codebook sizes; ``decode`` takes the
    payload, the number of positions and the codebook sizes, and raises `FormatError` on bytes that
    no encoder writes.
    """

    number: int
    name: str
    encode: Callable[[npt.NDArray[np.int64], tuple[int, ...]], bytes]
    decode: Callable[[bytes, int, tuple[int, ...]], npt.NDArray[np.int64]]


def coding_mode(number: int) -> CodingMode:
    """The mode of that number.

    Raises:
        FormatError: if this version does not know it.
    """
    if number not in _MODES:
        raise FormatError(f"expected a coding mode of {sorted(_MODES)}, got {number}", fix=NEWER)
    return _MODES[number]


def max_payload_bytes(num_positions: int, codebook_sizes: tuple[int, ...]) -> int:
    """The most bytes that a chunk's payload may have, in any mode: the size in mode 0."""
    return sum(packed_size_bytes(num_positions, bits_for(size)) for size in codebook_sizes)


def _encode_fixed_width(indices: npt.NDArray[np.int64], codebook_sizes: tuple[int, ...]) -> bytes:
    return b"".join(
        pack(np.ascontiguousarray(indices[:, codebook]), bits_for(size))
        for codebook, size in enumerate(codebook_sizes)
    )


def _decode_fixed_width(
    payload: bytes, num_positions: int, codebook_sizes: tuple[int, ...]
) -> npt.NDArray[np.int64]:
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


FIXED_WIDTH = CodingMode(0, "fixed width", _encode_fixed_width, _decode_fixed_width)

_MODES = {mode.number: mode for mode in (FIXED_WIDTH,)}
