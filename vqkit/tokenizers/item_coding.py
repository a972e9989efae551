"""What of a prepared item the networks take at a time, and how their tokens make one grid."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from vqkit.shapes import Float, Int
from vqkit.tokenizers.chunking import Chunking

__all__ = ["ItemCoding"]

Encoding = Callable[[Iterable[Tensor]], Tensor]
"""Pieces of waveforms or a picture ``[rows, channels, *size]`` to ``[rows, *grid, codebooks]``."""

Decoding = Callable[[Tensor], Iterator[Tensor]]
"""The way back, in pieces."""


@dataclass(frozen=True)
class ItemCoding:
    """Items as they are, or each channel alone, or in chunks, or both.

    Args:
        codes_alone: Whether every channel is an item of one channel to the networks. The tokens
            have an axis ``channel`` after that of time.
        chunking: Whether, and in what chunks, the networks take a sound.
    """

    codes_alone: bool = False
    chunking: Chunking | None = None

    def rows(
        self, media: Float[Tensor, "batch channels *size"]
    ) -> Float[Tensor, "rows row_channels *size"]:
        """What the networks take as items."""
        return media.flatten(0, 1)[:, None] if self.codes_alone else media

    def joined(
        self, indices: Int[Tensor, "rows *grid codebooks"], batch_size: int = 1
    ) -> Int[Tensor, "batch *whole_grid codebooks"]:
        """Indices of items of the indices of their rows."""
        if not self.codes_alone:
            return indices
        rows_per_item = len(indices) // batch_size
        return indices.unflatten(0, (batch_size, rows_per_item)).movedim(1, 2).contiguous()

    def parted(
        self, indices: Int[Tensor, "batch *whole_grid codebooks"]
    ) -> Int[Tensor, "rows *grid codebooks"]:
        """The inverse of :meth:`joined`."""
        return indices.movedim(2, 1).flatten(0, 1) if self.codes_alone else indices

    def encode(
        self, pieces: Iterable[Float[Tensor, "1 channels *size"]], networks: Encoding
    ) -> dict[str, Tensor]:
        """Indices ``[1, *grid, codebooks]`` of one item by the name of their stream.

        Args:
            pieces: The item, whole or, if it is a sound, one piece after the other.
            networks: Media to indices.
        """
        rows = map(self.rows, pieces)
        if self.chunking is None:
            return {"tokens": self.joined(networks(rows))}
        streams = self.chunking.encode(rows, lambda chunk: networks([chunk]))
        return {name: self.joined(indices) for name, indices in streams.items()}

    def decode(
        self, streams: Mapping[str, Tensor], num_samples: int, stride: int, networks: Decoding
    ) -> Iterator[Float[Tensor, "channels *size"]]:
        """The inverse: what one item decodes to, in pieces if it is a sound.

        Args:
            streams: Indices ``[1, *grid, codebooks]``.
            num_samples: Of the prepared sound.
            stride: Samples per position.
            networks: Indices to media.
        """
        parted = {name: self.parted(x) for name, x in streams.items()}
        if self.chunking is None:
            pieces = networks(parted["tokens"])
        else:
            pieces = self.chunking.decode(
                parted, num_samples, stride, lambda x: torch.cat(list(networks(x)), dim=-1)
            )
        return (piece.flatten(0, 1) for piece in pieces)
