"""Tar files of arrays and JSON, as WebDataset reads them."""

import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt

from vqkit.files.dataset.export.base import ExportFormat, Sink, id_dtype
from vqkit.files.format_error import FormatError

__all__ = ["WebDataset"]

_SHARD_BYTES = 256 << 20
_SAMPLES_PER_SHARD = 10_000


@final
class WebDataset(ExportFormat):
    """``tokens-NNNNNN.tar`` of ``NNNNNNNNN.npy``, the ids, and ``.json``, the number of the sample.

    The numbers are those of the lines of ``samples.jsonl``: keys may be anything, names of files
    may not.
    """

    name = "webdataset"

    def dtype(self, vocabulary_size: int) -> np.dtype[Any]:
        """16 or 32 bits, unsigned."""
        return id_dtype(vocabulary_size)

    def open(self, folder: Path, dtype: np.dtype[Any], tokenizer: str) -> Sink:
        """Begin to write."""
        return _Sink(folder)

    def read(
        self, folder: Path, dtype: np.dtype[Any], lengths: Iterable[int]
    ) -> Iterator[npt.NDArray[Any]]:
        """The arrays of all tar files in order, which must have the lengths that are known."""
        arrays = _arrays(folder)
        count = 0
        for count, length in enumerate(lengths, 1):
            found = next(arrays, None)
            if found is None or found[0] != f"{count - 1:09d}.npy":
                raise FormatError(f"expected array number {count - 1}, got another")
            start = max(0, len(found[1]) - length * dtype.itemsize)
            ids = np.frombuffer(found[1][start : start + length * dtype.itemsize], dtype)
            if found[1] != _npy(ids) or len(ids) != length:
                raise FormatError(f"expected {length} ids in {found[0]}, got another array")
            yield ids
        if next(arrays, None) is not None:
            raise FormatError(f"expected {count} arrays, got more")


class _Sink(Sink):
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._tar: tarfile.TarFile | None = None
        self._num_shards = self._num_samples = self._num_in_shard = 0

    def add(self, ids: npt.NDArray[Any]) -> None:
        if self._tar is None:
            name = f"tokens-{self._num_shards:06d}.tar"
            self._tar = tarfile.TarFile(self.folder / name, "w", format=tarfile.USTAR_FORMAT)
            self._num_shards += 1
            self._num_in_shard = 0
        name = f"{self._num_samples:09d}"
        document = json.dumps({"number": self._num_samples, "num_ids": len(ids)}).encode()
        for suffix, data in (("npy", _npy(ids)), ("json", document)):
            member = tarfile.TarInfo(f"{name}.{suffix}")
            member.size = len(data)
            self._tar.addfile(member, io.BytesIO(data))
        self._num_samples += 1
        self._num_in_shard += 1
        if self._num_in_shard == _SAMPLES_PER_SHARD or self._tar.offset >= _SHARD_BYTES:
            self.close()

    def close(self) -> None:
        if self._tar is not None:
            self._tar.close()
            self._tar = None


def _arrays(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the arrays of all tar files."""
    for number in range(len([*folder.glob("tokens-*.tar")])):
        path = folder / f"tokens-{number:06d}.tar"
        try:
            with tarfile.open(path, "r:") as tar:
                for member in tar:
                    file = tar.extractfile(member) if member.isreg() else None
                    if file is None:
                        raise FormatError(f"expected files in {path.name}, got {member.name!a}")
                    if member.name.endswith(".npy"):
                        yield member.name, file.read()
        except tarfile.TarError as error:
            raise FormatError(f"expected a tar file in {path.name} ({error})") from None


def _npy(ids: npt.NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, ids, version=(1, 0), allow_pickle=False)
    return buffer.getvalue()
