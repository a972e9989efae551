"""Scores of codes, ``(z W^T + bias + noise) / temperature``, one tile of tokens x codes at a time.

Noise is standard Gumbel noise, and a function of the token's key and the code's number
(:mod:`vqkit.ops.counter_noise`): a tile made twice, or cut otherwise, has the same.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from vqkit.ops.counter_noise import gumbel_noise
from vqkit.ops.float32 import full_float32

__all__ = ["ScoreTiles", "wide_float"]

# Numbers of one tile, and tokens from which a product has its speed. Codes are split only where
# the two do not go together: then each pass over a block of tokens computes its scores again.
_CPU = (2**21, 64)
_ACCELERATOR = (2**25, 512)


class ScoreTiles:
    """The scores of one call: an iteration over blocks of tokens, and the tiles of a block."""

    def __init__(
        self,
        z: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        temperature: Tensor | None,
        keys: Tensor | None,
    ) -> None:
        self.z, self.weight, self.bias, self.keys = z, weight, bias, keys
        self.inverse = 1.0 if temperature is None else 1.0 / temperature
        size, min_rows = _CPU if z.device.type == "cpu" else _ACCELERATOR
        num_codes = len(weight)
        rows = max(min_rows, size // num_codes)
        columns = num_codes if num_codes <= size // min_rows else size // rows
        self.blocks = [slice(i, min(i + rows, len(z))) for i in range(0, len(z), rows)]
        self.columns = [slice(i, min(i + columns, num_codes)) for i in range(0, num_codes, columns)]

    def tile(self, block: Tensor, rows: slice, codes: slice) -> Tensor:
        """Scores ``[rows, codes]`` in a tensor of the caller's own."""
        weight = self.weight[codes]
        if self.bias is None:
            scores = block @ weight.T
        else:
            scores = torch.addmm(self.bias[codes], block, weight.T)
        if self.keys is not None:
            numbers = torch.arange(codes.start, codes.stop, device=scores.device)
            scores += gumbel_noise(self.keys[rows], numbers)
        return scores.mul_(self.inverse)

    def block(self, rows: slice) -> "Block":
        """Tokens of one block; the scores are kept where one tile holds all the codes."""
        return Block(self, rows)


class Block:
    """Scores of some tokens, to be gone through as often as wanted."""

    def __init__(self, tiles: ScoreTiles, rows: slice) -> None:
        self._tiles, self._rows = tiles, rows
        self.z = tiles.z[rows]
        self._only: Tensor | None = None

    def __iter__(self) -> Iterator[tuple[slice, Tensor]]:
        """Codes and their scores ``[rows, codes]``, which nobody may change in place."""
        for codes in self._tiles.columns:
            if self._only is None:
                scores = self._tiles.tile(self.z, self._rows, codes)
                if len(self._tiles.columns) == 1:
                    self._only = scores
            else:
                scores = self._only
            yield codes, scores

    def softmax_mean(self, of: Callable[[slice, Tensor], Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Largest score, sum of ``exp(score - largest)`` and softmax mean of ``of``, ``[rows, 1]``.

        Args:
            of: Gives the numbers to average, ``[rows, codes]``, for some codes and their scores.
        """
        peak = self.z.new_full((len(self.z), 1), -math.inf)
        mass, mean = torch.zeros_like(peak), torch.zeros_like(peak)
        for codes, scores in self:
            new = torch.maximum(peak, scores.amax(1, keepdim=True))
            weights, shrink = (scores - new).exp_(), torch.exp(peak - new)
            mass = mass * shrink + weights.sum(1, keepdim=True)
            mean = mean * shrink + torch.linalg.vecdot(weights, of(codes, scores))[:, None]
            peak = new
        return peak, mass, mean / mass


@contextmanager
def wide_float(device: torch.device) -> Iterator[None]:
    """No autocast and no TensorFloat-32: backward runs under whatever the caller has set."""
    with torch.no_grad(), torch.autocast(device.type, enabled=False), full_float32(device):
        yield
