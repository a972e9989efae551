"""Mode 4: ranks of the codes by their frequency, for archives that are read fast."""

import numpy as np

from vqkit.coding import (
    MAX_ALPHABET,
    FrequencyTable,
    StreamTables,
    can_have_tables,
    decode_ranks,
    encode_ranks,
)
from vqkit.errors import CodingError
from vqkit.files.format_error import FormatError
from vqkit.files.modes.base import ChunkLayout, Indices
from vqkit.files.resources import CodingResources

__all__ = ["Archive"]

_LENGTH_BYTES = 4
_MIN_SYMBOLS = 1 << 14  # of fewer the tables weigh too much


class Archive:
    """The length of the tables, tables of all codebooks, then length and ranks of each codebook."""

    number = 4
    name = "archive"

    def encode(
        self, indices: Indices, layout: ChunkLayout, resources: CodingResources
    ) -> bytes | None:
        """Code ranks, unless symbols are few or a codebook is too large for a table."""
        if indices.size < _MIN_SYMBOLS or not _can_rank(layout):
            return None
        tables = StreamTables(
            tuple(
                FrequencyTable.of(size, np.arange(size), np.bincount(column, minlength=size))
                for column, size in zip(indices.T, layout.codebook_sizes, strict=True)
            )
        )
        parts = [tables.to_bytes()]
        for column, table in zip(indices.T, tables.codebooks, strict=True):
            if table.codebook_size > 1:
                parts.append(encode_ranks(column, table))
        return b"".join(len(part).to_bytes(_LENGTH_BYTES, "little") + part for part in parts)

    def decode(
        self, payload: bytes, layout: ChunkLayout, resources: CodingResources, num_codebooks: int
    ) -> Indices:
        """Decode the ranks of the codebooks asked for, and pass over the others."""
        if not _can_rank(layout):
            raise FormatError(
                f"expected codebooks of up to {MAX_ALPHABET} codes, got "
                f"{list(layout.codebook_sizes)[:8]}"
            )
        sizes, count = layout.codebook_sizes, layout.num_positions
        indices = np.zeros((count, num_codebooks), np.int64)
        try:
            coded, rest = _split(payload)
            tables = StreamTables.from_bytes(coded, sizes)
            for codebook, table in enumerate(tables.codebooks):
                if table.codebook_size > 1:
                    coded, rest = _split(rest)
                    if codebook < num_codebooks:
                        indices[:, codebook] = decode_ranks(coded, count, table)
        except CodingError as error:
            raise FormatError(str(error)) from None
        if rest:
            raise FormatError(f"expected the end of the ranks, got {len(rest)} more bytes")
        return indices


def _can_rank(layout: ChunkLayout) -> bool:
    return max(layout.codebook_sizes) <= MAX_ALPHABET and can_have_tables(layout.codebook_sizes)


def _split(data: bytes) -> tuple[bytes, bytes]:
    """What a length and as many bytes after it are, and the rest."""
    size = int.from_bytes(data[:_LENGTH_BYTES], "little")
    if len(data) < _LENGTH_BYTES + size:
        raise CodingError(f"expected {size} bytes of ranks or tables, got fewer")
    return data[_LENGTH_BYTES : _LENGTH_BYTES + size], data[_LENGTH_BYTES + size :]
