"""Modes 1 and 7: as modes 2 and 3, but from a table on instead of from nothing."""

from vqkit.coding import (
    DIGEST_BYTES,
    RangeEncoder,
    StreamTables,
    decode_adaptively,
    decode_by_neighbours,
    encode_adaptively,
    encode_by_neighbours,
)
from vqkit.files.format_error import FormatError
from vqkit.files.modes.base import ChunkLayout, Indices, as_columns, range_decoded
from vqkit.files.resources import CodingResources, MissingResourceError

__all__ = ["Tabled", "TabledNeighbours"]


class Tabled:
    """The digest of the tables, then codebook after codebook, predicted by table and counts."""

    number = 1
    name = "table"

    def encode(
        self, indices: Indices, layout: ChunkLayout, resources: CodingResources
    ) -> bytes | None:
        """Code with the stream's tables, if there are some for its codebooks."""
        tables = resources.tables_for(layout.stream, layout.codebook_sizes)
        if tables is None:
            return None
        encoder = RangeEncoder()
        for codebook, size in enumerate(layout.codebook_sizes):
            encode_adaptively(indices[:, codebook], size, encoder, tables.codebooks[codebook])
        return tables.digest + encoder.to_bytes()

    def decode(
        self, payload: bytes, layout: ChunkLayout, resources: CodingResources, num_codebooks: int
    ) -> Indices:
        """Decode with the tables that the payload names, as far as the codebooks asked for."""
        tables, coded = _tables(payload, layout, resources)
        sizes = layout.codebook_sizes
        with range_decoded(coded, to_the_end=num_codebooks == len(sizes)) as decoder:
            columns = [
                decode_adaptively(layout.num_positions, size, decoder, table)
                for size, table in zip(
                    sizes[:num_codebooks], tables.codebooks[:num_codebooks], strict=True
                )
            ]
        return as_columns(columns)


class TabledNeighbours:
    """The digest of the tables, then which neighbour a symbol equals and the other symbols."""

    number = 7
    name = "table, neighbours"

    def encode(
        self, indices: Indices, layout: ChunkLayout, resources: CodingResources
    ) -> bytes | None:
        """Code with the stream's tables, if there are some for its codebooks."""
        tables = resources.tables_for(layout.stream, layout.codebook_sizes)
        if tables is None:
            return None
        encoder = RangeEncoder()
        encode_by_neighbours(indices, layout.grid, layout.codebook_sizes, encoder, tables.codebooks)
        return tables.digest + encoder.to_bytes()

    def decode(
        self, payload: bytes, layout: ChunkLayout, resources: CodingResources, num_codebooks: int
    ) -> Indices:
        """Decode with the tables that the payload names, as far as the codebooks asked for."""
        tables, coded = _tables(payload, layout, resources)
        sizes = layout.codebook_sizes
        with range_decoded(coded, to_the_end=num_codebooks == len(sizes)) as decoder:
            return decode_by_neighbours(
                layout.grid, sizes[:num_codebooks], decoder, tables.codebooks
            )


def _tables(
    payload: bytes, layout: ChunkLayout, resources: CodingResources
) -> tuple[StreamTables, bytes]:
    """The tables whose digest the payload begins with, and the rest of it."""
    if len(payload) < DIGEST_BYTES:
        raise FormatError(f"expected the digest of tables, got {len(payload)} bytes")
    digest = payload[:DIGEST_BYTES]
    tables = resources.find_tables(digest)
    if tables is None:
        known = ", ".join(sorted(found.hex() for found in resources.table_digests))
        raise MissingResourceError(
            f"expected the tables with digest {digest.hex()}, got {known or 'none'}"
        )
    if not tables.covers(layout.codebook_sizes):
        raise FormatError(
            f"expected tables of codebooks {list(layout.codebook_sizes)}, got "
            f"{list(tables.codebook_sizes)}"
        )
    return tables, payload[DIGEST_BYTES:]
