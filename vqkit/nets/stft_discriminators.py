"""Discriminators of spectra: of complex ones (EnCodec), of bands of them (DAC), of magnitudes."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from vqkit.errors import ConfigError
from vqkit.nets.discriminator import (
    ConvolutionalJudge,
    DiscriminatorOutput,
    LeakyConvolutions,
    require_sound,
)
from vqkit.ops.stft import magnitude_spectrogram, spectrogram
from vqkit.shapes import Float

__all__ = [
    "MultiBandSTFTDiscriminator",
    "MultiResolutionDiscriminator",
    "MultiScaleSTFTDiscriminator",
]

_HOPS_PER_WINDOW = 4


def _require_windows(window_sizes: Sequence[int], name: str) -> None:
    if not window_sizes or any(s < 8 or s % _HOPS_PER_WINDOW for s in window_sizes):
        raise ConfigError(
            f"{name}: expected window sizes of at least 8 that {_HOPS_PER_WINDOW} divides, got "
            f"{list(window_sizes)}."
        )


def _real_and_imaginary(spectra: Tensor) -> Float[Tensor, "batch parts frames freqs"]:
    """Real parts of all channels, then imaginary ones, time before frequency."""
    return torch.cat([spectra.real, spectra.imag], dim=1).mT


class MultiScaleSTFTDiscriminator(nn.Module):
    """Judges complex spectrograms at several window sizes (EnCodec, arXiv 2210.13438, figure 2).

    Real and imaginary parts are channels. A first convolution, one per dilation in time with stride
    2 in frequency, a square one, and a square one to a logit per frame and remaining bin. Spectra
    are divided by the root of the window's energy; frames are whole ones, and an input shorter than
    a window is padded with zeros to one frame. The paper writes kernels of 3 x 8, its code has 3 x
    9, and so has audiocraft, which takes the slope 0.3.

    Args:
        in_channels: Channels of the sound.
        window_sizes: Samples per window, one per discriminator, multiples of 4; the hop is a
            quarter.
        width: Channels of all layers.
        kernel_size: In time and in frequency; an even one gives one frame or bin less per layer.
        dilations: In time, one per strided layer.
        slope: Of the leaky ReLU.

    Raises:
        ConfigError: A window size that 4 does not divide, or no layer.

    Example:
        >>> discriminator = MultiScaleSTFTDiscriminator(window_sizes=[128, 64], width=4)
        >>> output = discriminator(torch.zeros(2, 1, 640))
        >>> [list(logits.shape) for logits in output.logits]
        [[2, 1, 17, 9], [2, 1, 37, 5]]
    """

    def __init__(
        self,
        in_channels: int = 1,
        window_sizes: Sequence[int] = (2048, 1024, 512, 256, 128),
        width: int = 32,
        kernel_size: tuple[int, int] | list[int] = (3, 9),
        dilations: Sequence[int] = (1, 2, 4),
        slope: float = 0.2,
    ) -> None:
        super().__init__()
        _require_windows(window_sizes, "MultiScaleSTFTDiscriminator")
        if min(in_channels, width, *kernel_size, *dilations) < 1 or not dilations:
            raise ConfigError(
                f"MultiScaleSTFTDiscriminator: expected positive settings and a dilation, got "
                f"in_channels {in_channels}, width {width}, kernel_size {kernel_size}, dilations "
                f"{list(dilations)}."
            )
        self.in_channels = in_channels
        self.window_sizes = tuple(window_sizes)
        self.width = width
        self.kernel_size = (kernel_size[0], kernel_size[1])
        self.dilations = tuple(dilations)
        self.slope = slope
        self.judges = nn.ModuleList([self._judge() for _ in self.window_sizes])

    def _judge(self) -> ConvolutionalJudge:
        rows, columns = self.kernel_size
        beside = (columns - 1) // 2
        above = (rows - 1) // 2
        first = nn.Conv2d(
            2 * self.in_channels, self.width, (rows, columns), padding=(above, beside)
        )
        strided = [
            nn.Conv2d(
                self.width,
                self.width,
                (rows, columns),
                stride=(1, 2),
                dilation=(dilation, 1),
                padding=((rows - 1) * dilation // 2, beside),
            )
            for dilation in self.dilations
        ]
        last = nn.Conv2d(self.width, self.width, rows, padding=above)
        return ConvolutionalJudge(
            [first, *strided, last], nn.Conv2d(self.width, 1, rows, padding=above), self.slope
        )

    def forward(self, x: Float[Tensor, "batch channels samples"]) -> DiscriminatorOutput:
        """Logits ``[batch, 1, frames, bins]`` and features per window size.

        Raises:
            ShapeError: Other channels, or no sample.
        """
        require_sound(x, self.in_channels, "MultiScaleSTFTDiscriminator")
        return DiscriminatorOutput.joined(
            judge(
                _real_and_imaginary(
                    spectrogram(x, size, size // _HOPS_PER_WINDOW, padding="none", normalised=True)
                )
            )
            for size, judge in zip(self.window_sizes, self.judges, strict=True)
        )


class MultiBandSTFTDiscriminator(nn.Module):
    """Judges bands of complex spectrograms (DAC, arXiv 2306.06546, section 3.4).

    Each band of each window size has convolutions of its own, 3 x 9 in time and frequency, three of
    them of stride 2 in frequency; a square one over the bands side by side gives the logits. Ends
    are reflected so that there are ``samples / hop`` frames; the hop is a quarter of the window.

    Args:
        in_channels: Channels of the sound.
        window_sizes: Samples per window, one per discriminator, multiples of 4.
        width: Channels of all layers.
        edges: Of the bands, as parts of half the sample rate, rising.
        slope: Of the leaky ReLU.

    Raises:
        ConfigError: A window size that 4 does not divide, or a band without a bin.

    Example:
        >>> discriminator = MultiBandSTFTDiscriminator(window_sizes=[512], width=4)
        >>> output = discriminator(torch.zeros(2, 1, 1280))
        >>> [list(logits.shape) for logits in output.logits], len(output.features[0])
        ([[2, 1, 10, 34]], 25)
    """

    def __init__(
        self,
        in_channels: int = 1,
        window_sizes: Sequence[int] = (2048, 1024, 512),
        width: int = 32,
        edges: Sequence[float] = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0),
        slope: float = 0.1,
    ) -> None:
        super().__init__()
        _require_windows(window_sizes, "MultiBandSTFTDiscriminator")
        if min(in_channels, width) < 1 or len(edges) < 2 or edges[0] < 0 or edges[-1] > 1:
            raise ConfigError(
                f"MultiBandSTFTDiscriminator: expected in_channels and width >= 1 and two or more "
                f"edges from 0 to 1, got {in_channels}, {width} and {list(edges)}."
            )
        self.in_channels = in_channels
        self.window_sizes = tuple(window_sizes)
        self.width = width
        self.edges = tuple(edges)
        self.slope = slope
        for size in self.window_sizes:
            if any(start >= stop for start, stop in self._bands(size)):
                raise ConfigError(
                    f"MultiBandSTFTDiscriminator: expected a bin in each band, got edges "
                    f"{list(edges)} for {size // 2 + 1} bins."
                )
        self.judges = nn.ModuleList(
            [_BandJudge(in_channels, width, len(edges) - 1, slope) for _ in self.window_sizes]
        )

    def _bands(self, window_size: int) -> list[tuple[int, int]]:
        bins = [int(edge * (window_size // 2 + 1)) for edge in self.edges]
        return list(pairwise(bins))

    def forward(self, x: Float[Tensor, "batch channels samples"]) -> DiscriminatorOutput:
        """Logits ``[batch, 1, frames, bins]`` and, band after band, features per window size.

        Raises:
            ShapeError: Other channels, or no sample.
        """
        require_sound(x, self.in_channels, "MultiBandSTFTDiscriminator")
        outputs = []
        for size, judge in zip(self.window_sizes, self.judges, strict=True):
            parts = _real_and_imaginary(
                spectrogram(x, size, size // _HOPS_PER_WINDOW, padding="same")
            )
            outputs.append(judge([parts[..., start:stop] for start, stop in self._bands(size)]))
        return DiscriminatorOutput.joined(outputs)


class _BandJudge(nn.Module):
    """The discriminator of one window size: layers per band, one head."""

    def __init__(self, in_channels: int, width: int, num_bands: int, slope: float) -> None:
        super().__init__()
        self.bands = nn.ModuleList(
            [
                LeakyConvolutions(
                    [
                        nn.Conv2d(2 * in_channels, width, (3, 9), padding=(1, 4)),
                        *(
                            nn.Conv2d(width, width, (3, 9), stride=(1, 2), padding=(1, 4))
                            for _ in range(3)
                        ),
                        nn.Conv2d(width, width, 3, padding=1),
                    ],
                    slope,
                )
                for _ in range(num_bands)
            ]
        )
        self.head = weight_norm(nn.Conv2d(width, 1, 3, padding=1))

    def forward(self, bands: Sequence[Tensor]) -> DiscriminatorOutput:
        of_bands = [layers(band) for layers, band in zip(self.bands, bands, strict=True)]
        logits = self.head(torch.cat([features[-1] for features in of_bands], dim=-1))
        return DiscriminatorOutput((logits,), (tuple(f for fs in of_bands for f in fs),))


class MultiResolutionDiscriminator(nn.Module):
    """Judges magnitude spectrograms at several window sizes, as Vocos and WavTokenizer train.

    UnivNet's idea (arXiv 2106.07889) with the layers of Vocos' code (arXiv 2306.00814): kernels 7 x
    5, twice 5 x 3, twice 3 x 3 in frequency and time, strides 2 in frequency and in every other one
    2 in time. The window is rectangular there, and so it is here; ends are reflected. It is the
    magnitude discriminator of WavTokenizer.

    Args:
        in_channels: Channels of the sound.
        window_sizes: Samples per window, one per discriminator, multiples of 4; the hop is a
            quarter.
        width: Channels of all layers.
        slope: Of the leaky ReLU.

    Raises:
        ConfigError: A window size that 4 does not divide.

    Example:
        >>> discriminator = MultiResolutionDiscriminator(window_sizes=[512], width=4)
        >>> output = discriminator(torch.zeros(2, 1, 1024))
        >>> [list(logits.shape) for logits in output.logits]
        [[2, 1, 9, 2]]
    """

    def __init__(
        self,
        in_channels: int = 1,
        window_sizes: Sequence[int] = (1024, 2048, 512),
        width: int = 64,
        slope: float = 0.1,
    ) -> None:
        super().__init__()
        _require_windows(window_sizes, "MultiResolutionDiscriminator")
        if min(in_channels, width) < 1:
            raise ConfigError(
                f"MultiResolutionDiscriminator: expected in_channels and width >= 1, got "
                f"{in_channels} and {width}."
            )
        self.in_channels = in_channels
        self.window_sizes = tuple(window_sizes)
        self.width = width
        self.slope = slope
        self.judges = nn.ModuleList(
            [
                ConvolutionalJudge(
                    [
                        nn.Conv2d(in_channels, width, (7, 5), stride=(2, 2), padding=(3, 2)),
                        nn.Conv2d(width, width, (5, 3), stride=(2, 1), padding=(2, 1)),
                        nn.Conv2d(width, width, (5, 3), stride=(2, 2), padding=(2, 1)),
                        nn.Conv2d(width, width, 3, stride=(2, 1), padding=1),
                        nn.Conv2d(width, width, 3, stride=(2, 2), padding=1),
                    ],
                    nn.Conv2d(width, 1, 3, padding=1),
                    slope,
                )
                for _ in self.window_sizes
            ]
        )

    def forward(self, x: Float[Tensor, "batch channels samples"]) -> DiscriminatorOutput:
        """Logits ``[batch, 1, bins, frames]`` and features per window size.

        Raises:
            ShapeError: Other channels, or no sample.
        """
        require_sound(x, self.in_channels, "MultiResolutionDiscriminator")
        return DiscriminatorOutput.joined(
            judge(magnitude_spectrogram(x, size, size // _HOPS_PER_WINDOW, window="rectangular"))
            for size, judge in zip(self.window_sizes, self.judges, strict=True)
        )
