"""A learned prior of token grids: it codes them, measures them, and fills in what is lost."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vqkit.coding import RangeDecoder, RangeEncoder
from vqkit.errors import CodingError, ShapeError
from vqkit.priors.fixed_point import symbol_weights
from vqkit.priors.integers import digest, freeze
from vqkit.priors.levels import UNKNOWN, Levels
from vqkit.priors.network import PriorNetwork
from vqkit.priors.order import reveal_order, step_bounds
from vqkit.shapes import Int
from vqkit.tokenizers import Tokens

__all__ = ["MAX_POSITIONS", "Prior", "PriorSpec"]

MAX_POSITIONS = 1 << 16
"""Positions of the largest grid that is coded: decoding takes `NUM_STEPS` passes over them."""

_SYMBOLS_PER_BYTE = 16  # at most: what a file costs to decode is bounded by its size
_WEIGHTS_AT_ONCE = 1 << 20
_FILL_ROUNDS = 4

Indices = npt.NDArray[np.int64]
Weights = npt.NDArray[np.float64]
Grid = tuple[int, ...]


@dataclass(frozen=True)
class PriorSpec:
    """Which tokens a prior is for.

    Args:
        stream: Name of the stream.
        rank: Axes of its grid.
        codebook_sizes: Its codebooks.
        fingerprint: Of the tokenizer, 32 hex digits.
    """

    stream: str
    rank: int
    codebook_sizes: tuple[int, ...]
    fingerprint: str

    @property
    def levels(self) -> Levels:
        """What is predicted, one after the other."""
        return Levels(self.codebook_sizes)


@final
class Prior:
    """A trained network and the tokens it is for.

    Its predictions are whole numbers that are the same on every machine, so that it may code files
    (coding mode 5). Levels come one after the other, and the positions of each in the order of
    `reveal_order`: those of one step are predicted together from all that came before.

    Args:
        spec: What it is for.
        network: Is frozen: its weights become the fixed-point numbers that they stand for.

    Example:
        >>> spec = PriorSpec("tokens", 2, (16,), "0" * 32)
        >>> prior = Prior(spec, PriorNetwork((16,), rank=2, dim=32, depth=1))
        >>> indices = np.arange(12, dtype=np.int64)[:, None]
        >>> data = prior.encode("tokens", indices, (3, 4), (16,))
        >>> bool((prior.decode("tokens", data, (3, 4), (16,)) == indices).all())
        True
    """

    def __init__(self, spec: PriorSpec, network: PriorNetwork) -> None:
        if (network.level_sizes, network.rank) != (spec.levels.sizes, spec.rank):
            raise ShapeError(
                f"Prior: expected a network of levels {spec.levels.sizes} in a grid of "
                f"{spec.rank} axes, got {network.level_sizes} and {network.rank}."
            )
        self.spec = spec
        self.network = freeze(network)

    @cached_property
    def digest(self) -> bytes:
        """Four bytes over everything that decoding depends on."""
        return digest(self.network)

    def covers(self, stream: str, grid: Grid, codebook_sizes: tuple[int, ...]) -> bool:
        """Whether it can code chunks of this stream, grid and codebooks, or the first of them."""
        return bool(
            stream == self.spec.stream
            and len(grid) == self.spec.rank
            and codebook_sizes
            and codebook_sizes == self.spec.codebook_sizes[: len(codebook_sizes)]
            and prod(grid) <= MAX_POSITIONS
        )

    def encode(
        self, stream: str, indices: Indices, grid: Grid, codebook_sizes: tuple[int, ...]
    ) -> bytes | None:
        """Code ``indices [positions, codebooks]``, positions in C order.

        None where fewer bytes would do than decoding may cost: other modes serve such chunks.
        """
        self._check_covered(stream, grid, codebook_sizes)
        symbols = Levels(codebook_sizes).split(torch.from_numpy(indices))
        encoder = RangeEncoder()
        for level, places, weights in self._predictions(symbols, grid):
            encoder.encode_each(symbols[places, level].numpy(), weights)
        data = encoder.to_bytes()
        return data if len(data) * _SYMBOLS_PER_BYTE >= symbols.numel() else None

    def decode(
        self, stream: str, payload: bytes, grid: Grid, codebook_sizes: tuple[int, ...]
    ) -> Indices:
        """The inverse of `encode`: int64 ``[positions, codebooks]``.

        Raises:
            CodingError: Bytes that no encoder writes.
        """
        self._check_covered(stream, grid, codebook_sizes)
        levels = Levels(codebook_sizes)
        symbols = torch.full((prod(grid), len(levels.sizes)), UNKNOWN)
        if len(payload) * _SYMBOLS_PER_BYTE < symbols.numel():
            raise CodingError(
                f"expected a byte for {_SYMBOLS_PER_BYTE} of {symbols.numel()} symbols, "
                f"got {len(payload)}"
            )
        decoder = RangeDecoder(payload)
        for level, places, weights in self._predictions(symbols, grid):
            symbols[places, level] = torch.from_numpy(decoder.decode_each(weights))
        decoder.finish()
        return levels.join(symbols).numpy()

    def bits(self, indices: Int[Tensor, "*grid codebooks"]) -> float:
        """Information of a whole grid, all tokens known: ``-log2`` of its probability."""
        grid = tuple(indices.shape[:-1])
        symbols = self.spec.levels.split(indices.cpu().flatten(0, -2))
        total = 0.0
        for level, places, weights in self._predictions(symbols, grid):
            chosen = np.take_along_axis(weights, symbols[places, level].numpy()[:, None], axis=1)
            total += float(np.log2(weights.sum(1) / chosen[:, 0]).sum())
        return total

    def fill(self, indices: Int[Tensor, "*grid codebooks"]) -> Int[Tensor, "*grid codebooks"]:
        """Put the likeliest tokens where they are unknown (-1).

        Level by level, in four rounds: each takes those that the network is surest of, and the next
        sees them (as in MaskGIT, Chang et al. 2022, without drawing).
        """
        grid, device = tuple(indices.shape[:-1]), indices.device
        levels = self.spec.levels
        symbols = levels.split(indices.cpu().flatten(0, -2))
        for level in range(len(levels.sizes)):
            for left in reversed(range(_FILL_ROUNDS)):
                places = torch.nonzero(symbols[:, level] < 0)[:, 0]
                if not len(places):
                    break
                values, certainty = self._likeliest(symbols, grid, level, places)
                num_taken = len(places) - len(places) * left // (left + 1)
                taken = torch.argsort(certainty, descending=True, stable=True)[:num_taken]
                symbols[places[taken], level] = values[taken]
        filled = levels.join(symbols).view_as(indices).to(device)
        largest = torch.tensor(self.spec.codebook_sizes, device=device) - 1
        return torch.where(indices < 0, torch.minimum(filled, largest), indices)

    def fill_tokens(self, tokens: Tokens) -> Tokens:
        """The same tokens without unknown ones in the stream that the prior is for."""
        name = self.spec.stream
        items = []
        for number in range(len(tokens)):
            item = tokens.item(number)
            filled = self.fill(item.streams[name].indices[0])[None]
            items.append(item.with_indices(name, filled))
        return Tokens.stack(items)

    def _predictions(self, symbols: Tensor, grid: Grid) -> Iterator[tuple[int, Tensor, Weights]]:
        """Level, positions, and the weights of their values, in the order of coding.

        A step sees the ``symbols`` of the steps before it alone: a decoder fills them in meanwhile.
        """
        order, bounds = reveal_order(grid), step_bounds(grid)
        known = symbols.new_full((len(symbols), len(self.spec.levels.sizes)), UNKNOWN)
        for level in range(symbols.shape[1]):
            for first, last in bounds:
                places = order[first:last]
                for piece, weights in self._weights(known, grid, level, places):
                    yield level, piece, weights
                known[places, level] = symbols[places, level]

    def _likeliest(
        self, symbols: Tensor, grid: Grid, level: int, places: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Values that weigh most at the places, and their shares."""
        values, shares = [], []
        for _, weights in self._weights(symbols, grid, level, places):
            values.append(weights.argmax(1))
            shares.append(weights.max(1) / weights.sum(1))
        return torch.from_numpy(np.concatenate(values)), torch.from_numpy(np.concatenate(shares))

    @torch.inference_mode()
    def _weights(
        self, symbols: Tensor, grid: Grid, level: int, places: Tensor
    ) -> Iterator[tuple[Tensor, Weights]]:
        """Whole-number weights ``[count, size]`` of the values at the places, in pieces."""
        device = next(self.network.parameters()).device
        features = self.network(symbols[None].to(device), grid)[0]
        for piece in places.split(max(1, _WEIGHTS_AT_ONCE // self.spec.levels.sizes[level])):
            logits = self.network.logits(features[piece.to(device)], level)
            yield piece, symbol_weights(logits).cpu().numpy()

    def _check_covered(self, stream: str, grid: Grid, codebook_sizes: tuple[int, ...]) -> None:
        if not self.covers(stream, grid, codebook_sizes):
            raise ShapeError(
                f"Prior of stream {self.spec.stream!r} with codebooks {self.spec.codebook_sizes}: "
                f"expected a grid of {self.spec.rank} axes and up to {MAX_POSITIONS} positions, "
                f"got stream {stream!r}, codebooks {codebook_sizes}, grid {grid}."
            )
