"""What each format of exported tokens does, and what they share."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np
import numpy.typing as npt

from vqkit.files.format_error import FormatError

__all__ = ["ExportFormat", "Sink", "id_dtype", "read_flat"]

Ids = npt.NDArray[Any]


class Sink(ABC):
    """Takes the sequences of an export one by one and holds none of them."""

    @abstractmethod
    def add(self, ids: Ids) -> None:
        """Write a sequence, which has the export's dtype."""

    @abstractmethod
    def close(self) -> None:
        """Write what comes last."""


class ExportFormat(ABC):
    """A layout of files that some trainer reads.

    Attributes:
        name: On the command line and in sidecars.
    """

    name: ClassVar[str]

    @abstractmethod
    def dtype(self, vocabulary_size: int) -> np.dtype[Any]:
        """Little-endian type of the ids.

        Raises:
            ConfigError: The format has none for that many.
        """

    @abstractmethod
    def open(self, folder: Path, dtype: np.dtype[Any], tokenizer: str) -> Sink:
        """Begin to write into an empty folder."""

    @abstractmethod
    def read(self, folder: Path, dtype: np.dtype[Any], lengths: Iterable[int]) -> Iterator[Ids]:
        """The sequences of a folder, whose lengths are known.

        Raises:
            FormatError: The files hold other sequences, or are damaged.
        """


def id_dtype(vocabulary_size: int) -> np.dtype[Any]:
    """The smaller of 16 and 32 bits, unsigned, that holds every id.

    >>> id_dtype(65_536), id_dtype(65_537)
    (dtype('uint16'), dtype('uint32'))
    """
    return np.dtype("<u2" if vocabulary_size <= 1 << 16 else "<u4")


def read_flat(file: BinaryIO, dtype: np.dtype[Any], lengths: Iterable[int]) -> Iterator[Ids]:
    """Sequences that lie behind one another up to the end of a file.

    Raises:
        FormatError: The file ends before the last of them, or goes on after it.
    """
    for length in lengths:
        data = file.read(length * dtype.itemsize)
        if len(data) != length * dtype.itemsize:
            raise FormatError(f"expected {length} more ids, got the end of the file")
        yield np.frombuffer(data, dtype)
    if file.read(1):
        raise FormatError("expected the end of the ids, got more")
