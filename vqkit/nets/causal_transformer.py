"""The transformer of streaming codecs: each frame looks at a window of frames up to itself."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.errors import ConfigError
from vqkit.shapes import Float

__all__ = ["CausalTransformer"]

_ROTARY_BASE = 10_000.0


class CausalTransformer(nn.Module):
    """Layers of attention and perceptron over frames (Mimi, arXiv 2410.00037, section 3.3).

    Normalised before each branch (LayerNorm), branches scaled by a learned gain per feature, rotary
    positions (Su et al. 2021, in halves), GELU, no biases. A frame looks at the last ``window``
    frames, itself among them. Memory grows with the number of frames times the window, not with its
    square.

    Args:
        dim: Features of a frame.
        num_layers: Layers.
        num_heads: Heads of attention, which divide ``dim``.
        hidden_dim: Features inside the perceptron.
        window: Frames that a frame looks at.
        initial_gain: Of the branches.

    Raises:
        ConfigError: Sizes below 1, or heads whose size is odd or not whole.

    Example:
        >>> transformer = CausalTransformer(8, num_layers=1, num_heads=2, hidden_dim=16)
        >>> transformer(torch.zeros(1, 8, 5)).shape
        torch.Size([1, 8, 5])
    """

    def __init__(
        self,
        dim: int = 512,
        num_layers: int = 8,
        num_heads: int = 8,
        hidden_dim: int = 2048,
        window: int = 250,
        initial_gain: float = 0.01,
    ) -> None:
        super().__init__()
        if min(dim, num_layers, num_heads, hidden_dim, window) < 1 or dim % (2 * num_heads):
            raise ConfigError(
                "CausalTransformer: expected sizes >= 1 and a dim that twice the heads divide, got "
                f"dim {dim}, num_layers {num_layers}, num_heads {num_heads}, hidden_dim "
                f"{hidden_dim}, window {window}."
            )
        self.dim = dim
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.hidden_dim = hidden_dim
        self.window = window
        self.initial_gain = initial_gain
        self.layers = nn.ModuleList(
            _Layer(dim, num_heads, hidden_dim, window, initial_gain) for _ in range(num_layers)
        )

    def forward(self, x: Float[Tensor, "batch dim frames"]) -> Float[Tensor, "batch dim frames"]:
        """Same shape."""
        frames = x.transpose(1, 2)
        rotation = _rotation(frames.shape[1], self.dim // self.num_heads, frames)
        for layer in self.layers:
            frames = layer(frames, rotation)
        return frames.transpose(1, 2)


class _Layer(nn.Module):
    def __init__(
        self, dim: int, num_heads: int, hidden_dim: int, window: int, initial_gain: float
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.window = window
        self.norm1 = nn.LayerNorm(dim)
        self.in_proj = nn.Linear(dim, 3 * dim, bias=False)
        self.out_proj = nn.Linear(dim, dim, bias=False)
        self.gain1 = nn.Parameter(torch.full((dim,), initial_gain))
        self.norm2 = nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, hidden_dim, bias=False)
        self.linear2 = nn.Linear(hidden_dim, dim, bias=False)
        self.gain2 = nn.Parameter(torch.full((dim,), initial_gain))

    def forward(
        self, x: Float[Tensor, "batch frames dim"], rotation: tuple[Tensor, Tensor]
    ) -> Float[Tensor, "batch frames dim"]:
        """Same shape."""
        x = x + self.gain1 * self._attend(self.norm1(x), rotation)
        return x + self.gain2 * self.linear2(F.gelu(self.linear1(self.norm2(x))))

    def _attend(self, x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        batch, frames, dim = x.shape
        qkv = self.in_proj(x).view(batch, frames, 3, self.num_heads, dim // self.num_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        attended = _windowed_attention(_rotated(q, rotation), _rotated(k, rotation), v, self.window)
        out: Tensor = self.out_proj(attended.transpose(1, 2).reshape(batch, frames, dim))
        return out


def _rotation(num_frames: int, head_dim: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine of the angle of every frame and pair of features, ``[frames, head_dim]``."""
    pairs = torch.arange(0, head_dim, 2, device=like.device, dtype=torch.float32)
    frequencies = 1.0 / _ROTARY_BASE ** (pairs / head_dim)
    angles = torch.arange(num_frames, device=like.device)[:, None] * frequencies
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos().to(like.dtype), angles.sin().to(like.dtype)


def _rotated(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    cosine, sine = rotation
    first, second = x.chunk(2, dim=-1)
    return x * cosine + torch.cat([-second, first], dim=-1) * sine


def _windowed_attention(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    """Attention of ``[batch, heads, frames, head_dim]`` to the last ``window`` frames."""
    frames = q.shape[2]
    if frames <= 2 * window:
        distance = _distance(frames, frames, 0, q.device)
        return F.scaled_dot_product_attention(
            q, k, v, attn_mask=(distance >= 0) & (distance < window)
        )
    # In blocks of a window: each looks at itself and at the block before, and at nothing else.
    blocks = -(-frames // window)
    q = F.pad(q, (0, 0, 0, blocks * window - frames)).unflatten(2, (blocks, window))
    pair = [
        F.pad(x, (0, 0, window, blocks * window - frames)).unfold(2, 2 * window, window).mT
        for x in (k, v)
    ]
    distance = _distance(window, 2 * window, window, q.device)
    mask = (distance >= 0) & (distance < window)
    first = torch.arange(2 * window, device=q.device) >= window
    masks = torch.stack([mask & first, *[mask] * (blocks - 1)])
    attended = F.scaled_dot_product_attention(q, pair[0], pair[1], attn_mask=masks)
    return attended.flatten(2, 3)[:, :, :frames]


def _distance(queries: int, keys: int, offset: int, device: torch.device) -> Tensor:
    """How many frames back a key is, ``[queries, keys]``."""
    return (
        offset + torch.arange(queries, device=device)[:, None] - torch.arange(keys, device=device)
    )
