"""litdata's chunks of tokens, which litgpt reads."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt

from vqkit.files.dataset.export.base import ExportFormat, Sink, id_dtype
from vqkit.files.format_error import FormatError

__all__ = ["Litdata"]

_INDEX = "index.json"
_CHUNK_BYTES = 64 << 20
# The place of the dtype in litdata's list, and the empty tree of PyTorch's pytree that says that an
# item is one array. Neither names a class, so nothing is unpickled.
_DATA_FORMATS = {"uint16": "no_header_numpy:5", "uint32": "no_header_numpy:6"}
_DATA_SPEC = '[1, {"type": null, "context": null, "children_spec": []}]'


@final
class Litdata(ExportFormat):
    """``chunk-0-N.bin`` and ``index.json``, for ``StreamingDataset(item_loader=TokensLoader())``.

    A chunk holds the number of its samples and the byte offsets of their begins and of its end,
    all uint32, then the ids. The loader cuts the ids of a chunk into blocks, whatever the samples.
    """

    name = "litdata"

    def dtype(self, vocabulary_size: int) -> np.dtype[Any]:
        """16 or 32 bits, unsigned."""
        return id_dtype(vocabulary_size)

    def open(self, folder: Path, dtype: np.dtype[Any], tokenizer: str) -> Sink:
        """Begin to write."""
        return _Sink(folder, dtype)

    def read(
        self, folder: Path, dtype: np.dtype[Any], lengths: Iterable[int]
    ) -> Iterator[npt.NDArray[Any]]:
        """The sequences of all chunks, which must have the lengths that are known."""
        count = 0
        pieces = _pieces(folder, dtype)
        for count, length in enumerate(lengths, 1):
            ids = next(pieces, None)
            if ids is None or len(ids) != length:
                raise FormatError(f"expected {length} ids as sequence {count}, got others")
            yield ids
        if next(pieces, None) is not None:
            raise FormatError(f"expected {count} sequences in the chunks, got more")


class _Sink(Sink):
    """Holds one chunk, whose head is known when it is full."""

    def __init__(self, folder: Path, dtype: np.dtype[Any]) -> None:
        self.folder = folder
        self.dtype = dtype
        self._pending: list[bytes] = []
        self._num_pending_bytes = 0
        self._chunks: list[dict[str, Any]] = []

    def add(self, ids: npt.NDArray[Any]) -> None:
        self._pending.append(ids.tobytes())
        self._num_pending_bytes += ids.nbytes
        if self._num_pending_bytes >= _CHUNK_BYTES:
            self._write_chunk()

    def close(self) -> None:
        if self._pending:
            self._write_chunk()
        config = {
            "chunk_bytes": _CHUNK_BYTES,
            "chunk_size": None,
            "compression": None,
            "data_format": [_DATA_FORMATS[self.dtype.name]],
            "data_spec": _DATA_SPEC,
            "encryption": None,
            "item_loader": "TokensLoader",
        }
        document = json.dumps({"chunks": self._chunks, "config": config}, sort_keys=True)
        (self.folder / _INDEX).write_text(document, encoding="ascii")

    def _write_chunk(self) -> None:
        name = f"chunk-0-{len(self._chunks)}.bin"
        count = len(self._pending)
        sizes = [4 * (count + 2), *map(len, self._pending)]
        head = np.concatenate([[count], np.cumsum(sizes)]).astype("<u4").tobytes()
        with (self.folder / name).open("wb") as file:
            file.write(head)
            file.writelines(self._pending)
        size_bytes = len(head) + self._num_pending_bytes
        num_ids = self._num_pending_bytes // self.dtype.itemsize
        self._chunks.append(
            {"chunk_bytes": size_bytes, "chunk_size": count, "dim": num_ids, "filename": name}
        )
        self._pending, self._num_pending_bytes = [], 0


def _pieces(folder: Path, dtype: np.dtype[Any]) -> Iterator[npt.NDArray[Any]]:
    """The sequences of all chunks, by their own offsets."""
    for number in range(len([*folder.glob("chunk-0-*.bin")])):
        data = (folder / f"chunk-0-{number}.bin").read_bytes()
        count = int.from_bytes(data[:4], "little")
        if len(data) < 4 * (count + 2):
            raise FormatError(f"expected the offsets of {count} sequences in chunk {number}")
        offsets = np.frombuffer(data, "<u4", count + 1, 4).astype(np.int64)
        sizes = np.diff(offsets)
        fits = (offsets[0], offsets[-1]) == (4 * (count + 2), len(data))
        if not fits or (sizes < 0).any() or (sizes % dtype.itemsize).any():
            raise FormatError(f"expected sequences behind one another in chunk {number}")
        for start, size in zip(offsets, sizes, strict=False):
            yield np.frombuffer(data, dtype, int(size) // dtype.itemsize, int(start))
