"""Samples <-> the rows of a row group, with every value checked on the way back."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from vqkit.errors import ShapeError
from vqkit.files.dataset.document import MAX_COUNT
from vqkit.files.dataset.header import DatasetHeader, StreamLayout
from vqkit.files.dataset.sample import Sample
from vqkit.files.dataset.schema import (
    codes_column,
    codes_dtype,
    media_column,
    schema_of,
    shape_column,
)
from vqkit.files.format_error import FormatError
from vqkit.files.limits import Limits
from vqkit.tokenizers.tokens import Tokens, TokenStream

__all__ = ["Rows", "table_of"]

Values = npt.NDArray[Any]


def table_of(samples: Sequence[Sample], header: DatasetHeader) -> pa.Table:
    """The rows of samples that `DatasetHeader.check` has passed."""
    columns: dict[str, pa.Array] = {"key": pa.array([s.key for s in samples], pa.string())}
    for name, stream in header.streams.items():
        grids = [None if s.tokens is None else _indices(s.tokens, name) for s in samples]
        dtype = codes_dtype(stream.codebook_sizes)
        columns[codes_column(name)] = _lists(
            [None if grid is None else grid.reshape(-1).astype(dtype) for grid in grids], dtype
        )
        columns[shape_column(name)] = _lists(
            [None if grid is None else np.array(grid.shape, np.int32) for grid in grids], np.int32
        )
    for size in header.media:
        sizes = [None if s.tokens is None else s.tokens.media[0].get(size) for s in samples]
        columns[media_column(size)] = pa.array(sizes, pa.int64())
    labels = [s.label for s in samples]
    columns |= {
        "source_uri": _texts([s.source for s in samples]),
        "source_sha256": _texts([s.source_sha256 for s in samples]),
        "label": pa.array([x if isinstance(x, int) else None for x in labels], pa.int64()),
        "label_text": pa.array([x if isinstance(x, str) else None for x in labels], pa.string()),
        "error": _texts([s.error for s in samples]),
    }
    schema = schema_of(header)
    return pa.table([columns[name] for name in schema.names], schema=schema)


@dataclass(frozen=True)
class _Column:
    """One stream of all rows: the indices behind each other, and where each row's begin."""

    layout: StreamLayout
    values: Values
    starts: Values
    shapes: list[tuple[int, ...] | None]

    def grid(self, row: int) -> Tensor:
        """int64 ``[*grid, codebooks]`` of a row that has tokens."""
        shape = self.shapes[row]
        assert shape is not None
        flat = self.values[self.starts[row] : self.starts[row + 1]]
        return torch.from_numpy(flat.astype(np.int64)).reshape(shape)


class Rows:
    """The rows of one row group, all of them checked.

    Args:
        table: What stands in the shard, with the columns of the header's schema.
        header: Of the data set.
        limits: What the rows may ask for.

    Raises:
        FormatError: A row that no writer writes.
    """

    def __init__(self, table: pa.Table, header: DatasetHeader, limits: Limits) -> None:
        self.header = header
        self.keys = _checked_keys(table["key"])
        self._texts = {
            name: table[name].to_pylist()
            for name in ("source_uri", "source_sha256", "label", "label_text", "error")
        }
        self._media = {name: table[media_column(name)].to_pylist() for name in header.media}
        self._check_media()
        has_tokens = [error is None for error in self._texts["error"]]
        self._columns = {
            name: _column(table, name, stream, has_tokens, limits)
            for name, stream in header.streams.items()
        }

    def __len__(self) -> int:
        return len(self.keys)

    def has_tokens(self, row: int) -> bool:
        """Whether the row's media could be encoded."""
        return self._texts["error"][row] is None

    def grid(self, row: int, stream: str) -> Tensor:
        """int64 ``[*grid, codebooks]`` of a row that has tokens."""
        return self._columns[stream].grid(row)

    def media(self, row: int) -> dict[str, int]:
        """The media's sizes of a row."""
        sizes = {name: values[row] for name, values in self._media.items()}
        return {name: size for name, size in sizes.items() if size is not None}

    def label(self, row: int) -> int | str | None:
        """The label of a row."""
        number, text = self._texts["label"][row], self._texts["label_text"][row]
        return text if number is None else number

    def sample(self, row: int) -> Sample:
        """A row as it was written.

        Raises:
            FormatError: Its texts or indices are none that a writer takes.
        """
        error = self._texts["error"][row]
        try:
            return Sample(
                key=self.keys[row],
                tokens=self._tokens(row) if error is None else None,
                source=self._texts["source_uri"][row] or "",
                source_sha256=self._texts["source_sha256"][row] or "",
                label=self.label(row),
                error=error or "",
            )
        except ShapeError as problem:
            raise FormatError(f"expected a sound sample, got: {problem}") from None

    def _tokens(self, row: int) -> Tokens:
        header = self.header
        return Tokens(
            streams={
                name: TokenStream(self.grid(row, name)[None], stream.codebook_sizes, stream.axes)
                for name, stream in header.streams.items()
            },
            media=(self.media(row),),
            modality=header.modality,
            tokenizer=header.tokenizer,
            fingerprint=header.fingerprint,
        )

    def _check_media(self) -> None:
        for name, sizes in self._media.items():
            if any(size is not None and not 0 <= size <= MAX_COUNT for size in sizes):
                raise FormatError(f"expected media sizes {name!r} from 0 to {MAX_COUNT}")


def _column(
    table: pa.Table, name: str, layout: StreamLayout, has_tokens: list[bool], limits: Limits
) -> _Column:
    codes, shapes = _combined(table[codes_column(name)]), _combined(table[shape_column(name)])
    for what, column in (("codes", codes), ("shapes", shapes)):
        if column.flatten().null_count or column.is_valid().to_pylist() != has_tokens:
            raise FormatError(
                f"expected {what} of stream {name!r} where there is no error and only there"
            )
    lengths = np.asarray(codes.value_lengths().fill_null(0), np.int64)
    rank = len(layout.axes) + 1
    if any(length != rank for length in shapes.value_lengths().drop_null().to_pylist()):
        raise FormatError(f"expected shapes of {rank} numbers in stream {name!r}, got others")
    grids = iter(shapes.flatten().to_numpy().reshape(-1, rank).tolist())
    rows = [tuple(next(grids)) if there_is else None for there_is in has_tokens]
    for shape, length in zip(rows, lengths.tolist(), strict=True):
        if shape is not None:
            _check_shape(shape, length, layout, limits)
    values = codes.flatten().to_numpy()
    _check_range(values, layout, name)
    return _Column(layout, values, np.concatenate([[0], np.cumsum(lengths)]), rows)


def _check_shape(shape: tuple[int, ...], length: int, layout: StreamLayout, limits: Limits) -> None:
    num_codebooks = len(layout.codebook_sizes)
    if shape[-1] != num_codebooks or min(shape) < 0:
        raise FormatError(f"expected a shape with {num_codebooks} codebook(s), got {shape}")
    # An empty axis must not hide the size of the others, whose product strides overflow.
    limits.check("num_tokens", math.prod(max(size, 1) for size in shape), "tokens in a sample")
    if math.prod(shape) != length:
        raise FormatError(f"expected {math.prod(shape)} codes for shape {shape}, got {length}")


def _check_range(values: Values, layout: StreamLayout, name: str) -> None:
    if len(values) == 0:
        return
    highest = values.reshape(-1, len(layout.codebook_sizes)).max(axis=0)
    for codebook, (index, size) in enumerate(zip(highest, layout.codebook_sizes, strict=True)):
        if int(index) >= size:
            raise FormatError(
                f"expected indices of stream {name!r} below {size} for codebook {codebook}, "
                f"got {int(index)}"
            )


def _checked_keys(column: pa.ChunkedArray) -> list[str]:
    keys: list[str] = column.to_pylist()
    if any(not key for key in keys) or len(set(keys)) != len(keys):
        raise FormatError("expected a key of its own for every row, got an empty or a second one")
    return keys


def _indices(tokens: Tokens, name: str) -> Values:
    grid: Values = tokens.streams[name].item(0).indices[0].cpu().numpy()
    return grid


def _lists(rows: Sequence[Values | None], dtype: npt.DTypeLike) -> pa.Array:
    lengths = [0 if row is None else len(row) for row in rows]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    values = np.concatenate([np.zeros(0, dtype), *(row for row in rows if row is not None)])
    missing = pa.array([row is None for row in rows], pa.bool_())
    return pa.ListArray.from_arrays(offsets, pa.array(values), mask=missing)


def _texts(values: Sequence[str]) -> pa.Array:
    return pa.array([value or None for value in values], pa.string())


def _combined(column: pa.ChunkedArray) -> pa.Array:
    combined = column.combine_chunks()
    return combined.chunk(0) if isinstance(combined, pa.ChunkedArray) else combined
