"""Megatron-LM's indexed data sets, which NeMo and GPT-NeoX read too."""

import struct
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt

from vqkit.errors import ConfigError
from vqkit.files.dataset.export.base import ExportFormat, Sink, read_flat
from vqkit.files.format_error import FormatError

__all__ = ["Megatron"]

_IDS, _INDEX = "tokens.bin", "tokens.idx"
_MAGIC = b"MMIDIDX\x00\x00"
_VERSION = 1
_CODES = {"uint16": 8, "int32": 4}
# Below this size Megatron itself takes 16 bits.
_SMALL_VOCABULARY = 65_500
_HEAD = struct.Struct("<9sQBQQ")


@final
class Megatron(ExportFormat):
    """``tokens.bin``: the ids. ``tokens.idx``: every sample is one sequence and one document.

    The index holds magic, version, a code of the dtype, the numbers of sequences and of document
    boundaries; then int32 lengths, int64 byte offsets, and int64 numbers of the sequences that
    documents begin at, with the number of all sequences last.
    """

    name = "megatron"

    def dtype(self, vocabulary_size: int) -> np.dtype[Any]:
        """16 bits where Megatron takes them, else 32 bits with a sign."""
        if vocabulary_size > 1 << 31:
            raise ConfigError(
                f"Megatron: expected up to {1 << 31} ids, got {vocabulary_size}. Split indices of "
                f"that many codes into several codebooks."
            )
        return np.dtype("<u2" if vocabulary_size < _SMALL_VOCABULARY else "<i4")

    def open(self, folder: Path, dtype: np.dtype[Any], tokenizer: str) -> Sink:
        """Begin to write."""
        return _Sink(folder, dtype)

    def read(
        self, folder: Path, dtype: np.dtype[Any], lengths: Iterable[int]
    ) -> Iterator[npt.NDArray[Any]]:
        """The sequences, by the lengths of the index, which must be those that are known."""
        sizes = _read_index((folder / _INDEX).read_bytes(), dtype)
        with (folder / _IDS).open("rb") as file:
            yield from read_flat(file, dtype, _same(sizes, lengths))


class _Sink(Sink):
    def __init__(self, folder: Path, dtype: np.dtype[Any]) -> None:
        self.folder = folder
        self.dtype = dtype
        self._sizes = array("i")
        self._file = (folder / _IDS).open("wb")

    def add(self, ids: npt.NDArray[Any]) -> None:
        self._file.write(ids.tobytes())
        self._sizes.append(len(ids))

    def close(self) -> None:
        self._file.close()
        sizes = np.array(self._sizes, "<i4")
        offsets = np.concatenate([[0], np.cumsum(sizes, dtype="<i8")]) * self.dtype.itemsize
        documents = np.arange(len(sizes) + 1, dtype="<i8")
        code = _CODES[self.dtype.name]
        with (self.folder / _INDEX).open("wb") as file:
            file.write(_HEAD.pack(_MAGIC, _VERSION, code, len(sizes), len(documents)))
            file.write(sizes.tobytes())
            file.write(offsets[:-1].astype("<i8").tobytes())
            file.write(documents.tobytes())


def _read_index(data: bytes, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Lengths of the sequences, once everything else follows from them."""
    if len(data) < _HEAD.size:
        raise FormatError(f"expected an index in {_INDEX}, got {len(data)} bytes")
    magic, version, code, num_sequences, num_documents = _HEAD.unpack_from(data)
    if (magic, version, code) != (_MAGIC, _VERSION, _CODES[dtype.name]):
        raise FormatError(f"expected an index of version {_VERSION} and {dtype.name} in {_INDEX}")
    if num_documents != num_sequences + 1 or len(data) != _HEAD.size + 20 * num_sequences + 8:
        raise FormatError(f"expected a document for each of {num_sequences} sequences in {_INDEX}")
    sizes = np.frombuffer(data, "<i4", num_sequences, _HEAD.size)
    offsets = np.frombuffer(data, "<i8", num_sequences, _HEAD.size + 4 * num_sequences)
    ends = np.cumsum(sizes, dtype=np.int64) * dtype.itemsize
    documents = np.frombuffer(data, "<i8", offset=_HEAD.size + 12 * num_sequences)
    is_sound = (sizes >= 0).all() and np.array_equal(offsets, ends - sizes * dtype.itemsize)
    if not is_sound or not np.array_equal(documents, np.arange(num_sequences + 1)):
        raise FormatError(f"expected sequences behind one another in {_INDEX}, got others")
    return sizes


def _same(sizes: npt.NDArray[Any], lengths: Iterable[int]) -> Iterator[int]:
    count = 0
    for count, length in enumerate(lengths, 1):
        if count > len(sizes) or sizes[count - 1] != length:
            raise FormatError(f"expected a sequence of {length} ids as number {count} in {_INDEX}")
        yield length
    if count != len(sizes):
        raise FormatError(f"expected {count} sequences in {_INDEX}, got {len(sizes)}")
