"""What coding may need besides the file: tables and a prior, which lie in the model's folder."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from vqkit.coding import StreamTables
from vqkit.files.format_error import FormatError
from vqkit.files.tables import TableSet
from vqkit.priors import PRIOR_FILE, read_prior
from vqkit.tokenizers.folder import read_spec

__all__ = ["ChunkPrior", "CodingResources", "MissingResourceError"]


@runtime_checkable
class ChunkPrior(Protocol):
    """A learned model of token grids that codes chunks, the same on every machine."""

    @property
    def digest(self) -> bytes:
        """Four bytes over everything that decoding depends on."""

    def covers(self, stream: str, grid: tuple[int, ...], codebook_sizes: tuple[int, ...]) -> bool:
        """Whether it can code chunks of this stream, grid and codebooks."""

    def encode(
        self,
        stream: str,
        indices: npt.NDArray[np.int64],
        grid: tuple[int, ...],
        codebook_sizes: tuple[int, ...],
    ) -> bytes | None:
        """Code ``indices [positions, codebooks]``, positions of the grid in C order, or refuse.

        The writer decodes what this gives and falls back to other modes where it differs.
        """

    def decode(
        self,
        stream: str,
        payload: bytes,
        grid: tuple[int, ...],
        codebook_sizes: tuple[int, ...],
    ) -> npt.NDArray[np.int64]:
        """The inverse of `encode`.

        Raises:
            CodingError: Bytes that no encoder writes.
        """


@dataclass(frozen=True)
class CodingResources:
    """What a model lends to the coding of its tokens.

    Args:
        tables: How often its codes come, for modes 1 and 7.
        prior: A learned model of the tokens, for mode 5.
        embedded: Tables that the file itself holds, by stream; the container puts them here.

    Example:
        >>> CodingResources().prior is None
        True
    """

    tables: TableSet | None = None
    prior: ChunkPrior | None = None
    embedded: TableSet = field(default_factory=lambda: TableSet({}))

    @staticmethod
    def of_model(folder: str | os.PathLike[str]) -> "CodingResources":
        """What a model's folder holds for coding.

        Raises:
            ConfigError: A file there is damaged, or it is no model's folder.
            ModelMismatchError: Its prior is another model's.
        """
        path = Path(folder)
        has_prior = (path / PRIOR_FILE).is_file()
        prior = read_prior(path, read_spec(path).fingerprint) if has_prior else None
        return CodingResources(tables=TableSet.load(path), prior=prior)

    def with_embedded(self, stream: str, tables: StreamTables) -> "CodingResources":
        """The same with tables of the file itself."""
        return replace(self, embedded=TableSet({**self.embedded.streams, stream: tables}))

    def tables_for(self, stream: str, codebook_sizes: Sequence[int]) -> StreamTables | None:
        """The tables to code a stream with, the file's own before the model's."""
        for found in self._table_sets:
            tables = found.streams.get(stream)
            if tables is not None and tables.covers(codebook_sizes):
                return tables
        return None

    def find_tables(self, digest: bytes) -> StreamTables | None:
        """The tables of this digest."""
        return self._by_digest.get(digest)

    @property
    def table_digests(self) -> tuple[bytes, ...]:
        """All tables that are at hand."""
        return tuple(self._by_digest)

    @property
    def _table_sets(self) -> list[TableSet]:
        return [self.embedded] if self.tables is None else [self.embedded, self.tables]

    @property
    def _by_digest(self) -> dict[bytes, StreamTables]:
        return {
            tables.digest: tables for found in self._table_sets for tables in found.streams.values()
        }


class MissingResourceError(FormatError):
    """A chunk names a table or a prior by its digest that the reader was not given."""

    def __init__(self, what: str) -> None:
        super().__init__(
            what,
            fix="Name the folder of the model that has it with -m (resources=... in Python).",
        )
