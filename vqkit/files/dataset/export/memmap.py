"""A flat array with offsets, as nanoGPT, OLMo and torchtitan map it into memory."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt

from vqkit.files.dataset.export.base import ExportFormat, Sink, id_dtype, read_flat
from vqkit.files.dataset.export.ends import read_ends, write_end
from vqkit.files.format_error import FormatError

__all__ = ["Memmap"]

_IDS, _OFFSETS = "tokens.bin", "offsets.npy"
# A header of NumPy's format 1.0, whose length of 128 bytes leaves room for any count.
_HEADER_BYTES = 128


@final
class Memmap(ExportFormat):
    """``tokens.bin``: the ids. ``offsets.npy``: int64, where samples begin, and the end of all."""

    name = "memmap"

    def dtype(self, vocabulary_size: int) -> np.dtype[Any]:
        """16 or 32 bits, unsigned."""
        return id_dtype(vocabulary_size)

    def open(self, folder: Path, dtype: np.dtype[Any], tokenizer: str) -> Sink:
        """Begin to write."""
        return _Sink(folder)

    def read(
        self, folder: Path, dtype: np.dtype[Any], lengths: Iterable[int]
    ) -> Iterator[npt.NDArray[Any]]:
        """The sequences, by the offsets, which must be those that are known."""
        with (folder / _IDS).open("rb") as ids, (folder / _OFFSETS).open("rb") as offsets:
            header, first = offsets.read(_HEADER_BYTES), offsets.read(8)
            if header[:8] != b"\x93NUMPY\x01\x00" or first != bytes(8):
                raise FormatError(f"expected offsets from 0 on in {_OFFSETS}")
            yield from read_flat(ids, dtype, read_ends(offsets, lengths))


class _Sink(Sink):
    def __init__(self, folder: Path) -> None:
        self._count = self._num_samples = 0
        self._ids = (folder / _IDS).open("wb")
        self._offsets = (folder / _OFFSETS).open("wb")
        self._offsets.write(bytes(_HEADER_BYTES))
        write_end(self._offsets, 0)

    def add(self, ids: npt.NDArray[Any]) -> None:
        self._ids.write(ids.tobytes())
        self._count += len(ids)
        self._num_samples += 1
        write_end(self._offsets, self._count)

    def close(self) -> None:
        self._ids.close()
        self._offsets.seek(0)
        self._offsets.write(_npy_header(self._num_samples + 1))
        self._offsets.close()


def _npy_header(length: int) -> bytes:
    """Of a NumPy file of int64, of fixed length so that it can be written last."""
    text = f"{{'descr': '<i8', 'fortran_order': False, 'shape': ({length},), }}"
    return (
        b"\x93NUMPY\x01\x00"
        + (_HEADER_BYTES - 10).to_bytes(2, "little")
        + (text.ljust(_HEADER_BYTES - 11) + "\n").encode()
    )
