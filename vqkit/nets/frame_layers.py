"""What speech recognisers do with frames: layers of attention, or of convolutions over time."""

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.errors import ConfigError
from vqkit.shapes import Bool, Float

__all__ = ["AttentionLayers", "ConvLayers", "FrameAttention", "FrameLayers", "perceptron"]


class FrameLayers(nn.Module, ABC):
    """Layers over frames whose number they keep.

    Attributes:
        dim: Features of a frame.
        look_ahead: Frames after a frame that it depends on, at most; None is all of them.
    """

    dim: int

    @property
    @abstractmethod
    def look_ahead(self) -> int | None:
        """Frames after a frame that it depends on, at most; None is all of them."""

    @abstractmethod
    def forward(
        self,
        frames: Float[Tensor, "batch frames dim"],
        valid: Bool[Tensor, "batch frames"] | None = None,
    ) -> Float[Tensor, "batch frames dim"]:
        """Same shape.

        Args:
            frames: Features, last axis.
            valid: False where an item has ended; valid frames do not depend on the others. None
                means that all are valid.
        """


class AttentionLayers(FrameLayers):
    """A pre-norm transformer (Whisper, arXiv 2212.04356): attention, then a perceptron with GELU.

    Args:
        dim: Features of a frame.
        num_layers: Layers.
        num_heads: Heads of attention, which divide ``dim``.
        hidden_dim: Features inside the perceptron.
        block_frames: A frame looks at the frames of its own block of so many and of all blocks
            before, so that a stream is encoded block by block (arXiv 2411.17607, section 2.1).
            None lets it look at all.

    Raises:
        ConfigError: Sizes below 1, or heads that do not divide ``dim``.

    Example:
        >>> layers = AttentionLayers(8, num_layers=1, num_heads=2, hidden_dim=16, block_frames=4)
        >>> layers(torch.zeros(1, 6, 8)).shape, layers.look_ahead
        (torch.Size([1, 6, 8]), 3)
    """

    def __init__(
        self,
        dim: int = 1280,
        num_layers: int = 16,
        num_heads: int = 20,
        hidden_dim: int = 5120,
        block_frames: int | None = None,
    ) -> None:
        super().__init__()
        least = min(dim, num_layers + 1, num_heads, hidden_dim, block_frames or 1)
        if least < 1 or dim % num_heads or block_frames == 0:
            raise ConfigError(
                "AttentionLayers: expected num_layers >= 0, other sizes >= 1 and heads that divide "
                f"dim, got dim {dim}, num_layers {num_layers}, num_heads {num_heads}, hidden_dim "
                f"{hidden_dim}, block_frames {block_frames}."
            )
        self.dim = dim
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.hidden_dim = hidden_dim
        self.block_frames = block_frames
        self.layers = nn.ModuleList(
            _AttentionLayer(dim, num_heads, hidden_dim) for _ in range(num_layers)
        )

    @property
    def look_ahead(self) -> int | None:
        """The rest of a block."""
        return None if self.block_frames is None else self.block_frames - 1

    def forward(
        self,
        frames: Float[Tensor, "batch frames dim"],
        valid: Bool[Tensor, "batch frames"] | None = None,
    ) -> Float[Tensor, "batch frames dim"]:
        """Same shape."""
        seen = self._seen(frames, valid)
        for layer in self.layers:
            frames = layer(frames, seen)
        return frames

    def _seen(self, frames: Tensor, valid: Tensor | None) -> Tensor | None:
        """Which frames (last axis) a frame looks at, ``[batch or 1, 1, frames, frames]``."""
        seen = None
        if valid is not None:
            # An item without any frame looks at its first all the same: a softmax needs something.
            first = torch.arange(frames.shape[1], device=frames.device) == 0
            seen = (valid | first)[:, None, None, :]
        if self.block_frames is not None:
            block = torch.arange(frames.shape[1], device=frames.device) // self.block_frames
            earlier = (block <= block[:, None])[None, None]
            seen = earlier if seen is None else earlier & seen
        return seen


class ConvLayers(FrameLayers):
    """ConvNeXt blocks over time (Liu et al. 2022): small, and quick to learn from little speech.

    Args:
        dim: Features of a frame.
        num_layers: Blocks.
        hidden_dim: Features inside the perceptron.
        kernel: Frames that a block looks at, odd.
        causal: Look at a frame and those before it alone, not at as many on both sides.
        dropout: Of the branches, in training.

    Raises:
        ConfigError: Sizes below 1, an even kernel, a dropout outside [0, 1).

    Example:
        >>> layers = ConvLayers(8, num_layers=2, hidden_dim=16, kernel=7)
        >>> layers(torch.zeros(1, 6, 8)).shape, layers.look_ahead
        (torch.Size([1, 6, 8]), 6)
    """

    def __init__(
        self,
        dim: int = 128,
        num_layers: int = 4,
        hidden_dim: int = 384,
        kernel: int = 7,
        causal: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        least = min(dim, num_layers + 1, hidden_dim, kernel)
        if least < 1 or kernel % 2 == 0 or not 0.0 <= dropout < 1.0:
            raise ConfigError(
                "ConvLayers: expected num_layers >= 0, other sizes >= 1, an odd kernel and 0 <= "
                f"dropout < 1, got dim {dim}, num_layers {num_layers}, hidden_dim {hidden_dim}, "
                f"kernel {kernel}, dropout {dropout}."
            )
        self.dim = dim
        self.num_layers = num_layers
        self.hidden_dim = hidden_dim
        self.kernel = kernel
        self.causal = causal
        self.dropout = dropout
        self.layers = nn.ModuleList(
            _ConvLayer(dim, hidden_dim, kernel, causal, dropout) for _ in range(num_layers)
        )

    @property
    def look_ahead(self) -> int | None:
        """Half a kernel per block, none where they are causal."""
        return 0 if self.causal else self.num_layers * (self.kernel // 2)

    def forward(
        self,
        frames: Float[Tensor, "batch frames dim"],
        valid: Bool[Tensor, "batch frames"] | None = None,
    ) -> Float[Tensor, "batch frames dim"]:
        """Same shape."""
        for layer in self.layers:
            frames = layer(frames if valid is None else frames * valid[..., None])
        return frames


class FrameAttention(nn.Module):
    """Attention with several heads; keys have no bias, as in Whisper.

    Args:
        dim: Features.
        num_heads: Heads, which divide them.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim, bias=False)
        self.value = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)

    def forward(
        self,
        x: Float[Tensor, "batch queries dim"],
        context: Float[Tensor, "batch keys dim"],
        seen: Tensor | None,
    ) -> Float[Tensor, "batch queries dim"]:
        """Look from ``x`` at ``context``, where ``seen`` (to be broadcast over heads) is True."""
        query, key, value = (
            part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for part in (self.query(x), self.key(context), self.value(context))
        )
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        out: Tensor = self.out(attended.transpose(1, 2).flatten(2))
        return out


def perceptron(dim: int, hidden_dim: int) -> nn.Sequential:
    """Two linear layers, GELU between them."""
    return nn.Sequential(nn.Linear(dim, hidden_dim), nn.GELU(), nn.Linear(hidden_dim, dim))


class _AttentionLayer(nn.Module):
    def __init__(self, dim: int, num_heads: int, hidden_dim: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = FrameAttention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim)
        self.perceptron = perceptron(dim, hidden_dim)

    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        normed = self.norm1(x)
        x = x + self.attention(normed, normed, seen)
        out: Tensor = x + self.perceptron(self.norm2(x))
        return out


class _ConvLayer(nn.Module):
    """Depthwise convolution, norm, perceptron, around it a connection."""

    def __init__(
        self, dim: int, hidden_dim: int, kernel: int, causal: bool, dropout: float
    ) -> None:
        super().__init__()
        side = kernel // 2
        self.sides = (kernel - 1, 0) if causal else (side, side)
        self.depthwise = nn.Conv1d(dim, dim, kernel, groups=dim)
        self.norm = nn.LayerNorm(dim)
        self.perceptron = perceptron(dim, hidden_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.depthwise(F.pad(x.mT, self.sides)).mT
        out: Tensor = x + self.dropout(self.perceptron(self.norm(mixed)))
        return out
