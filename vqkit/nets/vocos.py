"""The decoder of Vocos and WavTokenizer: ConvNeXt blocks at the rate of the tokens, then an iSTFT.

Nothing runs at the rate of the samples, which makes it many times faster than a decoder of
transposed convolutions. It is not causal.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.errors import ConfigError, StreamingError
from vqkit.nets.istft import ISTFTHead
from vqkit.nets.lengths import LayerSequence, Lengths, TimeLayer
from vqkit.nets.ragged import RaggedConv1d, RaggedGroupNorm
from vqkit.nets.stream import ChainStream, PointwiseStream, ResidualStream, Stream
from vqkit.nets.streaming import open_stream
from vqkit.nets.waveform import require_frames
from vqkit.shapes import Float, Int

__all__ = ["VocosDecoder"]

_KERNEL = 7
_NUM_GROUPS = 32
_EPS = 1e-6
_INITIAL_DEVIATION = 0.02


class VocosDecoder(nn.Module):
    """Latent frames to waveform (Vocos, arXiv 2306.00814; WavTokenizer, arXiv 2408.16532).

    The defaults are those of WavTokenizer at 75 tokens per second: a convolution; two residual
    blocks, attention over all frames, two residual blocks; ``num_layers`` ConvNeXt blocks; an
    inverse STFT. Vocos itself has no position net.

    Args:
        dim: Features of one latent vector.
        width: Features inside.
        hidden_dim: Features inside a ConvNeXt block.
        num_layers: ConvNeXt blocks.
        hop: Samples per frame.
        n_fft: Samples of a window.
        position_net: Whether there are residual blocks and attention before. With them a frame
            depends on all frames.

    Raises:
        ConfigError: Sizes below 1, a width that 32 groups do not divide, windows that do not fit.

    Example:
        >>> decoder = VocosDecoder(8, width=32, hidden_dim=64, num_layers=1, hop=4, n_fft=16)
        >>> decoder(torch.zeros(2, 8, 5)).shape
        torch.Size([2, 1, 20])
    """

    out_channels = 1
    takes_lengths = True

    def __init__(
        self,
        dim: int = 512,
        width: int = 768,
        hidden_dim: int = 2304,
        num_layers: int = 12,
        hop: int = 320,
        n_fft: int = 1280,
        position_net: bool = True,
    ) -> None:
        super().__init__()
        if min(dim, width, hidden_dim, num_layers) < 1 or (position_net and width % _NUM_GROUPS):
            raise ConfigError(
                f"VocosDecoder: expected sizes >= 1 and a width that {_NUM_GROUPS} divides, got "
                f"dim {dim}, width {width}, hidden_dim {hidden_dim}, num_layers {num_layers}."
            )
        self.dim = dim
        self.width = width
        self.hidden_dim = hidden_dim
        self.num_layers = num_layers
        self.hop = hop
        self.n_fft = n_fft
        self.position_net = position_net
        self.stride = (hop,)
        self.embed = RaggedConv1d(dim, width, _KERNEL, padding=_KERNEL // 2)
        blocks: list[nn.Module] = []
        if position_net:
            blocks = [
                _ResidualBlock(width),
                _ResidualBlock(width),
                _Attention(width),
                _ResidualBlock(width),
                _ResidualBlock(width),
                _group_norm(width),
            ]
        self.position = LayerSequence(*blocks)
        self.norm = nn.LayerNorm(width, eps=_EPS)
        self.convnext = LayerSequence(
            *(_ConvNeXtBlock(width, hidden_dim, 1 / num_layers) for _ in range(num_layers))
        )
        self.final_norm = nn.LayerNorm(width, eps=_EPS)
        self.head = ISTFTHead(width, n_fft, hop)
        self.apply(_initialise)

    @property
    def last_layer(self) -> Tensor:
        """Weight of the last layer that learns, where the adaptive weight is measured."""
        return self.head.linear.weight

    def forward(
        self,
        latent: Float[Tensor, "batch dim frames"],
        lengths: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch 1 samples"]:
        """``frames * hop`` samples.

        Args:
            latent: Latent frames.
            lengths: Frames of each item, where some are shorter: their samples are those that they
                have alone, and what comes after them means nothing.

        Raises:
            ShapeError: Another number of features, no frame, or lengths that do not fit.
        """
        require_frames(latent, self.dim)
        of_items = Lengths.of(lengths, latent)
        if of_items is not None:
            latent = of_items.alone(latent)
        x = self.position(self.embed(latent, of_items), of_items)
        x = self.convnext(_normed(self.norm, x), of_items)
        out: Tensor = self.head(_normed(self.final_norm, x), of_items)
        return out

    def stream(self) -> Stream:
        """Begin a signal.

        Raises:
            StreamingError: There is a position net.
        """
        if self.position_net:
            raise StreamingError(
                "Streaming: expected a decoder without attention to all frames, got one with a "
                "position net. Decode whole sounds."
            )
        layers: list[Stream] = [
            open_stream(self.embed),
            PointwiseStream(lambda x: _normed(self.norm, x)),
            *(open_stream(block) for block in self.convnext),
            PointwiseStream(lambda x: _normed(self.final_norm, x)),
            open_stream(self.head),
        ]
        return ChainStream(layers)


class _ConvNeXtBlock(TimeLayer):
    """Depthwise convolution, norm, perceptron, gain, around it a connection (Liu et al. 2022)."""

    def __init__(self, width: int, hidden_dim: int, initial_gain: float) -> None:
        super().__init__()
        self.dwconv = RaggedConv1d(width, width, _KERNEL, padding=_KERNEL // 2, groups=width)
        self.norm = nn.LayerNorm(width, eps=_EPS)
        self.pwconv1 = nn.Linear(width, hidden_dim)
        self.pwconv2 = nn.Linear(hidden_dim, width)
        self.gamma = nn.Parameter(torch.full((width,), initial_gain))

    def forward(
        self, x: Float[Tensor, "batch width frames"], lengths: Lengths | None = None
    ) -> Float[Tensor, "batch width frames"]:
        """Same shape."""
        return x + self._perceived(self.dwconv(x, lengths))

    def stream(self) -> Stream:
        """Begin a signal."""
        branch = ChainStream([open_stream(self.dwconv), PointwiseStream(self._perceived)])
        return ResidualStream(PointwiseStream(nn.Identity()), branch)

    def _perceived(self, x: Tensor) -> Tensor:
        frames = self.norm(x.transpose(1, 2))
        branch = self.gamma * self.pwconv2(F.gelu(self.pwconv1(frames)))
        return branch.transpose(1, 2)


class _ResidualBlock(TimeLayer):
    """``x + conv2(SiLU(norm2(conv1(SiLU(norm1(x))))))``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = _group_norm(width)
        self.conv1 = RaggedConv1d(width, width, 3, padding=1)
        self.norm2 = _group_norm(width)
        self.conv2 = RaggedConv1d(width, width, 3, padding=1)

    def forward(
        self, x: Float[Tensor, "batch width frames"], lengths: Lengths | None = None
    ) -> Float[Tensor, "batch width frames"]:
        """Same shape."""
        branch = self.conv1(F.silu(self.norm1(x, lengths)), lengths)
        out: Tensor = x + self.conv2(F.silu(self.norm2(branch, lengths)), lengths)
        return out


class _Attention(TimeLayer):
    """One head over all frames, in both directions, without positions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = _group_norm(width)
        self.q = nn.Conv1d(width, width, 1)
        self.k = nn.Conv1d(width, width, 1)
        self.v = nn.Conv1d(width, width, 1)
        self.proj_out = nn.Conv1d(width, width, 1)

    def forward(
        self, x: Float[Tensor, "batch width frames"], lengths: Lengths | None = None
    ) -> Float[Tensor, "batch width frames"]:
        """Same shape."""
        normed = self.norm(x, lengths)
        keys = None if lengths is None else lengths.mask().to(x.device)[:, None]
        q, k, v = (conv(normed).transpose(1, 2) for conv in (self.q, self.k, self.v))
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=keys).transpose(1, 2)
        out: Tensor = x + self.proj_out(attended)
        return out


def _group_norm(width: int) -> RaggedGroupNorm:
    return RaggedGroupNorm(_NUM_GROUPS, width, eps=_EPS)


def _normed(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    out: Tensor = norm(x.transpose(1, 2)).transpose(1, 2)
    return out


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv1d | nn.Linear):
        nn.init.trunc_normal_(module.weight, std=_INITIAL_DEVIATION)
        assert module.bias is not None
        nn.init.zeros_(module.bias)
