"""SEANet: the convolutional encoder and decoder of SoundStream, EnCodec, Mimi and WavTokenizer.

Submodules are numbered as in the published checkpoints (``layers.3`` is the first strided
convolution), so that reading one is a change of names.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, prod

from torch import Tensor, nn

from vqkit.errors import ConfigError, StreamingError
from vqkit.nets.initial_gain import keep_variance
from vqkit.nets.lengths import LayerSequence, Lengths, TimeLayer, through
from vqkit.nets.padded_conv import ConvStyle, PaddedConv, PaddedTransposedConv, trained_weight
from vqkit.nets.residual_sum import residual_sum
from vqkit.nets.stream import ResidualStream, Span, Stream
from vqkit.nets.streaming import open_stream
from vqkit.nets.waveform import require_frames, require_waveform
from vqkit.shapes import Float, Int

__all__ = ["BidirectionalLSTM", "SEANetDecoder", "SEANetEncoder"]

_DILATION_GROWTH = 2


@dataclass(frozen=True)
class BidirectionalLSTM:
    """Layers of an LSTM that runs in both directions (SpeechTokenizer, arXiv 2308.16692).

    A frame then depends on all frames. What both directions give lies side by side, so that the
    next layer has twice the channels.

    Args:
        num_layers: At least one.

    Raises:
        ConfigError: ``num_layers < 1``.
    """

    num_layers: int = 2

    def __post_init__(self) -> None:
        """Refuse what is no LSTM."""
        if self.num_layers < 1:
            raise ConfigError(f"BidirectionalLSTM: expected layers >= 1, got {self.num_layers}.")


class _SkipLSTM(nn.Module):
    """An LSTM over time, beside a connection around it."""

    def __init__(self, width: int, layers: int | BidirectionalLSTM) -> None:
        super().__init__()
        num_layers = layers if isinstance(layers, int) else layers.num_layers
        self.num_directions = 1 if isinstance(layers, int) else 2
        self.lstm = nn.LSTM(width, width, num_layers, bidirectional=self.num_directions == 2)
        self.out_width = width * self.num_directions

    def forward(
        self, x: Float[Tensor, "batch width frames"]
    ) -> Float[Tensor, "batch out_width frames"]:
        """As many channels for each direction."""
        frames = x.permute(2, 0, 1)
        around = frames.repeat(1, 1, self.num_directions)
        return (self.lstm(frames)[0] + around).permute(1, 2, 0)

    def stream(self) -> Stream:
        """Begin a signal.

        Raises:
            StreamingError: It runs in both directions.
        """
        if self.num_directions == 2:
            raise StreamingError(
                "Streaming: expected an LSTM that runs forwards, got one that runs in both "
                "directions. Encode and decode whole signals."
            )
        return _SkipLSTMStream(self.lstm)


class _SkipLSTMStream(Stream):
    def __init__(self, lstm: nn.LSTM) -> None:
        self._lstm = lstm
        self._state: tuple[Tensor, Tensor] | None = None

    def push(self, x: Tensor) -> Tensor:
        if not x.shape[-1]:
            return x
        frames = x.permute(2, 0, 1)
        out, self._state = self._lstm(frames, self._state)
        return (out + frames).permute(1, 2, 0)

    def finish(self) -> Tensor:
        assert self._state is not None
        return self._state[0].new_zeros(self._state[0].shape[1], self._lstm.input_size, 0)

    def span(self, first: float, last: float) -> Span:
        return -inf, last

    def restart(self, rows: Tensor) -> None:
        if self._state is not None:
            hidden, cell = (x.masked_fill(rows[None, :, None], 0.0) for x in self._state)
            self._state = hidden, cell


class _ResidualBlock(TimeLayer):
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
        self.block = LayerSequence(
            nn.ELU(),
            PaddedConv(width, hidden, kernel, style, dilation=dilation),
            nn.ELU(inplace=True),
            PaddedConv(hidden, width, 1, style),
        )
        self.shortcut = PaddedConv(width, width, 1, style) if learned_shortcut else nn.Identity()

    def forward(
        self, x: Float[Tensor, "batch width samples"], lengths: Lengths | None = None
    ) -> Float[Tensor, "batch width samples"]:
        """Same shape."""
        return residual_sum(through(self.shortcut, x, lengths), self.block(x, lengths))

    def stream(self) -> Stream:
        """Begin a signal."""
        return ResidualStream(open_stream(self.shortcut), open_stream(self.block))


class _SEANet(nn.Module):
    """What both ways have in common: their numbers, and the blocks of one resolution."""

    layers: LayerSequence

    def __init__(
        self,
        dim: int,
        num_filters: int,
        strides: Sequence[int],
        kernels: Sequence[int],
        num_blocks: int,
        compress: int,
        learned_shortcut: bool,
        num_lstm_layers: int | BidirectionalLSTM,
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
        # What runs backwards begins in the padding of a shorter item.
        self.takes_lengths = not isinstance(num_lstm_layers, BidirectionalLSTM)
        self.style = style or ConvStyle()
        self.stride = (prod(strides),)

    def stream(self) -> Stream:
        """Begin a signal.

        Raises:
            StreamingError: The norm is over all of it.
        """
        return open_stream(self.layers)

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

    def _lstm(self, width: int) -> tuple[list[nn.Module], int]:
        """The LSTM, if there is one, and the channels of what it gives."""
        if not self.num_lstm_layers:
            return [], width
        lstm = _SkipLSTM(width, self.num_lstm_layers)
        return [lstm], lstm.out_width


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
        num_lstm_layers: 0 leaves the LSTM out. With it a frame depends on all before it, with a
            :class:`BidirectionalLSTM` on all frames.
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
        num_lstm_layers: int | BidirectionalLSTM = 2,
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
                nn.ELU(inplace=True),
                PaddedConv(width, 2 * width, 2 * stride, self.style, stride=stride),
            ]
            width *= 2
        lstm, width = self._lstm(width)
        layers += [
            *lstm,
            nn.ELU(inplace=True),
            PaddedConv(width, dim, kernels[2], self.style),
        ]
        self.layers = LayerSequence(*layers)
        keep_variance(self.layers)

    def forward(
        self,
        x: Float[Tensor, "batch channels samples"],
        lengths: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch dim frames"]:
        """``ceil(samples / stride)`` frames of a waveform of any length from one sample.

        Args:
            x: Waveforms.
            lengths: Samples of each item, where some are shorter: their frames are those that they
                have alone, and what comes after them means nothing.

        Raises:
            ShapeError: Other channels, no sample, or lengths that do not fit.
        """
        require_waveform(x, self.in_channels)
        return self.layers(x, Lengths.of(lengths, x))


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
        num_lstm_layers: int | BidirectionalLSTM = 2,
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
        lstm, in_width = self._lstm(width)
        layers: list[nn.Module] = [PaddedConv(dim, width, kernels[0], self.style), *lstm]
        for stride in reversed(self.strides):
            width //= 2
            layers += [
                nn.ELU(inplace=True),
                PaddedTransposedConv(in_width, width, 2 * stride, self.style, stride=stride),
                *self._blocks(width),
            ]
            in_width = width
        layers += [nn.ELU(inplace=True), PaddedConv(width, out_channels, kernels[2], self.style)]
        self.layers = LayerSequence(*layers)
        keep_variance(self.layers)

    @property
    def last_layer(self) -> Tensor:
        """Weight of the last layer that learns, where the adaptive weight is measured."""
        last = self.layers[-1]
        assert isinstance(last, PaddedConv)
        return trained_weight(last.conv)

    def forward(
        self,
        latent: Float[Tensor, "batch dim frames"],
        lengths: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch channels samples"]:
        """``frames * stride`` samples.

        Args:
            latent: Latent frames.
            lengths: Frames of each item, where some are shorter: their samples are those that they
                have alone, and what comes after them means nothing.

        Raises:
            ShapeError: Another number of features, no frame, or lengths that do not fit.
        """
        require_frames(latent, self.dim)
        return self.layers(latent, Lengths.of(lengths, latent))
