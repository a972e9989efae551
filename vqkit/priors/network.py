"""The network of a prior: a masked transformer over the token grid, in fixed-point numbers."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from vqkit.errors import ConfigError
from vqkit.priors.fixed_point import (
    ACTIVATION_BITS,
    BIAS_BITS,
    BIAS_LIMIT,
    EIGHT_BITS,
    HEAD_DIM,
    MAX_FAN_IN,
    NORM_BITS,
    OFFSET_BITS,
    OFFSET_LIMIT,
    RESIDUAL_BITS,
    RESIDUAL_LIMIT,
    Rounded,
    RoundedRows,
    attention_weights,
    rounded,
)
from vqkit.priors.tiling import MAX_RANK, Tiling, num_offsets, tiling
from vqkit.shapes import Bool, Float, Int

__all__ = ["PriorNetwork"]

_SCORE_DIVISOR = 4.0  # near the root of HEAD_DIM, and a power of two
_UNSEEN = -float(1 << 13)  # far below any score: at most 32 * 7.9^2 / 4, and 1,024 of an offset


@final
class PriorNetwork(nn.Module):
    """Predicts the unknown tokens of a grid from the known ones.

    Each position attends to its neighbourhood (`Tiling`), so that grids of every size will do. All
    arithmetic is that of `fixed_point`: results do not depend on the machine. The masked
    transformer as a model for coding follows M2T (Mentzer, Agustsson and Tschannen 2023).

    Args:
        level_sizes: Number of values of each level.
        rank: Axes of the grid, 1 to 4.
        dim: Width, a multiple of 32 up to 512.
        depth: Blocks.

    Raises:
        ConfigError: Sizes out of range.

    Example:
        >>> network = PriorNetwork((512,), rank=2, dim=32, depth=1)
        >>> features = network(torch.full((1, 5 * 7, 1), -1), (5, 7))
        >>> network.logits(features, level=0).shape
        torch.Size([1, 35, 512])
    """

    def __init__(
        self, level_sizes: Sequence[int], rank: int, dim: int = 128, depth: int = 4
    ) -> None:
        super().__init__()
        if not 1 <= rank <= MAX_RANK:
            raise ConfigError(f"Prior: expected a grid of 1 to {MAX_RANK} axes, got {rank}.")
        if dim % HEAD_DIM or not 0 < dim <= MAX_FAN_IN:
            raise ConfigError(
                f"Prior: expected a dim that {HEAD_DIM} divides, up to {MAX_FAN_IN}, got {dim}."
            )
        if not level_sizes:
            raise ConfigError("Prior: expected a codebook of two codes or more, got none.")
        self.level_sizes = tuple(level_sizes)
        self.rank = rank
        self.dim = dim
        self.depth = depth
        # The last row stands for an unknown token.
        self.embeddings = nn.ModuleList(_embedding(size + 1, dim) for size in self.level_sizes)
        self.blocks = nn.ModuleList(_Block(dim, num_offsets(rank)) for _ in range(depth))
        self.heads = nn.ModuleList(_linear(dim, size) for size in self.level_sizes)

    def forward(
        self,
        levels: Int[Tensor, "batch positions levels"],
        grid: tuple[int, ...],
        inside: Bool[Tensor, "batch positions"] | None = None,
    ) -> Float[Tensor, "batch positions dim"]:
        """Features of every position, for `logits`.

        Args:
            levels: Values of the levels of all positions in C order; -1 where unknown.
            grid: Sizes of the axes.
            inside: Which positions there are, in a batch of grids padded to one size; None for all.
        """
        if inside is None:
            inside = levels.new_ones(levels.shape[:2], dtype=torch.bool)
        tiles = tiling(grid).to(levels.device)
        seen = tiles.seen(inside)
        # Autocast would round sums to bfloat16.
        with torch.autocast(levels.device.type, enabled=False):
            hidden = torch.zeros(1, device=levels.device)
            for column, size, embedding in zip(
                levels.unbind(-1), self.level_sizes, self.embeddings, strict=True
            ):
                hidden = hidden + embedding(torch.where(column < 0, size, column))
            hidden = rounded(hidden, RESIDUAL_BITS, RESIDUAL_LIMIT)
            for block in self.blocks:
                hidden = block(hidden, tiles, seen)
            return _normalised(hidden)

    def logits(
        self, features: Float[Tensor, "*positions dim"], level: int
    ) -> Float[Tensor, "*positions size"]:
        """Logarithms of what a level's values weigh."""
        with torch.autocast(features.device.type, enabled=False):
            logits: Tensor = self.heads[level](features)
        return logits


class _Block(nn.Module):
    def __init__(self, dim: int, offsets: int) -> None:
        super().__init__()
        self.dim = dim
        self.num_heads = dim // HEAD_DIM
        self.queries_keys_values = _linear(dim, 3 * dim)
        self.offset_bias = nn.Parameter(torch.zeros(self.num_heads, offsets))
        parametrize.register_parametrization(
            self, "offset_bias", Rounded(OFFSET_BITS, OFFSET_LIMIT)
        )
        self.attention_out = _linear(dim, dim)
        width = min(4 * dim, MAX_FAN_IN)
        self.hidden_in = _linear(dim, width)
        self.hidden_out = _linear(width, dim)

    def forward(self, hidden: Tensor, tiles: Tiling, seen: Tensor) -> Tensor:
        """``[batch, positions, dim]``, numbers of `RESIDUAL_BITS`."""
        attended = self._attend(_normalised(hidden), tiles, seen)
        hidden = rounded(hidden + self.attention_out(attended), RESIDUAL_BITS, RESIDUAL_LIMIT)
        units = F.relu(self.hidden_in(_normalised(hidden)))
        units = rounded(units, ACTIVATION_BITS, EIGHT_BITS)
        return rounded(hidden + self.hidden_out(units), RESIDUAL_BITS, RESIDUAL_LIMIT)

    def _attend(self, x: Tensor, tiles: Tiling, seen: Tensor) -> Tensor:
        projected = rounded(self.queries_keys_values(x), ACTIVATION_BITS, EIGHT_BITS)
        padded = F.pad(projected, (0, 0, 0, 1))  # for keys beyond the grid
        queries, keys, values = padded.split(self.dim, -1)
        q = self._heads(queries[:, tiles.queries])
        k = self._heads(keys[:, tiles.keys])
        v = self._heads(values[:, tiles.keys])
        bias = F.pad(self.offset_bias, (0, 1), value=_UNSEEN)[:, tiles.offsets]
        scores = (q / _SCORE_DIVISOR) @ k.transpose(-1, -2) + bias
        weights = attention_weights(torch.where(seen, scores, _UNSEEN))
        total = weights.sum(-1, keepdim=True)
        attended = ((weights @ v).double() / total.double()).float()
        attended = rounded(attended, ACTIVATION_BITS, EIGHT_BITS)
        flat = attended.transpose(2, 3).flatten(1, 2).flatten(2)  # [batch, queries, dim]
        return flat[:, tiles.places]

    def _heads(self, x: Tensor) -> Tensor:
        """``[batch, tiles, positions, dim]`` to ``[batch, tiles, heads, positions, head dim]``."""
        return x.unflatten(-1, (self.num_heads, HEAD_DIM)).transpose(2, 3)


def _normalised(hidden: Tensor) -> Tensor:
    """Divided by the root of the mean square, in numbers of `NORM_BITS`.

    Squares are whole numbers below 2^30: float64 holds their sum exactly.
    """
    wide = hidden.double()
    mean_square = wide.square().sum(-1, keepdim=True) / hidden.shape[-1]
    root = torch.sqrt(mean_square.clamp(min=4.0**-RESIDUAL_BITS))
    return rounded((wide / root).float(), NORM_BITS, EIGHT_BITS)


def _linear(fan_in: int, fan_out: int) -> nn.Linear:
    linear = nn.Linear(fan_in, fan_out)
    nn.init.normal_(linear.weight, std=0.5 * fan_in**-0.5)
    nn.init.zeros_(linear.bias)
    parametrize.register_parametrization(linear, "weight", RoundedRows())
    parametrize.register_parametrization(linear, "bias", Rounded(BIAS_BITS, BIAS_LIMIT))
    return linear


def _embedding(num_rows: int, dim: int) -> nn.Embedding:
    embedding = nn.Embedding(num_rows, dim)
    nn.init.normal_(embedding.weight, std=0.5)
    parametrize.register_parametrization(
        embedding, "weight", Rounded(RESIDUAL_BITS, RESIDUAL_LIMIT)
    )
    return embedding
