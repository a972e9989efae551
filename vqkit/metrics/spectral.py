"""Distances between magnitude spectrograms, plain and mel, one fp64 value per item."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.metrics.audio import checked_audio
from vqkit.ops.mel import MelScale, mel_filterbank
from vqkit.shapes import Float

__all__ = [
    "DAC_MEL",
    "DAC_STFT",
    "VOCOS_MEL",
    "SpectralDefinition",
    "magnitude_blocks",
    "mel_distance",
    "stft_distance",
]

# Values in one block of frames: spectra of hours take no more memory than those of seconds.
_BLOCK_VALUES = 2**21


@dataclass(frozen=True)
class SpectralDefinition:
    """What a distance between spectrograms is made of.

    Frames have a periodic Hann window, a quarter of it from one to the next, and are centred on
    multiples of that hop; the audio is mirrored at its ends. With the magnitudes ``x`` and ``y``
    of two spectrograms (of their mel bands where ``num_mels`` says so), each scale adds::

        log_weight * mean |log(max(x, floor)**power) - log(max(y, floor)**power)|
            + magnitude_weight * mean |x - y|

    Each mean is over the channels, bands and frames of one item.

    Raises:
        ConfigError: no scale, not one number of mel bands per window, or a window that four does
            not divide.
    """

    windows: tuple[int, ...]
    """Samples in the window of each scale."""
    num_mels: tuple[int, ...] = ()
    """Mel bands of each scale; none to compare all bins."""
    log_weight: float = 1.0
    magnitude_weight: float = 0.0
    power: float = 1.0
    floor: float = 1e-5
    """Smallest magnitude that the logarithm sees."""
    log_base: float = 10.0
    mel_scale: MelScale = "slaney"
    unit_area: bool = True
    """Mel triangles of equal area, not of equal height."""

    def __post_init__(self) -> None:
        if not self.windows or any(window < 4 or window % 4 for window in self.windows):
            raise ConfigError(
                "Defining a spectral distance failed: expected windows that four divides, got "
                f"{self.windows}. The hop is a quarter of the window."
            )
        if self.num_mels and len(self.num_mels) != len(self.windows):
            raise ConfigError(
                "Defining a spectral distance failed: expected one number of mel bands for each "
                f"of {len(self.windows)} windows, got {self.num_mels}. Name as many."
            )


DAC_MEL = SpectralDefinition(
    windows=(32, 64, 128, 256, 512, 1024, 2048), num_mels=(5, 10, 20, 40, 80, 160, 320)
)
"""Mel distance of DAC's configuration (its ``conf/base.yml``): seven scales, magnitudes."""

DAC_STFT = SpectralDefinition(windows=(2048, 512), power=2.0, magnitude_weight=1.0)
"""STFT distance of DAC's configuration: logarithms of the powers plus plain magnitudes."""

VOCOS_MEL = SpectralDefinition(
    windows=(1024,),
    num_mels=(100,),
    floor=1e-7,
    log_base=math.e,
    mel_scale="htk",
    unit_area=False,
)
"""Log-mel distance of Vocos and WavTokenizer, made for 24 kHz: one scale, natural logarithm."""


def mel_distance(
    reconstruction: Float[Tensor, "batch channels samples"],
    target: Float[Tensor, "..."],
    sample_rate_hz: int,
    *,
    definition: SpectralDefinition = DAC_MEL,
) -> Float[Tensor, " batch"]:
    """Distance of the mel spectrograms of each item, 0 for equal ones, the lower the better.

    Its size depends on the definition and on the sample rate: only numbers that share both
    compare. Items shorter than half a window are extended with zeros at the end.

    Args:
        reconstruction: audio in [-1, 1].
        target: of the same shape.
        sample_rate_hz: of both.
        definition: scales, mel bands, logarithm; see :class:`SpectralDefinition`.

    Raises:
        ShapeError: the shapes differ, an item is empty or a value is not finite.
        ConfigError: the definition has no mel bands.

    Example:
        >>> tone = torch.sin(torch.arange(800.0) / 4)[None, None]
        >>> mel_distance(tone, tone, 16_000).item()
        0.0
    """
    if not definition.num_mels:
        raise ConfigError(
            "Measuring a mel distance failed: expected a definition with mel bands, got "
            f"{definition}. Set num_mels, or use stft_distance."
        )
    filters = [
        mel_filterbank(
            window // 2 + 1,
            sample_rate_hz,
            num_mels,
            scale=definition.mel_scale,
            norm="slaney" if definition.unit_area else None,
        )
        for window, num_mels in zip(definition.windows, definition.num_mels, strict=True)
    ]
    return _distance(reconstruction, target, definition, filters)


def stft_distance(
    reconstruction: Float[Tensor, "batch channels samples"],
    target: Float[Tensor, "..."],
    *,
    definition: SpectralDefinition = DAC_STFT,
) -> Float[Tensor, " batch"]:
    """Distance of the magnitude spectrograms of each item, 0 for equal ones, lower is better.

    Items shorter than half a window are extended with zeros at the end.

    Raises:
        ShapeError: the shapes differ, an item is empty or a value is not finite.
        ConfigError: the definition has mel bands.
    """
    if definition.num_mels:
        raise ConfigError(
            "Measuring an STFT distance failed: expected a definition without mel bands, got "
            f"{definition}. Leave num_mels out, or use mel_distance."
        )
    return _distance(reconstruction, target, definition, [None] * len(definition.windows))


def magnitude_blocks(
    audio: Float[Tensor, "batch channels samples"], window: int, bank: Tensor | None = None
) -> Iterator[Tensor]:
    """Spectrogram ``[batch, channels, frames, bands]`` in blocks of frames.

    Args:
        audio: at least one item; shorter than half a window, it is extended with zeros.
        window: samples in the window, a periodic Hann; the hop is a quarter of it.
        bank: filters ``[bands, bins]`` to apply to the magnitudes; None for the bins themselves.
    """
    half, hop = window // 2, window // 4
    # A mirrored edge needs one sample more than it adds.
    audio = F.pad(audio, (0, max(0, half + 1 - audio.shape[-1])))
    frames = F.pad(audio, (half, half), mode="reflect").unfold(-1, window, hop)
    hann = torch.hann_window(window, dtype=audio.dtype, device=audio.device)
    num_rows = math.prod(audio.shape[:2])
    block = max(1, _BLOCK_VALUES // (window * num_rows))
    for part in frames.split(block, dim=2):
        magnitudes = torch.fft.rfft(part * hann).abs()
        yield magnitudes if bank is None else magnitudes @ bank.to(audio).T


def _distance(
    reconstruction: Tensor,
    target: Tensor,
    definition: SpectralDefinition,
    filters: Sequence[Tensor | None],
) -> Tensor:
    reconstruction, target = checked_audio(reconstruction, target)
    total = target.new_zeros(len(target))
    if not len(target):
        return total
    for window, bank in zip(definition.windows, filters, strict=True):
        total += _scale_distance(reconstruction, target, window, bank, definition)
    return total


def _scale_distance(
    reconstruction: Tensor,
    target: Tensor,
    window: int,
    bank: Tensor | None,
    definition: SpectralDefinition,
) -> Tensor:
    """The term of one scale, ``[batch]``."""
    total = target.new_zeros(len(target))
    num_values = 0
    # Apart from each other, so that equal signals give equal bands to the last bit.
    spectra = (magnitude_blocks(audio, window, bank) for audio in (reconstruction, target))
    for x, y in zip(*spectra, strict=True):
        if definition.log_weight:
            difference = _logarithm(x, definition) - _logarithm(y, definition)
            total += definition.log_weight * difference.abs_().sum(dim=(1, 2, 3))
        if definition.magnitude_weight:
            total += definition.magnitude_weight * (x - y).abs_().sum(dim=(1, 2, 3))
        num_values += x[0].numel()
    return total / num_values


def _logarithm(magnitudes: Tensor, definition: SpectralDefinition) -> Tensor:
    """``log(m**power)`` to the definition's base."""
    factor = definition.power / math.log(definition.log_base)
    return magnitudes.clamp(min=definition.floor).log_().mul_(factor)
