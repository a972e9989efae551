"""The network of a prior, written once more: int64 and loops, as ``docs/format.md`` has it."""

from collections.abc import Iterator
from decimal import Decimal
from itertools import product

import numpy as np

REACH = {1: (24,), 2: (3, 3), 3: (1, 2, 2), 4: (1, 1, 1, 1)}


def exponentials(scale: int, bits: int, lowest: int) -> list[int]:
    table = [scale]
    while table[-1] > lowest:
        value = scale * (Decimal(-len(table)) / 2**bits).exp()
        table.append(max(lowest, int(value.to_integral_value())))
    return table


KEYS, SYMBOLS = exponentials(255, 4, 0), exponentials(2**20, 5, 1)


def neighbours(grid: tuple[int, ...], position: int) -> Iterator[tuple[int, int]]:
    """Number of the offset and number of the position, of all that a position sees."""
    here = np.unravel_index(position, grid)
    offsets = product(*(range(-r, r + 1) for r in REACH[len(grid)]))
    for number, offset in enumerate(offsets):
        there = [int(a) + b for a, b in zip(here, offset, strict=True)]
        if all(0 <= a < size for a, size in zip(there, grid, strict=True)):
            yield number, int(np.ravel_multi_index(there, grid))


def normalised(hidden: np.ndarray) -> np.ndarray:
    root = np.sqrt((hidden**2).sum(-1, keepdims=True) / np.float64(hidden.shape[-1]))
    ratio = (hidden / np.maximum(root, 1.0)).astype(np.float32)
    return clipped(np.rint(ratio * np.float32(32)), 127)


def clipped(x: np.ndarray, limit: int) -> np.ndarray:
    return np.clip(x, -limit, limit).astype(np.int64)


class ReferenceNetwork:
    def __init__(self, integers: dict[str, np.ndarray], num_levels: int, depth: int) -> None:
        self.integers = {name: value.astype(np.int64) for name, value in integers.items()}
        self.num_levels, self.depth = num_levels, depth

    def linear(self, name: str, x: np.ndarray, x_bits: int) -> np.ndarray:
        """Exact: whole numbers below 2^53, times a power of two."""
        sums = x @ self.integers[f"{name}.weight"].T
        row_bits = self.integers[f"{name}.weight_bits"]
        bias = self.integers[f"{name}.bias"]
        return sums / 2.0 ** (x_bits + row_bits) + bias / 2.0**8

    def features(self, levels: np.ndarray, grid: tuple[int, ...]) -> np.ndarray:
        hidden = 0
        for level in range(self.num_levels):
            table = self.integers[f"embeddings.{level}.weight"]
            hidden = hidden + table[np.where(levels[:, level] < 0, -1, levels[:, level])]
        hidden = clipped(hidden, 2**15 - 1)
        for block in range(self.depth):
            hidden = self.block(f"blocks.{block}", hidden, grid)
        return normalised(hidden)

    def block(self, name: str, hidden: np.ndarray, grid: tuple[int, ...]) -> np.ndarray:
        projected = self.linear(f"{name}.queries_keys_values", normalised(hidden), 5)
        attended = self.attend(name, clipped(np.rint(projected * 16), 127), grid)
        hidden = self.added(hidden, self.linear(f"{name}.attention_out", attended, 4))
        units = np.maximum(0, self.linear(f"{name}.hidden_in", normalised(hidden), 5))
        units = clipped(np.rint(units * 16), 127)
        return self.added(hidden, self.linear(f"{name}.hidden_out", units, 4))

    def added(self, hidden: np.ndarray, change: np.ndarray) -> np.ndarray:
        return clipped(np.rint(hidden + change * 2**8), 2**15 - 1)

    def attend(self, name: str, projected: np.ndarray, grid: tuple[int, ...]) -> np.ndarray:
        bias = self.integers[f"{name}.offset_bias"]
        attended = np.zeros((len(projected), projected.shape[1] // 3), np.int64)
        queries, keys, values = np.split(projected, 3, axis=1)
        for head, position in product(range(len(bias)), range(len(projected))):
            part = slice(32 * head, 32 * head + 32)
            seen = list(neighbours(grid, position))
            scores = [
                int(queries[position, part] @ keys[other, part]) + int(bias[head, offset])
                for offset, other in seen
            ]
            below = [(max(scores) - score) / 2**10 for score in scores]
            places = [min(int(np.rint(b * 16)), len(KEYS) - 1) for b in below]
            weights = [KEYS[place] for place in places]
            total = sum(
                w * values[other, part] for w, (_, other) in zip(weights, seen, strict=True)
            )
            mean = (total / 16 / np.float64(sum(weights))).astype(np.float32)
            attended[position, part] = clipped(np.rint(mean * 16), 127)
        return attended

    def weights(self, features: np.ndarray, level: int) -> np.ndarray:
        units = np.rint(self.linear(f"heads.{level}", features, 5) * 32)
        below = (units.max(-1, keepdims=True) - units).astype(np.int64)
        return np.array(SYMBOLS)[np.minimum(below, len(SYMBOLS) - 1)]
