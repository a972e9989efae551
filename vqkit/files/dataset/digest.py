"""A hash over the rows of a row group, independent of how Parquet stores them.

Page checksums cover the pages alone: with this hash, nothing that is wrong in the footer or in the
headers of pages can turn into wrong rows.
"""

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["DIGEST_LENGTH", "digest_of"]

DIGEST_LENGTH = 32
"""Hex digits."""


def digest_of(table: pa.Table) -> str:
    """BLAKE2b of 16 bytes over the columns in their order, everything little-endian.

    Of each column: a byte for each row, 1 if it holds a value and 0 if it is null; for texts and
    lists the length of each row as int64, 0 for null; then the values, of texts their UTF-8
    bytes behind each other, of lists their elements behind each other, else one for each row, 0
    for null.

    >>> digest_of(pa.table({"key": ["a"], "shape": pa.array([[1, 2]], pa.list_(pa.int32()))}))
    '32d22e6f5d3f7062d9d7c5045b927fd8'
    """
    digest = hashlib.blake2b(digest_size=DIGEST_LENGTH // 2)
    for column in table.itercolumns():
        array = _joined(column)
        digest.update(np.asarray(array.is_valid()).astype(np.uint8).tobytes())
        if pa.types.is_list(array.type):
            digest.update(_little_endian(array.value_lengths(), "<i8"))
            values = array.flatten()
            digest.update(_little_endian(values, values.type.to_pandas_dtype()))
        elif pa.types.is_string(array.type):
            digest.update(_little_endian(pc.binary_length(array), "<i8"))
            digest.update("".join(text for text in array.to_pylist() if text is not None).encode())
        else:
            digest.update(_little_endian(array, "<i8"))
    return digest.hexdigest()


def _joined(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _little_endian(array: pa.Array, dtype: object) -> bytes:
    values = array.fill_null(0).to_numpy(zero_copy_only=False)
    return values.astype(np.dtype(dtype).newbyteorder("<")).tobytes()  # type: ignore[call-overload]
