"""The tables of a model: how often each code came in the media that they were counted on."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from vqkit.coding import FrequencyTable, StreamTables, can_have_tables
from vqkit.errors import ConfigError, ShapeError, TokenFileError
from vqkit.files.atomic import write_atomically

__all__ = ["TABLES_FILE", "CodeCounts", "TableSet"]

TABLES_FILE = "tables.safetensors"
"""Name of the file in a model's folder."""

_FORMAT = "vqkit tables"
_FORMAT_VERSION = 1
_MAX_FILE_BYTES = 64 << 20
_MAX_HEADER_BYTES = 1 << 20


@dataclass(frozen=True, eq=False)
class CodeCounts:
    """How often which codes of a codebook came.

    Args:
        codebook_size: Codes of the codebook.
        codes: int64 ``[distinct]``, each once.
        counts: int64 ``[distinct]``, how often each came.
    """

    codebook_size: int
    codes: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]


@dataclass(frozen=True)
class TableSet:
    """Tables by the name of the stream that they were counted on.

    Example:
        >>> zeros = CodeCounts(4, codes=np.array([0, 3]), counts=np.array([9, 1]))
        >>> tables = TableSet.from_counts({"tokens": [zeros]})
        >>> tables.streams["tokens"].codebook_sizes
        (4,)
    """

    streams: Mapping[str, StreamTables]

    @staticmethod
    def from_counts(counts: Mapping[str, Sequence[CodeCounts]]) -> "TableSet":
        """Tables of what was counted in each codebook of a stream.

        Raises:
            ConfigError: Codebooks whose tables would be too large.
        """
        for name, levels in counts.items():
            if not can_have_tables([level.codebook_size for level in levels]):
                raise ConfigError(
                    f"Tables of stream {name!r}: expected codebooks of up to 2^21 codes together, "
                    f"got {[level.codebook_size for level in levels]}. Code them without tables."
                )
        return TableSet(
            {
                name: StreamTables(
                    tuple(
                        FrequencyTable.of(level.codebook_size, level.codes, level.counts)
                        for level in levels
                    )
                )
                for name, levels in counts.items()
            }
        )

    def save(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write ``tables.safetensors`` into a model's folder, whole or not at all.

        Raises:
            TokenFileError: The file exists, or the file system refuses.
        """
        path = Path(folder) / TABLES_FILE

        def check(written: Path) -> None:
            if {n: s.digest for n, s in _read(written).streams.items()} != self.digests:
                raise TokenFileError(f"Cannot write {path}: expected to read back the same tables.")

        write_atomically(path, self._to_bytes(), overwrite=overwrite, check=check)
        return path

    @staticmethod
    def load(folder: str | os.PathLike[str]) -> "TableSet | None":
        """Read the tables of a model's folder; None if it has none.

        Raises:
            ConfigError: The file is damaged or of a newer format.
        """
        path = Path(folder) / TABLES_FILE
        return _read(path) if path.is_file() else None

    @property
    def digests(self) -> dict[str, bytes]:
        """By stream, what chunks call its tables."""
        return {name: tables.digest for name, tables in self.streams.items()}

    def _to_bytes(self) -> bytes:
        arrays = {
            f"{name}.{codebook}": table.counts.astype(np.int32)
            for name, tables in self.streams.items()
            for codebook, table in enumerate(tables.codebooks)
        }
        sizes = {name: list(tables.codebook_sizes) for name, tables in self.streams.items()}
        metadata = {
            "format": _FORMAT,
            "version": str(_FORMAT_VERSION),
            "codebook_sizes": json.dumps(sizes, sort_keys=True),
        }
        return save_safetensors(arrays, metadata=metadata)


def _read(path: Path) -> TableSet:
    try:
        size = path.stat().st_size
        if size > _MAX_FILE_BYTES:
            raise ConfigError(
                f"Tables {path}: expected up to {_MAX_FILE_BYTES} bytes, got {size}. Count the "
                f"tokens again with vqkit tables."
            )
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"Tables {path}: {error.strerror or error}. Check the rights.") from error
    try:
        sizes = _codebook_sizes(data)
        arrays = load_safetensors(data)
        names = [f"{name}.{i}" for name, levels in sizes.items() for i in range(len(levels))]
        if sorted(names) != sorted(arrays):
            raise ValueError(f"expected {sorted(names)[:8]}, got {sorted(arrays)[:8]}")
        return TableSet(
            {
                name: StreamTables(
                    tuple(
                        FrequencyTable(size, _counts(arrays[f"{name}.{codebook}"]))
                        for codebook, size in enumerate(levels)
                    )
                )
                for name, levels in sizes.items()
            }
        )
    except (SafetensorError, ShapeError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigError(
            f"Tables {path}: the file is damaged or of a newer vqkit ({error}). Count the tokens "
            f"again with vqkit tables."
        ) from error


def _codebook_sizes(data: bytes) -> dict[str, list[int]]:
    """What the metadata says; safetensors checks the rest of the header."""
    size = int.from_bytes(data[:8], "little")
    if size > _MAX_HEADER_BYTES:
        raise ValueError(f"expected a header of up to {_MAX_HEADER_BYTES} bytes, got {size}")
    header = json.loads(data[8 : 8 + size])
    metadata = header["__metadata__"]
    found = metadata["format"], metadata["version"]
    if found != (_FORMAT, str(_FORMAT_VERSION)):
        raise ValueError(f"expected {_FORMAT} of version {_FORMAT_VERSION}, got {found}")
    sizes = json.loads(metadata["codebook_sizes"])
    if type(sizes) is not dict:
        raise ValueError(f"expected sizes by stream, got {str(sizes)[:80]}")
    for name, levels in sizes.items():
        if type(levels) is not list or not levels or not all(map(_is_size, levels)):
            raise ValueError(f"expected sizes of the codebooks of {name!r}, got {str(levels)[:80]}")
        if not can_have_tables(levels):
            raise ValueError(f"expected smaller tables of {name!r}")
    checked: dict[str, list[int]] = sizes
    return checked


def _is_size(value: object) -> bool:
    return type(value) is int and 0 < value <= 1 << 62


def _counts(array: npt.NDArray[np.generic]) -> npt.NDArray[np.int64]:
    if array.dtype != np.int32:
        raise ValueError(f"expected counts in int32, got {array.dtype}")
    return array.astype(np.int64)
