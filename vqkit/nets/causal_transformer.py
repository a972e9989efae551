"""The transformer of streaming codecs: each frame looks at a window of frames up to itself."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.errors import ConfigError
from vqkit.nets.stream import Span, Stream
from vqkit.shapes import Float

__all__ = ["CausalTransformer"]

_ROTARY_BASE = 10_000.0

_Kept = tuple[Tensor, Tensor]
"""Keys and values ``[batch, heads, frames, head_dim]`` of frames that are looked at again."""


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
        rotation = self.rotation(0, frames)
        for layer in self.layers:
            frames = layer(frames, rotation)
        return frames.transpose(1, 2)

    def stream(self) -> Stream:
        """Begin a signal."""
        return _TransformerStream(self)

    def rotation(self, first: int, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine and sine for ``[batch, frames, dim]`` of which the first is number ``first``."""
        return _rotation(first, frames.shape[1], self.dim // self.num_heads, frames)


class _TransformerStream(Stream):
    """Keeps keys and values of the last window of frames, per layer."""

    def __init__(self, transformer: CausalTransformer) -> None:
        self._transformer = transformer
        self._num_frames = 0
        self._kept: list[_Kept | None] = [None] * len(transformer.layers)
        # Which of the kept frames belong to a row's signal; None while all do.
        self._valid: Tensor | None = None
        self._empty: Tensor | None = None

    def push(self, x: Tensor) -> Tensor:
        self._empty = x[..., :0].clone()
        # A window at a time: the attention of more would need memory for what it masks.
        parts = [self._step(part) for part in x.split(self._transformer.window, dim=-1)]
        return torch.cat(parts, dim=-1)

    def _step(self, x: Tensor) -> Tensor:
        if not x.shape[-1]:
            return x
        frames = x.transpose(1, 2)
        rotation = self._transformer.rotation(self._num_frames, frames)
        self._num_frames += x.shape[-1]
        if self._valid is not None:
            self._valid = F.pad(self._valid, (0, x.shape[-1]), value=True)
        for i, layer in enumerate(self._transformer.layers):
            assert isinstance(layer, _Layer)
            frames, self._kept[i] = layer.continued(frames, rotation, self._kept[i], self._valid)
        if self._valid is not None:
            self._valid = _last(self._valid, self._transformer.window - 1, dim=-1)
        return frames.transpose(1, 2)

    def finish(self) -> Tensor:
        assert self._empty is not None
        return self._empty

    def span(self, first: float, last: float) -> Span:
        layers = len(self._transformer.layers)
        return first - layers * (self._transformer.window - 1), last

    def restart(self, rows: Tensor) -> None:
        kept = self._kept[0]
        if kept is None:
            return
        if self._valid is None:
            num_kept = kept[0].shape[2]
            self._valid = torch.ones(len(rows), num_kept, dtype=torch.bool, device=rows.device)
        self._valid = self._valid & ~rows[:, None]


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
        return self._perceived(x + self.gain1 * self._attend(self.norm1(x), rotation))

    def continued(
        self,
        x: Tensor,
        rotation: tuple[Tensor, Tensor],
        kept: _Kept | None,
        valid: Tensor | None,
    ) -> tuple[Tensor, _Kept]:
        """At most a window of frames that follow others.

        Args:
            x: ``[batch, frames, dim]``.
            rotation: Of these frames.
            kept: Keys and values of the frames before.
            valid: ``[batch, kept + frames]``, which frames a row may look at; None is all.

        Returns:
            The frames, and the keys and values to keep.
        """
        q, k, v = self._heads(self.norm1(x), rotation)
        if kept is not None:
            k, v = torch.cat([kept[0], k], dim=2), torch.cat([kept[1], v], dim=2)
        distance = _distance(q.shape[2], k.shape[2], k.shape[2] - q.shape[2], q.device)
        mask = (distance >= 0) & (distance < self.window)
        if valid is not None:
            mask = mask & valid[:, None, None, :]
        attended = self._joined(F.scaled_dot_product_attention(q, k, v, attn_mask=mask))
        rest = _last(k, self.window - 1, dim=2), _last(v, self.window - 1, dim=2)
        return self._perceived(x + self.gain1 * attended), rest

    def _perceived(self, x: Tensor) -> Tensor:
        return x + self.gain2 * self.linear2(F.gelu(self.linear1(self.norm2(x))))

    def _attend(self, x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        q, k, v = self._heads(x, rotation)
        return self._joined(_windowed_attention(q, k, v, self.window))

    def _heads(self, x: Tensor, rotation: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values ``[batch, heads, frames, head_dim]``."""
        batch, frames, dim = x.shape
        qkv = self.in_proj(x).view(batch, frames, 3, self.num_heads, dim // self.num_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        return _rotated(q, rotation), _rotated(k, rotation), v

    def _joined(self, attended: Tensor) -> Tensor:
        out: Tensor = self.out_proj(attended.transpose(1, 2).flatten(2))
        return out


def _rotation(first: int, num_frames: int, head_dim: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine of the angle of every frame and pair of features, ``[frames, head_dim]``."""
    # In float64: the angles of hours would have lost their last digits in float32.
    pairs = torch.arange(0, head_dim, 2, device=like.device, dtype=torch.float64)
    frequencies = 1.0 / _ROTARY_BASE ** (pairs / head_dim)
    angles = torch.arange(first, first + num_frames, device=like.device)[:, None] * frequencies
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


def _last(x: Tensor, count: int, dim: int) -> Tensor:
    """A copy, so that what comes before it can be freed."""
    return x.narrow(dim, max(0, x.shape[dim] - count), min(count, x.shape[dim])).clone()
