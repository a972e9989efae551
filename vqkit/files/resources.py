"""What coding may need besides the file: tables and a prior, which lie in the model's folder."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from vqkit.files.format_error import FormatError

__all__ = ["DIGEST_BYTES", "ChunkPrior", "CodingResources", "MissingResourceError"]

DIGEST_BYTES = 4
"""Length of the digests by which chunks name what they were coded with."""


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
        prior: A learned model of the tokens, for mode 5.

    Example:
        >>> CodingResources().prior is None
        True
    """

    prior: ChunkPrior | None = None


class MissingResourceError(FormatError):
    """A chunk names a table or a prior by its digest that the reader was not given."""

    def __init__(self, what: str) -> None:
        super().__init__(
            what,
            fix="Name the folder of the model that has it with -m (resources=... in Python).",
        )
