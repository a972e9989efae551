"""A transformer after OmniTokenizer: windows in space, earlier frames in time (arXiv 2406.09399).

Blocks of frames and pixels become vectors; layers of attention work on the places of each frame, in
windows or all of them, and then on the frames of each place, up to the frame itself. Other than
there the first frame goes through the same embedding as the rest, seen several times; positions are
rotations, so that any size will do; and attention to frames has a window, so that a clip goes
through in pieces.
"""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.errors import ConfigError
from vqkit.nets.causal_transformer import CausalTransformer
from vqkit.nets.clip_conv import ClipConv
from vqkit.nets.clip_layers import ChannelNorm, FrameLayer
from vqkit.nets.clip_network import ClipDecoder, ClipEncoder
from vqkit.nets.clip_patches import ClipPatches, ClipUnpatches, cosine_basis
from vqkit.nets.time_transformer import TimeTransformer
from vqkit.shapes import Float

__all__ = ["OmniTokenizerDecoder", "OmniTokenizerEncoder"]

_EXPANSION = 4
_INITIAL_GAIN = 0.1
_ROTARY_BASE = 100.0


class _SpaceLayer(FrameLayer):
    """Attention among the places of a frame and a perceptron, normalised before each.

    Args:
        width: Features.
        num_heads: Heads of attention.
        window: Rows and columns of the windows; 0 is one window of all places.
    """

    def __init__(self, width: int, num_heads: int, window: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.window = window
        self.norm1 = nn.LayerNorm(width)
        self.in_proj = nn.Linear(width, 3 * width, bias=False)
        self.out_proj = nn.Linear(width, width, bias=False)
        self.gain1 = nn.Parameter(torch.full((width,), _INITIAL_GAIN))
        self.norm2 = nn.LayerNorm(width)
        self.linear1 = nn.Linear(width, _EXPANSION * width)
        self.linear2 = nn.Linear(_EXPANSION * width, width)
        self.gain2 = nn.Parameter(torch.full((width,), _INITIAL_GAIN))

    def forward(
        self, x: Float[Tensor, "batch dim frames height width"]
    ) -> Float[Tensor, "batch dim frames height width"]:
        """Same shape."""
        places = x.movedim(1, -1)
        places = places + self.gain1 * self._attended(self.norm1(places))
        hidden = self.linear2(F.gelu(self.linear1(self.norm2(places))))
        return (places + self.gain2 * hidden).movedim(-1, 1)

    def _attended(self, places: Tensor) -> Tensor:
        frames = places.flatten(0, 1)
        height, width = frames.shape[1:3]
        # The last windows are filled up with places that nobody looks at.
        rows, columns = self.window or height, self.window or width
        padding = (0, 0, 0, -width % columns, 0, -height % rows)
        windows = _windows(F.pad(frames, padding), rows, columns)
        heads = self.in_proj(windows).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = heads.movedim((-3, -2), (0, 2))
        angles = _angles(rows, columns, query.shape[-1], query)
        there = None
        if any(padding):
            here = frames.new_ones(1, height, width, 1)
            there = _windows(F.pad(here, padding), rows, columns)[..., 0].bool()
            there = there.repeat(len(frames), 1)[:, None, None]
        mixed = F.scaled_dot_product_attention(
            _turned(query, angles), _turned(key, angles), value, attn_mask=there
        )
        joined = self.out_proj(mixed.transpose(1, 2).flatten(2))
        whole = _joined(joined, rows, columns, height + padding[5], width + padding[3])
        return whole[:, :height, :width].unflatten(0, places.shape[:2])


class _Transformer(nn.Sequential):
    """Layers of space, then layers of time."""

    def __init__(
        self, width: int, num_heads: int, space_windows: Sequence[int], time: tuple[int, int]
    ) -> None:
        num_layers, window = time
        transformer = CausalTransformer(
            width, num_layers, num_heads, _EXPANSION * width, window, initial_gain=_INITIAL_GAIN
        )
        super().__init__(
            *(_SpaceLayer(width, num_heads, side) for side in space_windows),
            TimeTransformer(transformer),
        )


class OmniTokenizerEncoder(ClipEncoder):
    """Clip to latents: blocks embedded, attention in space, attention to earlier frames.

    Args:
        in_channels: Channels of the media, in [-1, 1].
        dim: Features of one latent vector.
        stride: Frames, rows and columns of a block.
        width: Features inside.
        num_heads: Heads of attention; four times these divide the width.
        space_windows: One layer of space per entry: rows and columns of its windows, 0 for all
            places of a frame.
        num_time_layers: Layers of time.
        time_window: Latent frames that a frame looks at, itself among them.

    Raises:
        ConfigError: Sizes below 1, or heads that do not fit.

    Example:
        >>> encoder = OmniTokenizerEncoder(width=16, num_heads=2, space_windows=[0, 2])
        >>> encoder(torch.zeros(1, 3, 9, 24, 16)).shape
        torch.Size([1, 8, 3, 3, 2])
    """

    def __init__(
        self,
        in_channels: int = 3,
        dim: int = 8,
        stride: Sequence[int] = (4, 8, 8),
        width: int = 512,
        num_heads: int = 8,
        space_windows: Sequence[int] = (0, 0, 8, 8),
        num_time_layers: int = 4,
        time_window: int = 16,
    ) -> None:
        super().__init__()
        block = _checked(stride, width, num_heads, space_windows)
        self.in_channels = in_channels
        self.dim = dim
        self.stride = block
        self.width = width
        self.num_heads = num_heads
        self.space_windows = tuple(space_windows)
        self.num_time_layers = num_time_layers
        self.time_window = time_window

        basis = cosine_basis(in_channels, block)[0]
        self.patches = ClipPatches(block, basis)
        self.embed = ClipConv(len(basis), width, 1)
        self.transformer = _Transformer(
            width, num_heads, space_windows, (num_time_layers, time_window)
        )
        self.norm_out = ChannelNorm(width)
        self.head = ClipConv(width, dim, 1)

    def layers(self) -> Iterator[nn.Module]:
        """In the order in which they work."""
        yield from (self.patches, self.embed, *self.transformer, self.norm_out, self.head)


class OmniTokenizerDecoder(ClipDecoder):
    """Latents to clip: the mirror of :class:`OmniTokenizerEncoder`, its layers in the same order.

    The output is not bounded to [-1, 1].

    Args:
        out_channels: Channels of the media.
        dim: Features of one latent vector.
        stride: As in the encoder.
        width: As in the encoder.
        num_heads: As in the encoder.
        space_windows: As in the encoder.
        num_time_layers: As in the encoder.
        time_window: As in the encoder.

    Raises:
        ConfigError: Sizes below 1, or heads that do not fit.

    Example:
        >>> decoder = OmniTokenizerDecoder(width=16, num_heads=2, space_windows=[0, 2])
        >>> decoder(torch.zeros(1, 8, 3, 3, 2)).shape
        torch.Size([1, 3, 9, 24, 16])
    """

    def __init__(
        self,
        out_channels: int = 3,
        dim: int = 8,
        stride: Sequence[int] = (4, 8, 8),
        width: int = 512,
        num_heads: int = 8,
        space_windows: Sequence[int] = (0, 0, 8, 8),
        num_time_layers: int = 4,
        time_window: int = 16,
    ) -> None:
        super().__init__()
        block = _checked(stride, width, num_heads, space_windows)
        self.out_channels = out_channels
        self.dim = dim
        self.stride = block
        self.width = width
        self.num_heads = num_heads
        self.space_windows = tuple(space_windows)
        self.num_time_layers = num_time_layers
        self.time_window = time_window

        self.embed = ClipConv(dim, width, 1)
        self.transformer = _Transformer(
            width, num_heads, space_windows, (num_time_layers, time_window)
        )
        self.norm_out = ChannelNorm(width)
        basis = cosine_basis(out_channels, block)[1]
        self.head = ClipConv(width, len(basis), 1)
        self.unpatches = ClipUnpatches(block, basis)

    @property
    def last_layer(self) -> Tensor:
        """Weight of the last layer that learns, where the adaptive weight is measured."""
        return self.head.weight

    def layers(self) -> Iterator[nn.Module]:
        """In the order in which they work."""
        yield from (self.embed, *self.transformer, self.norm_out, self.head, self.unpatches)


def _checked(
    stride: Sequence[int], width: int, num_heads: int, space_windows: Sequence[int]
) -> tuple[int, int, int]:
    good = len(stride) == 3 and min((*stride, width, num_heads)) >= 1
    if not good or width % (4 * num_heads) or min(space_windows, default=0) < 0:
        raise ConfigError(
            "OmniTokenizer network: expected a stride of three sizes, a width that four times the "
            f"heads divide and windows >= 0, got {list(stride)}, width {width}, {num_heads} heads, "
            f"windows {list(space_windows)}."
        )
    return stride[0], stride[1], stride[2]


def _windows(frames: Tensor, rows: int, columns: int) -> Tensor:
    """``[frames, height, width, dim]`` as ``[windows, rows * columns, dim]``."""
    parted = frames.unflatten(2, (-1, columns)).unflatten(1, (-1, rows))
    return parted.transpose(2, 3).flatten(3, 4).flatten(0, 2)


def _joined(windows: Tensor, rows: int, columns: int, height: int, width: int) -> Tensor:
    """The inverse of :func:`_windows`."""
    parted = windows.unflatten(1, (rows, columns))
    parted = parted.unflatten(0, (-1, height // rows, width // columns))
    return parted.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def _angles(rows: int, columns: int, head_dim: int, like: Tensor) -> Tensor:
    """Of every place of a window and pair of features, half of rows and half of columns."""
    count = head_dim // 4
    frequency = _ROTARY_BASE ** -(torch.arange(count, device=like.device) / count)
    places = torch.meshgrid(
        torch.arange(rows, device=like.device),
        torch.arange(columns, device=like.device),
        indexing="ij",
    )
    return torch.cat([place.reshape(-1, 1) * frequency for place in places], dim=-1)


def _turned(x: Tensor, angles: Tensor) -> Tensor:
    """Rotary positions (Su et al. 2021), pairs across the halves of a head."""
    cosine, sine = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1)
