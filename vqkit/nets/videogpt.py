"""The network of VideoGPT: 3-D convolutions and attention along each axis (arXiv 2104.10157).

Not causal: attention along time looks at the whole clip, and so do the batch's statistics in
training. Clips are encoded as wholes, or in the chunks that a tokenizer defines.
"""

import math
from collections.abc import Iterator, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.errors import ConfigError, StreamingError
from vqkit.nets.clip_conv import ClipConv
from vqkit.nets.clip_network import ClipDecoder, ClipEncoder
from vqkit.nets.stream import Stream
from vqkit.shapes import Float

__all__ = ["VideoGPTDecoder", "VideoGPTEncoder"]

_AXES = (2, 3, 4)


class _AxisAttention(nn.Module):
    """Attention along one axis, every line of the grid by itself; no positions, as in the code."""

    def __init__(self, width: int, num_heads: int, axis: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.axis = axis
        self.in_proj = nn.Linear(width, 3 * width, bias=False)
        self.out_proj = nn.Linear(width, width)

    def forward(
        self, x: Float[Tensor, "batch dim frames height width"]
    ) -> Float[Tensor, "batch dim frames height width"]:
        """Same shape."""
        lines = x.movedim((self.axis, 1), (-2, -1))
        heads = self.in_proj(lines).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = heads.movedim((-3, -2), (0, -3)).flatten(1, 3)
        mixed = F.scaled_dot_product_attention(query, key, value)
        joined = mixed.transpose(1, 2).flatten(2).reshape(lines.shape)
        return self.out_proj(joined).movedim((-2, -1), (self.axis, 1))


class _Block(nn.Module):
    """A bottleneck of convolutions and attention along each of three axes, added to the input."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            nn.BatchNorm3d(width),
            nn.ReLU(),
            ClipConv(width, width // 2, 3, causal=False, bias=False),
            nn.BatchNorm3d(width // 2),
            nn.ReLU(),
            ClipConv(width // 2, width, 1, causal=False, bias=False),
            nn.BatchNorm3d(width),
            nn.ReLU(),
        )
        self.attention = nn.ModuleList(_AxisAttention(width, num_heads, axis) for axis in _AXES)

    def forward(
        self, x: Float[Tensor, "batch dim frames height width"]
    ) -> Float[Tensor, "batch dim frames height width"]:
        """Same shape."""
        hidden = self.convs(x)
        for attention in self.attention:
            x = x + attention(hidden)
        return x

    def stream(self) -> Stream:
        """Refuse.

        Raises:
            StreamingError: Attention along time looks at the whole clip.
        """
        raise StreamingError(
            "Streaming: expected layers that do with a part of the clip, got VideoGPT's attention "
            "along time, which looks at all frames. Encode whole clips, or clips in chunks."
        )


class _Sizes:
    """The strides of convolutions that make the stride of the network."""

    def __init__(self, width: int, stride: Sequence[int], num_heads: int) -> None:
        powers = [math.log2(n) if n >= 1 else -1.0 for n in stride]
        whole = len(powers) == 3 and all(p == int(p) and p >= 0 for p in powers)
        if not whole or max(powers) < 1 or width % (2 * num_heads):
            raise ConfigError(
                "VideoGPT network: expected a stride of three powers of two, not all of them 1, "
                f"and a width that twice the heads divide, got {list(stride)}, width {width}, "
                f"{num_heads} heads."
            )
        self.steps = [
            tuple(2 if step < power else 1 for power in powers) for step in range(int(max(powers)))
        ]


class VideoGPTEncoder(ClipEncoder):
    """Clip to latents: strided 4x4x4 convolutions, then residual blocks with axial attention.

    Args:
        in_channels: Channels of the media, in [-1, 1].
        dim: Features of one latent vector.
        width: Channels inside.
        num_blocks: Residual blocks behind the last step.
        stride: Frames, rows and columns of one latent vector, powers of two.
        num_heads: Heads of attention.

    Raises:
        ConfigError: A stride of other numbers, or heads that do not divide half the width.

    Example:
        >>> import torch
        >>> encoder = VideoGPTEncoder(dim=4, width=8, num_blocks=1)
        >>> encoder(torch.zeros(1, 3, 8, 16, 8)).shape
        torch.Size([1, 4, 2, 4, 2])
    """

    first_frame_alone = False

    def __init__(
        self,
        in_channels: int = 3,
        dim: int = 256,
        width: int = 240,
        num_blocks: int = 4,
        stride: Sequence[int] = (4, 4, 4),
        num_heads: int = 2,
    ) -> None:
        super().__init__()
        sizes = _Sizes(width, stride, num_heads)
        self.in_channels = in_channels
        self.dim = dim
        self.width = width
        self.num_blocks = num_blocks
        self.stride = (stride[0], stride[1], stride[2])
        self.num_heads = num_heads

        body: list[nn.Module] = []
        channels = in_channels
        for step in sizes.steps:
            # The width of a kernel whose stride is 1 is odd, so that both sides have the same.
            kernel = [4 if s == 2 else 3 for s in step]
            body += [ClipConv(channels, width, kernel, causal=False, stride=step), nn.ReLU()]
            channels = width
        body.append(ClipConv(channels, width, 3, causal=False))
        body += [_Block(width, num_heads) for _ in range(num_blocks)]
        body += [nn.BatchNorm3d(width), nn.ReLU(), ClipConv(width, dim, 1, causal=False)]
        self.body = nn.Sequential(*body)

    def layers(self) -> Iterator[nn.Module]:
        """In the order in which they work."""
        yield from self.body


class VideoGPTDecoder(ClipDecoder):
    """Latents to clip: the mirror of :class:`VideoGPTEncoder`, with transposed convolutions.

    The output is not bounded to [-1, 1].

    Args:
        out_channels: Channels of the media.
        dim: Features of one latent vector.
        width: As in the encoder.
        num_blocks: As in the encoder.
        stride: As in the encoder.
        num_heads: As in the encoder.

    Raises:
        ConfigError: A stride of other numbers, or heads that do not divide half the width.

    Example:
        >>> import torch
        >>> VideoGPTDecoder(dim=4, width=8, num_blocks=1)(torch.zeros(1, 4, 2, 4, 2)).shape
        torch.Size([1, 3, 8, 16, 8])
    """

    first_frame_alone = False

    def __init__(
        self,
        out_channels: int = 3,
        dim: int = 256,
        width: int = 240,
        num_blocks: int = 4,
        stride: Sequence[int] = (4, 4, 4),
        num_heads: int = 2,
    ) -> None:
        super().__init__()
        sizes = _Sizes(width, stride, num_heads)
        self.out_channels = out_channels
        self.dim = dim
        self.width = width
        self.num_blocks = num_blocks
        self.stride = (stride[0], stride[1], stride[2])
        self.num_heads = num_heads

        body: list[nn.Module] = [ClipConv(dim, width, 1, causal=False)]
        body += [_Block(width, num_heads) for _ in range(num_blocks)]
        body += [nn.BatchNorm3d(width), nn.ReLU()]
        for number, step in enumerate(reversed(sizes.steps)):
            last = number == len(sizes.steps) - 1
            kernel = [4 if s == 2 else 3 for s in step]
            channels = out_channels if last else width
            body.append(
                nn.ConvTranspose3d(width, channels, kernel, stride=step, padding=1)  # type: ignore[arg-type]
            )
            if not last:
                body.append(nn.ReLU())
        self.body = nn.Sequential(*body)

    @property
    def last_layer(self) -> Tensor:
        """Weight of the last layer that learns, where the adaptive weight is measured."""
        last = self.body[-1]
        assert isinstance(last, nn.ConvTranspose3d)
        return last.weight

    def layers(self) -> Iterator[nn.Module]:
        """In the order in which they work."""
        yield from self.body
