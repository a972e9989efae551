"""SEANet: the convolutional encoder and decoder of SoundStream, EnCodec, Mimi and WavTokenizer.

Submodules are numbered as in the published checkpoints (``layers.3`` is the first strided
convolution), so that reading one is a change of names.
"""

from collections.abc import Sequence
from math import prod

from torch import Tensor, nn

from vqkit.errors import ConfigError
from vqkit.nets.initial_gain import keep_variance
from vqkit.nets.padded_conv import ConvStyle, PaddedConv, PaddedTransposedConv, trained_weight
from vqkit.nets.waveform import require_frames, require_waveform
from vqkit.shapes import Float

__all__ = ["SEANetDecoder", "SEANetEncoder"]

_DILATION_GROWTH = 2


class _SkipLSTM(nn.Module):
    """An LSTM over time, beside a connection around it."""

    def __init__(self, width: int, num_layers: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, width, num_layers)

    def forward(
        self, x: Float[Tensor, "batch width frames"]
    ) -> Float[Tensor, "batch width frames"]:
        """Same shape."""
        frames = x.permute(2, 0, 1)
        return (self.lstm(frames)[0] + frames).permute(1, 2, 0)


class _ResidualBlock(nn.Module):
    """``shortcut(x) + conv1(ELU(conv(ELU(x))))``, narrower inside."""

    def __init__(
        self,
        width: int,
        hidden: int,
        kernel: int,
        dilation: int,
        learned_shortcut: bool,
        style: ConvStyle,
    ) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.ELU(),
            PaddedConv(width, hidden, kernel, style, dilation=dilation),
            nn.ELU(),
            PaddedConv(hidden, width, 1, style),
        )
        self.shortcut = PaddedConv(width, width, 1, style) if learned_shortcut else nn.Identity()

    def forward(
        self, x: Float[Tensor, "batch width samples"]
    ) -> Float[Tensor, "batch width samples"]:
        """Same shape."""
        out: Tensor = self.shortcut(x) + self.block(x)
        return out


class _SEANet(nn.Module):
    """What both ways have in common: their numbers, and the blocks of one resolution."""

    layers: nn.Sequential

    def __init__(
        self,
        dim: int,
        num_filters: int,
        strides: Sequence[int],
        kernels: Sequence[int],
        num_blocks: int,
        compress: int,
        learned_shortcut: bool,
        num_lstm_layers: int,
        style: ConvStyle | None,
    ) -> None:
        super().__init__()
        if (
            len(kernels) != 3
            or min((*kernels, *strides, num_filters, dim, compress), default=0) < 1
        ):
            raise ConfigError(
                "SEANet: expected kernels of first, residual and last layer, and sizes >= 1, got "
                f"kernels {list(kernels)}, strides {list(strides)}, num_filters {num_filters}, dim "
                f"{dim}, compress {compress}."
            )
        self.dim = dim
        self.num_filters = num_filters
        self.strides = tuple(strides)
        self.kernels = tuple(kernels)
        self.num_blocks = num_blocks
        self.compress = compress
        self.learned_shortcut = learned_shortcut
        self.num_lstm_layers = num_lstm_layers
        self.style = style or ConvStyle()
        self.stride = (prod(strides),)

    def _blocks(self, width: int) -> list[nn.Module]:
        return [
            _ResidualBlock(
                width,
                width // self.compress,
                self.kernels[1],
                _DILATION_GROWTH**number,
                self.learned_shortcut,
                self.style,
            )
            for number in range(self.num_blocks)
        ]

    def _lstm(self, width: int) -> list[nn.Module]:
        return [_SkipLSTM(width, self.num_lstm_layers)] if self.num_lstm_layers else []


class SEANetEncoder(_SEANet):
    """Waveform to latent frames (SoundStream, arXiv 2107.03312; EnCodec, arXiv 2210.13438).

    A convolution, then for each stride residual blocks and a strided convolution of twice its width
    that doubles the channels, an LSTM, and a convolution to ``dim``. The defaults are those of
    EnCodec at 24 kHz.

    Args:
        in_channels: Channels of the media.
        dim: Features of one latent vector.
        num_filters: Channels at the rate of the media.
        strides: Samples per frame of each stage, that at the rate of the media first.
        kernels: Width of the first convolution, of those in residual blocks, of the last one.
        num_blocks: Residual blocks per stage, of dilation 1, 2, 4 and so on.
        compress: Residual blocks are so many times narrower inside.
        learned_shortcut: Residual blocks have a 1x1 convolution around them instead of nothing.
        num_lstm_layers: 0 leaves the LSTM out. With it a frame depends on all before it.
        style: Padding, causality and norm of all convolutions.

    Raises:
        ConfigError: Sizes below 1.

    Example:
        >>> import torch
        >>> encoder = SEANetEncoder(num_filters=4, dim=8)
        >>> encoder.stride, encoder(torch.zeros(2, 1, 1000)).shape
        ((320,), torch.Size([2, 8, 4]))
    """

    def __init__(
        self,
        in_channels: int = 1,
        dim: int = 128,
        num_filters: int = 32,
        strides: Sequence[int] = (2, 4, 5, 8),
        kernels: Sequence[int] = (7, 3, 7),
        num_blocks: int = 1,
        compress: int = 2,
        learned_shortcut: bool = True,
        num_lstm_layers: int = 2,
        style: ConvStyle | None = None,
    ) -> None:
        super().__init__(
            dim,
            num_filters,
            strides,
            kernels,
            num_blocks,
            compress,
            learned_shortcut,
            num_lstm_layers,
            style,
        )
        self.in_channels = in_channels
        layers: list[nn.Module] = [PaddedConv(in_channels, num_filters, kernels[0], self.style)]
        width = num_filters
        for stride in strides:
            layers += [
                *self._blocks(width),
                nn.ELU(),
                PaddedConv(width, 2 * width, 2 * stride, self.style, stride=stride),
            ]
            width *= 2
        layers += [*self._lstm(width), nn.ELU(), PaddedConv(width, dim, kernels[2], self.style)]
        self.layers = nn.Sequential(*layers)
        keep_variance(self.layers)

    def forward(
        self, x: Float[Tensor, "batch channels samples"]
    ) -> Float[Tensor, "batch dim frames"]:
        """``ceil(samples / stride)`` frames of a waveform of any length from one sample.

        Raises:
            ShapeError: Other channels, or no sample.
        """
        require_waveform(x, self.in_channels)
        out: Tensor = self.layers(x)
        return out


class SEANetDecoder(_SEANet):
    """Latent frames to waveform: the mirror of :class:`SEANetEncoder`.

    The output is not bounded to [-1, 1].

    Args:
        out_channels: Channels of the media.
        dim: Features of one latent vector.
        num_filters: As in the encoder.
        strides: As in the encoder and in its order: the one at the rate of the media first.
        kernels: Width of the first convolution, of those in residual blocks, of the last one.
        num_blocks: As in the encoder.
        compress: As in the encoder.
        learned_shortcut: As in the encoder.
        num_lstm_layers: As in the encoder.
        style: As in the encoder.

    Raises:
        ConfigError: Sizes below 1.

    Example:
        >>> import torch
        >>> SEANetDecoder(num_filters=4, dim=8)(torch.zeros(2, 8, 4)).shape
        torch.Size([2, 1, 1280])
    """

    def __init__(
        self,
        out_channels: int = 1,
        dim: int = 128,
        num_filters: int = 32,
        strides: Sequence[int] = (2, 4, 5, 8),
        kernels: Sequence[int] = (7, 3, 7),
        num_blocks: int = 1,
        compress: int = 2,
        learned_shortcut: bool = True,
        num_lstm_layers: int = 2,
        style: ConvStyle | None = None,
    ) -> None:
        super().__init__(
            dim,
            num_filters,
            strides,
            kernels,
            num_blocks,
            compress,
            learned_shortcut,
            num_lstm_layers,
            style,
        )
        self.out_channels = out_channels
        width = num_filters * 2 ** len(self.strides)
        layers: list[nn.Module] = [
            PaddedConv(dim, width, kernels[0], self.style),
            *self._lstm(width),
        ]
        for stride in reversed(self.strides):
            width //= 2
            layers += [
                nn.ELU(),
                PaddedTransposedConv(2 * width, width, 2 * stride, self.style, stride=stride),
                *self._blocks(width),
            ]
        layers += [nn.ELU(), PaddedConv(width, out_channels, kernels[2], self.style)]
        self.layers = nn.Sequential(*layers)
        keep_variance(self.layers)

    @property
    def last_layer(self) -> Tensor:
        """Weight of the last layer that learns, where the adaptive weight is measured."""
        last = self.layers[-1]
        assert isinstance(last, PaddedConv)
        return trained_weight(last.conv)

    def forward(
        self, latent: Float[Tensor, "batch dim frames"]
    ) -> Float[Tensor, "batch channels samples"]:
        """``frames * stride`` samples.

        Raises:
            ShapeError: Another number of features, or no frame.
        """
        require_frames(latent, self.dim)
        out: Tensor = self.layers(latent)
        return out
