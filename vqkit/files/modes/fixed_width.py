"""Mode 0: every symbol in as many bits as its codebook's indices need."""

import numpy as np

from vqkit.coding import bits_for, pack, packed_size_bytes, unpack
from vqkit.errors import ShapeError
from vqkit.files.format_error import FormatError
from vqkit.files.modes.base import ChunkLayout, Indices
from vqkit.files.resources import CodingResources

__all__ = ["FixedWidth"]


class FixedWidth:
    """Blocks of packed bits, one per codebook: always possible, never larger."""

    number = 0
    name = "fixed width"

    def encode(self, indices: Indices, layout: ChunkLayout, resources: CodingResources) -> bytes:
        """Pack codebook after codebook."""
        return b"".join(
            pack(np.ascontiguousarray(column), bits_for(size))
            for column, size in zip(indices.T, layout.codebook_sizes, strict=True)
        )

    def decode(
        self, payload: bytes, layout: ChunkLayout, resources: CodingResources, num_codebooks: int
    ) -> Indices:
        """Unpack; bits of other codebooks are passed over."""
        count = layout.num_positions
        if len(payload) != layout.fixed_width_bytes:
            raise FormatError(
                f"expected {layout.fixed_width_bytes} bytes of packed tokens, got {len(payload)}"
            )
        indices = np.empty((count, num_codebooks), np.int64)
        start = 0
        for codebook, size in enumerate(layout.codebook_sizes[:num_codebooks]):
            stop = start + packed_size_bytes(count, bits_for(size))
            try:
                column = unpack(payload[start:stop], count, bits_for(size))
            except ShapeError:
                raise FormatError(
                    f"expected zeros in the unused bits after codebook {codebook}, got others"
                ) from None
            if column.size and int(column.max()) >= size:
                raise FormatError(
                    f"expected indices below {size} in codebook {codebook}, got {column.max()}"
                )
            indices[:, codebook] = column
            start = stop
        return indices
