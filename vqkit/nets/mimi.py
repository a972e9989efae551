"""The encoder and decoder of Mimi: SEANet, a causal transformer, and a last step in rate."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from vqkit.errors import ConfigError
from vqkit.nets.causal_transformer import CausalTransformer
from vqkit.nets.lengths import Lengths
from vqkit.nets.padded_conv import ConvStyle, PaddedConv, PaddedTransposedConv
from vqkit.nets.seanet import SEANetDecoder, SEANetEncoder
from vqkit.nets.stream import ChainStream, Stream
from vqkit.nets.streaming import open_stream
from vqkit.nets.waveform import require_frames, require_waveform
from vqkit.shapes import Float, Int

__all__ = ["MimiDecoder", "MimiEncoder", "mimi_decoder", "mimi_encoder"]


class MimiEncoder(nn.Module):
    """Waveform to latent frames (Moshi, arXiv 2410.00037, section 3.3).

    Args:
        seanet: Waveform to frames of twice the rate or more.
        transformer: Over these frames.
        factor: Frames of SEANet per latent frame.

    Raises:
        ConfigError: The parts differ in width, or ``factor < 1``.

    Example:
        >>> import torch
        >>> seanet = SEANetEncoder(dim=8, num_filters=2, strides=[4, 5, 6, 8], num_lstm_layers=0)
        >>> transformer = CausalTransformer(8, num_layers=1, num_heads=2, hidden_dim=16)
        >>> encoder = MimiEncoder(seanet, transformer)
        >>> encoder.stride, encoder(torch.zeros(1, 1, 24_000)).shape
        ((1920,), torch.Size([1, 8, 13]))
    """

    takes_lengths = True

    def __init__(
        self, seanet: SEANetEncoder, transformer: CausalTransformer, factor: int = 2
    ) -> None:
        super().__init__()
        _check(seanet.dim, transformer.dim, factor)
        self.seanet = seanet
        self.transformer = transformer
        self.factor = factor
        self.in_channels = seanet.in_channels
        self.dim = transformer.dim
        self.stride = (seanet.stride[0] * factor,)
        style = ConvStyle(causal=seanet.style.causal, padding="replicate", norm="none")
        self.resample = PaddedConv(self.dim, self.dim, 2 * factor, style, stride=factor, bias=False)

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
        of_samples = Lengths.of(lengths, x)
        frames = self.transformer(self.seanet.layers(x, of_samples))
        of_frames = None if of_samples is None else self.seanet.layers.lengths_after(of_samples)
        out: Tensor = self.resample(frames, of_frames)
        return out

    def stream(self) -> Stream:
        """Begin a signal."""
        return ChainStream([open_stream(x) for x in (self.seanet, self.transformer, self.resample)])


class MimiDecoder(nn.Module):
    """Latent frames to waveform: the mirror of :class:`MimiEncoder`.

    The step up in rate treats each feature alone, as the published model does by an oversight that
    its weights have kept.

    Args:
        seanet: Frames to waveform.
        transformer: Over the frames that it takes.
        factor: Frames of SEANet per latent frame.

    Raises:
        ConfigError: The parts differ in width, or ``factor < 1``.
    """

    takes_lengths = True

    def __init__(
        self, seanet: SEANetDecoder, transformer: CausalTransformer, factor: int = 2
    ) -> None:
        super().__init__()
        _check(seanet.dim, transformer.dim, factor)
        self.seanet = seanet
        self.transformer = transformer
        self.factor = factor
        self.out_channels = seanet.out_channels
        self.dim = transformer.dim
        self.stride = (seanet.stride[0] * factor,)
        style = ConvStyle(causal=seanet.style.causal, norm="none")
        self.resample = PaddedTransposedConv(
            self.dim, self.dim, 2 * factor, style, stride=factor, groups=self.dim, bias=False
        )

    @property
    def last_layer(self) -> Tensor:
        """Weight of the last layer that learns, where the adaptive weight is measured."""
        return self.seanet.last_layer

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
        of_latent = Lengths.of(lengths, latent)
        frames = self.transformer(self.resample(latent, of_latent))
        of_frames = None if of_latent is None else self.resample.lengths_after(of_latent)
        return self.seanet.layers(frames, of_frames)

    def stream(self) -> Stream:
        """Begin a signal."""
        return ChainStream([open_stream(x) for x in (self.resample, self.transformer, self.seanet)])


def _check(seanet_dim: int, dim: int, factor: int) -> None:
    if seanet_dim != dim or factor < 1:
        raise ConfigError(
            f"Mimi network: expected SEANet and transformer of one dim, and factor >= 1, got "
            f"{seanet_dim} and {dim}, factor {factor}."
        )


def mimi_encoder(
    in_channels: int = 1,
    dim: int = 512,
    num_filters: int = 64,
    strides: Sequence[int] = (4, 5, 6, 8),
    num_layers: int = 8,
    num_heads: int = 8,
    hidden_dim: int = 2048,
    window: int = 250,
    factor: int = 2,
) -> MimiEncoder:
    """Mimi's encoder by its sizes; the defaults are the published model's.

    Args:
        in_channels: Channels of the media.
        dim: Features of a latent vector, and inside the transformer.
        num_filters: Channels at the rate of the media.
        strides: Of SEANet, that at the rate of the media first.
        num_layers: Of the transformer.
        num_heads: Of the transformer.
        hidden_dim: Inside the transformer's perceptrons.
        window: Frames of SEANet that one of them looks back at.
        factor: Frames of SEANet per latent frame.

    Raises:
        ConfigError: Sizes that do not fit.

    Example:
        >>> mimi_encoder(dim=8, num_filters=2, num_layers=1, num_heads=2, hidden_dim=16).stride
        (1920,)
    """
    seanet = SEANetEncoder(in_channels, dim, num_filters, strides, **_seanet())
    return MimiEncoder(
        seanet, CausalTransformer(dim, num_layers, num_heads, hidden_dim, window), factor
    )


def mimi_decoder(
    out_channels: int = 1,
    dim: int = 512,
    num_filters: int = 64,
    strides: Sequence[int] = (4, 5, 6, 8),
    num_layers: int = 8,
    num_heads: int = 8,
    hidden_dim: int = 2048,
    window: int = 250,
    factor: int = 2,
) -> MimiDecoder:
    """Mimi's decoder by its sizes, as :func:`mimi_encoder`.

    Args:
        out_channels: Channels of the media.
        dim: As in the encoder.
        num_filters: As in the encoder.
        strides: As in the encoder and in its order.
        num_layers: As in the encoder.
        num_heads: As in the encoder.
        hidden_dim: As in the encoder.
        window: As in the encoder.
        factor: As in the encoder.

    Raises:
        ConfigError: Sizes that do not fit.
    """
    seanet = SEANetDecoder(out_channels, dim, num_filters, strides, **_seanet())
    return MimiDecoder(
        seanet, CausalTransformer(dim, num_layers, num_heads, hidden_dim, window), factor
    )


def _seanet() -> dict[str, Any]:
    """What Mimi's SEANets have in common besides sizes."""
    return {
        "kernels": (7, 3, 3),
        "learned_shortcut": False,
        "num_lstm_layers": 0,
        "style": ConvStyle(causal=True, padding="zero", norm="none"),
    }
