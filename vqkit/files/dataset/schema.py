"""The columns of a shard, by the header of its data set."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vqkit.files.dataset.header import MAIN_STREAM, DatasetHeader

__all__ = ["codes_column", "codes_dtype", "media_column", "schema_of", "shape_column"]


def schema_of(header: DatasetHeader) -> pa.Schema:
    """The columns of every shard of a data set.

    >>> from vqkit.tokenizers import TokenizerSpec
    >>> spec = TokenizerSpec("t", "image", 3, ("height", "width"), (8, 8), (512,), "0" * 32)
    >>> schema = schema_of(DatasetHeader.of(spec, plan_id="p"))
    >>> schema.names
    ['key', 'codes', 'shape', 'media_height', 'media_width', 'source_uri', 'source_sha256',
     'label', 'label_text', 'error']
    >>> schema.field("codes").type
    ListType(list<element: uint16>)
    """
    fields = [pa.field("key", pa.string(), nullable=False)]
    for name in sorted(header.streams, key=lambda name: (name != MAIN_STREAM, name)):
        codes = pa.from_numpy_dtype(codes_dtype(header.streams[name].codebook_sizes))
        fields.append(pa.field(codes_column(name), pa.list_(pa.field("element", codes))))
        fields.append(pa.field(shape_column(name), pa.list_(pa.field("element", pa.int32()))))
    fields += [pa.field(media_column(name), pa.int64()) for name in header.media]
    fields += [
        pa.field("source_uri", pa.string()),
        pa.field("source_sha256", pa.string()),
        pa.field("label", pa.int64()),
        pa.field("label_text", pa.string()),
        pa.field("error", pa.string()),
    ]
    return pa.schema(fields)


def codes_column(stream: str) -> str:
    """The name of the column of a stream's indices."""
    return "codes" if stream == MAIN_STREAM else f"codes_{stream}"


def shape_column(stream: str) -> str:
    """The name of the column of the shapes of a stream's indices."""
    return "shape" if stream == MAIN_STREAM else f"shape_{stream}"


def media_column(size: str) -> str:
    """The name of the column of one of the media's sizes."""
    return f"media_{size}"


def codes_dtype(codebook_sizes: Sequence[int]) -> npt.DTypeLike:
    """The smallest of 16, 32 and 64 bits, unsigned, that holds every index.

    >>> codes_dtype((1024, 65_536)), codes_dtype((65_537,)), codes_dtype((1 << 36,))
    (dtype('uint16'), dtype('uint32'), dtype('uint64'))
    """
    largest = max(codebook_sizes) - 1
    return next(
        np.dtype(kind)
        for kind in (np.uint16, np.uint32, np.uint64)
        if largest <= np.iinfo(kind).max
    )
