"""What a coding mode is."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from vqkit.coding import RangeDecoder, bits_for, packed_size_bytes
from vqkit.errors import CodingError
from vqkit.files.format_error import FormatError
from vqkit.files.resources import CodingResources

__all__ = ["ChunkLayout", "CodingMode", "Indices", "as_columns", "range_decoded"]

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ChunkLayout:
    """What a chunk holds: the stream's name, the grid of its positions, the codebooks."""

    stream: str
    grid: tuple[int, ...]
    codebook_sizes: tuple[int, ...]

    def with_unknown(self) -> "ChunkLayout":
        """Codebooks with one more value at the top, which stands for an unknown token."""
        return replace(self, codebook_sizes=tuple(size + 1 for size in self.codebook_sizes))

    @property
    def num_positions(self) -> int:
        """Places of the grid."""
        return prod(self.grid)

    @property
    def fixed_width_bytes(self) -> int:
        """Bytes of all symbols at fixed width: the most that a payload may have."""
        return sum(
            packed_size_bytes(self.num_positions, bits_for(size)) for size in self.codebook_sizes
        )


@runtime_checkable
class CodingMode(Protocol):
    """One way of coding a chunk, with the number that stands in the file."""

    number: int
    name: str

    def encode(
        self, indices: Indices, layout: ChunkLayout, resources: CodingResources
    ) -> bytes | None:
        """The payload of ``indices [positions, codebooks]``; None if the mode cannot code them."""

    def decode(
        self, payload: bytes, layout: ChunkLayout, resources: CodingResources, num_codebooks: int
    ) -> Indices:
        """The first codebooks, ``[positions, num_codebooks]``.

        Raises:
            FormatError: Bytes that no encoder writes, or resources that are missing.
        """


def as_columns(columns: Sequence[Indices]) -> Indices:
    """``[positions, codebooks]``; a single codebook is not copied, which would take a while."""
    return columns[0][:, None] if len(columns) == 1 else np.stack(columns, axis=1)


@contextmanager
def range_decoded(payload: bytes, *, to_the_end: bool) -> Iterator[RangeDecoder]:
    """A decoder of the payload, all of which must be used if it is decoded to the end."""
    try:
        decoder = RangeDecoder(payload)
        yield decoder
        if to_the_end:
            decoder.finish()
    except CodingError as error:
        raise FormatError(str(error)) from None
