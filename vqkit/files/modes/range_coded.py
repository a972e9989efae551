"""Modes 2 and 3: range-coded symbols, predicted from what has passed, without any table."""

from vqkit.coding import (
    RangeEncoder,
    decode_adaptively,
    decode_by_neighbours,
    encode_adaptively,
    encode_by_neighbours,
)
from vqkit.files.modes.base import ChunkLayout, Indices, as_columns, range_decoded
from vqkit.files.resources import CodingResources

__all__ = ["Adaptive", "Neighbours"]


class Adaptive:
    """Codebook after codebook, each predicted from its own frequencies so far."""

    number = 2
    name = "adaptive"

    def encode(self, indices: Indices, layout: ChunkLayout, resources: CodingResources) -> bytes:
        """Count and code."""
        encoder = RangeEncoder()
        for column, size in zip(indices.T, layout.codebook_sizes, strict=True):
            encode_adaptively(column, size, encoder)
        return encoder.to_bytes()

    def decode(
        self, payload: bytes, layout: ChunkLayout, resources: CodingResources, num_codebooks: int
    ) -> Indices:
        """Count and decode, as far as the codebooks asked for."""
        sizes = layout.codebook_sizes
        with range_decoded(payload, to_the_end=num_codebooks == len(sizes)) as decoder:
            columns = [
                decode_adaptively(layout.num_positions, size, decoder)
                for size in sizes[:num_codebooks]
            ]
        return as_columns(columns)


class Neighbours:
    """Which neighbour a symbol equals, and the symbols that equal none."""

    number = 3
    name = "neighbours"

    def encode(self, indices: Indices, layout: ChunkLayout, resources: CodingResources) -> bytes:
        """Count and code."""
        encoder = RangeEncoder()
        encode_by_neighbours(indices, layout.grid, layout.codebook_sizes, encoder)
        return encoder.to_bytes()

    def decode(
        self, payload: bytes, layout: ChunkLayout, resources: CodingResources, num_codebooks: int
    ) -> Indices:
        """Count and decode, as far as the codebooks asked for."""
        sizes = layout.codebook_sizes
        with range_decoded(payload, to_the_end=num_codebooks == len(sizes)) as decoder:
            return decode_by_neighbours(layout.grid, sizes[:num_codebooks], decoder)
