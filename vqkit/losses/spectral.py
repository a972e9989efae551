"""Distances of spectrograms at several window sizes."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from vqkit.errors import ConfigError, ShapeError
from vqkit.losses.reconstruction import check_shapes
from vqkit.losses.spectral_distance import LinearL1, LogL1, LogL2, SpectralDistance
from vqkit.ops.mel import MelNorm, MelScale, mel_filterbank
from vqkit.ops.stft import FramePadding, magnitude_spectrogram
from vqkit.shapes import Float

__all__ = ["MelFilters", "MultiScaleMel", "MultiScaleSTFT"]

Reduction = Literal["mean", "sum"]

_HOPS_PER_WINDOW = 4


class _MultiScale(nn.Module, ABC):
    """What the spectral losses have in common: scales, distances, and how they are added up."""

    def __init__(
        self,
        window_sizes: Sequence[int],
        distances: Sequence[SpectralDistance],
        reduction: Reduction,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if not window_sizes or not distances or reduction not in ("mean", "sum"):
            raise ConfigError(
                f"{name}: expected window sizes, distances and reduction 'mean' or 'sum', got "
                f"{list(window_sizes)}, {list(distances)} and {reduction!r}."
            )
        if any(size < _HOPS_PER_WINDOW or size % _HOPS_PER_WINDOW for size in window_sizes):
            raise ConfigError(
                f"{name}: expected window sizes that {_HOPS_PER_WINDOW} divides, got "
                f"{list(window_sizes)}."
            )
        self.window_sizes = tuple(window_sizes)
        self.distances = tuple(distances)
        self.reduction = reduction

    @abstractmethod
    def _spectrogram(self, x: Tensor, scale: int) -> Tensor:
        """Spectrogram at the window size of that number."""

    def forward(
        self,
        reconstruction: Float[Tensor, "batch channels samples"],
        target: Float[Tensor, "batch channels samples"],
    ) -> Float[Tensor, ""]:
        """Scalar, fp32 whatever autocast says; the target gets no gradient.

        Raises:
            ShapeError: Shapes differ, are empty, or are not [batch, channels, samples].
        """
        check_shapes(reconstruction, target)
        if target.ndim != 3:
            raise ShapeError(
                f"{type(self).__name__}: expected [batch, channels, samples], got "
                f"{list(target.shape)}."
            )
        total = torch.zeros((), device=target.device)
        with torch.autocast(target.device.type, enabled=False):
            for scale in range(len(self.window_sizes)):
                ours = self._spectrogram(reconstruction.float(), scale)
                with torch.no_grad():
                    theirs = self._spectrogram(target.float(), scale)
                for distance in self.distances:
                    total = total + distance(ours, theirs)
        return total if self.reduction == "sum" else total / len(self.window_sizes)


@dataclass(frozen=True)
class MelFilters:
    """Which triangles a mel spectrogram has; see ``vqkit.ops.mel_filterbank``.

    Attributes:
        f_min: Foot of the first triangle in Hz.
        f_max: Foot of the last one in Hz; None is half the sample rate.
        scale: ``"htk"`` or ``"slaney"``.
        norm: ``"slaney"`` or None.
    """

    f_min: float = 0.0
    f_max: float | None = None
    scale: MelScale = "htk"
    norm: MelNorm | None = None

    def bank(self, window_size: int, sample_rate_hz: int, num_mels: int) -> Tensor:
        """Weights ``[num_mels, window_size / 2 + 1]``, fp64."""
        return mel_filterbank(
            window_size // 2 + 1,
            sample_rate_hz,
            num_mels,
            self.f_min,
            self.f_max,
            scale=self.scale,
            norm=self.norm,
        )


class MultiScaleMel(_MultiScale):
    """Distances of mel spectrograms at several window sizes; the hop is a quarter of the window.

    The variants of the codecs are :meth:`encodec`, :meth:`audiocraft`, :meth:`dac` and
    :meth:`vocos`; ``docs/audio_losses.md`` says where papers and code differ. Inputs shorter than a
    window are reflected, after zeros where they are too short for that (``vqkit.ops.reflect_pad``).

    Args:
        sample_rate_hz: Sample rate of the media.
        window_sizes: Samples per window, one per scale, multiples of 4.
        num_mels: Filters per scale.
        filters: Which filters.
        distances: Added up at each scale.
        power: 1 takes magnitudes, 2 their squares.
        normalised: Divide spectra by the root of the window's energy.
        padding: Of the ends, see ``vqkit.ops.spectrogram``.
        reduction: Mean or sum over the scales.

    Raises:
        ConfigError: No scale or distance, a window size that 4 does not divide, numbers of scales
            that differ, or filters that do not fit the sample rate.

    Example:
        >>> loss = MultiScaleMel.dac(16000)
        >>> float(loss(torch.zeros(1, 1, 800), torch.zeros(1, 1, 800)))
        0.0
    """

    def __init__(
        self,
        sample_rate_hz: int,
        window_sizes: Sequence[int],
        num_mels: Sequence[int],
        filters: MelFilters | None = None,
        distances: Sequence[SpectralDistance] = (LogL1(),),
        power: Literal[1, 2] = 1,
        normalised: bool = False,
        padding: FramePadding = "centre",
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(window_sizes, distances, reduction)
        if len(num_mels) != len(window_sizes) or power not in (1, 2):
            raise ConfigError(
                f"MultiScaleMel: expected num_mels per window size and power 1 or 2, got "
                f"{list(num_mels)} for {list(window_sizes)} and {power}."
            )
        self.sample_rate_hz = sample_rate_hz
        self.num_mels = tuple(num_mels)
        self.filters = filters or MelFilters()
        self.power = power
        self.normalised = normalised
        self.padding = padding
        for scale, (size, count) in enumerate(zip(self.window_sizes, self.num_mels, strict=True)):
            bank = self.filters.bank(size, sample_rate_hz, count).float()
            self.register_buffer(f"bank_{scale}", bank, persistent=False)

    def _spectrogram(self, x: Tensor, scale: int) -> Tensor:
        size = self.window_sizes[scale]
        magnitude = magnitude_spectrogram(
            x,
            size,
            size // _HOPS_PER_WINDOW,
            padding=self.padding,
            normalised=self.normalised,
        )
        bank: Tensor = self.get_buffer(f"bank_{scale}")
        return bank @ (magnitude if self.power == 1 else magnitude.square())

    @classmethod
    def encodec(cls, sample_rate_hz: int) -> "MultiScaleMel":
        """As EnCodec's paper describes (arXiv 2210.13438, eq. 2): windows 32 to 2048, 64 mels."""
        return cls(
            sample_rate_hz,
            window_sizes=[2**i for i in range(5, 12)],
            num_mels=[64] * 7,
            distances=(LinearL1(), LogL2()),
            power=2,
            normalised=True,
            padding="same",
        )

    @classmethod
    def audiocraft(cls, sample_rate_hz: int) -> "MultiScaleMel":
        """As audiocraft trains EnCodec: windows 64 to 1024, from 64 Hz, each term by half."""
        return cls(
            sample_rate_hz,
            window_sizes=[2**i for i in range(6, 11)],
            num_mels=[64] * 5,
            filters=MelFilters(f_min=64.0),
            distances=(LinearL1(weight=0.5), LogL2(weight=0.5)),
            power=2,
            normalised=True,
            padding="same",
        )

    @classmethod
    def dac(cls, sample_rate_hz: int) -> "MultiScaleMel":
        """DAC's (arXiv 2306.06546): 5 to 320 mels at windows 32 to 2048; weight 15."""
        return cls(
            sample_rate_hz,
            window_sizes=[2**i for i in range(5, 12)],
            num_mels=[5 * 2**i for i in range(7)],
            filters=MelFilters(scale="slaney", norm="slaney"),
            reduction="sum",
        )

    @classmethod
    def vocos(cls, sample_rate_hz: int) -> "MultiScaleMel":
        """Vocos' and WavTokenizer's (arXiv 2306.00814, 2408.16532): one scale; weight 45."""
        return cls(
            sample_rate_hz,
            window_sizes=[1024],
            num_mels=[100],
            distances=(LogL1(floor=1e-7, base=math.e),),
        )


class MultiScaleSTFT(_MultiScale):
    """Distances of magnitude spectrograms at several window sizes; the hop is a quarter.

    With the defaults DAC's (its paper and code only measure it, weight 0 in training): magnitudes
    and their logarithms squared. The terms of Yamamoto et al. 2020 (arXiv 1910.11480) are
    ``distances=[SpectralConvergence(), LogL1(floor=1e-7, base=math.e)]``.

    Args:
        window_sizes: Samples per window, one per scale, multiples of 4.
        distances: Added up at each scale.
        normalised: Divide spectra by the root of the window's energy.
        padding: Of the ends, see ``vqkit.ops.spectrogram``.
        reduction: Mean or sum over the scales.

    Raises:
        ConfigError: No scale or distance, or a window size that 4 does not divide.

    Example:
        >>> float(MultiScaleSTFT()(torch.zeros(1, 2, 99), torch.zeros(1, 2, 99)))
        0.0
    """

    def __init__(
        self,
        window_sizes: Sequence[int] = (2048, 512),
        distances: Sequence[SpectralDistance] = (LinearL1(), LogL1(weight=2.0)),
        normalised: bool = False,
        padding: FramePadding = "centre",
        reduction: Reduction = "sum",
    ) -> None:
        super().__init__(window_sizes, distances, reduction)
        self.normalised = normalised
        self.padding = padding

    def _spectrogram(self, x: Tensor, scale: int) -> Tensor:
        size = self.window_sizes[scale]
        return magnitude_spectrogram(
            x,
            size,
            size // _HOPS_PER_WINDOW,
            padding=self.padding,
            normalised=self.normalised,
        )
