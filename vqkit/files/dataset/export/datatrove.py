"""datatrove's tokenized files, which nanotron reads."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt

from vqkit.files.dataset.export.base import ExportFormat, Sink, id_dtype, read_flat
from vqkit.files.dataset.export.ends import read_ends, write_end
from vqkit.files.format_error import FormatError

__all__ = ["Datatrove"]

_IDS, _INDEX, _METADATA = "tokens.ds", "tokens.ds.index", "tokens.ds.metadata"
_MAX_METADATA_BYTES = 4096


@final
class Datatrove(ExportFormat):
    """``tokens.ds``: the ids. ``.index``: where samples end, as uint64 numbers of ids.

    ``.metadata`` is text: the tokenizer and the bytes of an id, the number of ids, the same for
    people.
    """

    name = "datatrove"

    def dtype(self, vocabulary_size: int) -> np.dtype[Any]:
        """16 or 32 bits; a reader has to be told which."""
        return id_dtype(vocabulary_size)

    def open(self, folder: Path, dtype: np.dtype[Any], tokenizer: str) -> Sink:
        """Begin to write."""
        return _Sink(folder, dtype, tokenizer)

    def read(
        self, folder: Path, dtype: np.dtype[Any], lengths: Iterable[int]
    ) -> Iterator[npt.NDArray[Any]]:
        """The sequences, by the ends of the index, which must be those that are known."""
        with (folder / _METADATA).open("rb") as file:
            lines = file.read(_MAX_METADATA_BYTES).decode("utf-8", "replace").split("\n")
        if len(lines) != 3 or not lines[0].endswith(f"|{dtype.itemsize}"):
            raise FormatError(f"expected ids of {dtype.itemsize} bytes in {_METADATA}")
        with (folder / _IDS).open("rb") as ids, (folder / _INDEX).open("rb") as index:
            yield from read_flat(ids, dtype, read_ends(index, lengths))


class _Sink(Sink):
    def __init__(self, folder: Path, dtype: np.dtype[Any], tokenizer: str) -> None:
        self.folder = folder
        self.dtype = dtype
        self.tokenizer = tokenizer
        self._count = 0
        self._ids = (folder / _IDS).open("wb")
        self._index = (folder / _INDEX).open("wb")

    def add(self, ids: npt.NDArray[Any]) -> None:
        self._ids.write(ids.tobytes())
        self._count += len(ids)
        write_end(self._index, self._count)

    def close(self) -> None:
        self._ids.close()
        self._index.close()
        name = self.tokenizer or "unnamed"
        text = f"{name}|{self.dtype.itemsize}\n{self._count}\n{self._count / 1e6:.1f} MT"
        (self.folder / _METADATA).write_text(text, encoding="utf-8")
