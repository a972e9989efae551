"""Fixed-width bit packing of integers, the coding that always works and never expands.

Value ``i`` occupies bits ``i * num_bits`` to ``(i + 1) * num_bits - 1`` of the packed bits, its
lowest bit first; bit ``b`` of the packed bits is bit ``b % 8`` of byte ``b // 8``. So the bytes,
read as one little-endian integer, are ``sum(values[i] << (i * num_bits))``. Unused bits of the last
byte are zero.
"""

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from vqkit.errors import ShapeError

_Integer = TypeVar("_Integer", bound=np.integer)

__all__ = ["bits_for", "pack", "packed_size_bytes", "unpack"]

_MAX_BITS = 63  # what a non-negative int64 holds
_GROUP = 8  # values: eight values of any width fill a whole number of bytes
_BLOCK_GROUPS = 1 << 14  # groups handled at once: the working set stays in the cache


def bits_for(codebook_size: int) -> int:
    """Bits that a fixed-width index of a codebook takes, ``ceil(log2(codebook_size))``.

    Example:
        >>> bits_for(1), bits_for(2), bits_for(512), bits_for(1000)
        (0, 1, 9, 10)
    """
    if codebook_size < 1:
        raise ShapeError(f"A codebook has at least 1 code, got {codebook_size}.")
    return (codebook_size - 1).bit_length()


def packed_size_bytes(count: int, num_bits: int) -> int:
    """Bytes that ``count`` values of ``num_bits`` bits take.

    Example:
        >>> packed_size_bytes(2166, 9)
        2437
    """
    return (count * num_bits + 7) // 8


def pack(values: npt.NDArray[np.int64], num_bits: int) -> bytes:
    """Pack a row of non-negative integers, ``num_bits`` bits each, lowest bit first.

    Args:
        values: int64 ``[count]``, each in ``[0, 2**num_bits)``.
        num_bits: width of a value, 0 to 63. Zero bits hold zeros only and give no bytes.

    Raises:
        ShapeError: if a value does not fit, or the array is not a row of int64.

    Example:
        >>> pack(np.array([1, 2, 3]), num_bits=4).hex()
        '2103'
    """
    _check_num_bits(num_bits)
    if values.ndim != 1 or values.dtype != np.int64:
        raise ShapeError(
            f"Cannot pack: expected a row of int64, got {values.dtype} {list(values.shape)}."
        )
    if values.size and (values.min() < 0 or int(values.max()) >> num_bits):
        raise ShapeError(
            f"Cannot pack into {num_bits} bits: expected values in [0, {(1 << num_bits) - 1}], "
            f"got {values.min()} to {values.max()}."
        )
    num_groups = -(-values.size // _GROUP)
    packed = np.empty((num_groups, num_bits), np.uint8)
    for first in range(0, num_groups if num_bits else 0, _BLOCK_GROUPS):
        last = min(first + _BLOCK_GROUPS, num_groups)
        block = _zero_padded(values[first * _GROUP : last * _GROUP], (last - first) * _GROUP)
        packed[first:last] = _pack_groups(block.reshape(-1, _GROUP), num_bits)
    return packed.reshape(-1)[: packed_size_bytes(values.size, num_bits)].tobytes()


def unpack(data: bytes, count: int, num_bits: int) -> npt.NDArray[np.int64]:
    """Undo `pack`: ``count`` values of ``num_bits`` bits each as int64 ``[count]``.

    Raises:
        ShapeError: if ``data`` has another length than `packed_size_bytes`, or unused bits are set.

    Example:
        >>> unpack(bytes.fromhex("2103"), count=3, num_bits=4)
        array([1, 2, 3])
    """
    _check_num_bits(num_bits)
    if len(data) != packed_size_bytes(count, num_bits):
        raise ShapeError(
            f"Cannot unpack {count} values of {num_bits} bits: expected "
            f"{packed_size_bytes(count, num_bits)} bytes, got {len(data)}."
        )
    num_used_bits = count * num_bits % 8
    if num_used_bits and data[-1] >> num_used_bits:
        raise ShapeError(
            f"Cannot unpack: expected zeros above bit {num_used_bits} of the last byte, "
            f"got {data[-1]:#04x}."
        )
    if num_bits == 0:
        return np.zeros(count, np.int64)
    num_groups = -(-count // _GROUP)
    packed = np.frombuffer(data, np.uint8)
    values = np.empty((num_groups, _GROUP), np.int64)
    for first in range(0, num_groups, _BLOCK_GROUPS):
        last = min(first + _BLOCK_GROUPS, num_groups)
        block = _zero_padded(packed[first * num_bits : last * num_bits], (last - first) * num_bits)
        values[first:last] = _unpack_groups(block.reshape(-1, num_bits), num_bits)
    return values.reshape(-1)[:count]


def _pack_groups(values: npt.NDArray[np.int64], num_bits: int) -> npt.NDArray[np.uint8]:
    """``[groups, 8]`` values to ``[groups, num_bits]`` bytes, one column at a time."""
    columns = values.T.astype(_word_dtype(num_bits), order="C")
    packed = np.zeros((num_bits, len(values)), np.uint8)
    for position, column in enumerate(columns):
        for byte in _bytes_touched(position, num_bits):
            packed[byte] |= _shift_left(column, position * num_bits - byte * 8).astype(np.uint8)
    return packed.T


def _unpack_groups(packed: npt.NDArray[np.uint8], num_bits: int) -> npt.NDArray[np.integer]:
    """``[groups, num_bits]`` bytes to ``[groups, 8]`` values."""
    dtype = _word_dtype(num_bits)
    columns = np.ascontiguousarray(packed.T)
    values = np.zeros((_GROUP, len(packed)), dtype)
    for position, value in enumerate(values):
        for byte in _bytes_touched(position, num_bits):
            value |= _shift_left(columns[byte].astype(dtype), byte * 8 - position * num_bits)
    values &= dtype.type((1 << num_bits) - 1)
    return values.T


def _zero_padded(row: npt.NDArray[_Integer], size: int) -> npt.NDArray[_Integer]:
    return row if row.size == size else np.pad(row, (0, size - row.size))


def _word_dtype(num_bits: int) -> np.dtype[np.unsignedinteger]:
    """The narrowest unsigned type that holds a value: fewer bytes to move."""
    return np.dtype(np.min_scalar_type((1 << num_bits) - 1))


def _bytes_touched(position: int, num_bits: int) -> range:
    """The bytes of a group that hold bits of the value at ``position``."""
    return range(position * num_bits // 8, ((position + 1) * num_bits - 1) // 8 + 1)


def _shift_left(
    words: npt.NDArray[np.unsignedinteger], num_bits: int
) -> npt.NDArray[np.unsignedinteger]:
    """Shift by ``num_bits``, to the right if negative; bits that leave the word are lost."""
    distance = words.dtype.type(abs(num_bits))
    return words << distance if num_bits >= 0 else words >> distance


def _check_num_bits(num_bits: int) -> None:
    if not 0 <= num_bits <= _MAX_BITS:
        raise ShapeError(f"Cannot pack: expected 0 to {_MAX_BITS} bits a value, got {num_bits}.")
