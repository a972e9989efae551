"""What happens to a sound between its file and the network."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from vqkit.data.sounds import Sound, TensorSound
from vqkit.data.transforms import Chain, Transform
from vqkit.errors import ConfigError
from vqkit.shapes import Float

__all__ = [
    "RandomGain",
    "RandomSegment",
    "SegmentToMultiple",
    "SegmentTransform",
    "transform_sound",
]


class SegmentTransform(ABC):
    """A transform that wants a part of a sound: of a file no more than that is decoded."""

    @abstractmethod
    def cut(self, sound: Sound, generator: Generator) -> Float[Tensor, "channels samples"]:
        """Choose a part and read it."""

    def __call__(
        self, sound: Float[Tensor, "channels samples"], generator: Generator
    ) -> Float[Tensor, "channels new_samples"]:
        """Cut a part out of a sound that is in memory."""
        return self.cut(TensorSound(sound), generator)


@dataclass(frozen=True)
class RandomSegment(SegmentTransform):
    """A part of fixed length at a random place; shorter sounds are followed by silence.

    Attributes:
        num_samples: length of what comes out.
        min_rms: draw again while the root mean square of the part is below this, for recordings
            with long pauses; 0.001 is -60 dB of full scale.
        max_draws: so many times at most; then the loudest part is taken.
    """

    num_samples: int
    min_rms: float = 0.0
    max_draws: int = 8

    def __post_init__(self) -> None:
        _check_positive("num_samples", self.num_samples)
        _check_positive("max_draws", self.max_draws)
        if not 0 <= self.min_rms <= 1:
            raise ConfigError(f"min_rms of RandomSegment: expected 0 to 1, got {self.min_rms}.")

    def cut(self, sound: Sound, generator: Generator) -> Float[Tensor, "channels samples"]:
        """Draw places until one is not silent."""
        num_places = sound.num_samples - self.num_samples + 1
        if num_places <= 1:
            return _padded(sound.read(0, sound.num_samples), self.num_samples)
        loudest, greatest_rms = None, -1.0
        for _ in range(self.max_draws if self.min_rms > 0 else 1):
            start = int(torch.randint(num_places, (), generator=generator))
            part = sound.read(start, self.num_samples)
            # In float64, so that the number of threads that sum makes no difference.
            rms = float(part.double().square().mean().sqrt())
            if rms > greatest_rms:
                loudest, greatest_rms = part, rms
            if rms >= self.min_rms:
                break
        assert loudest is not None
        return loudest


@dataclass(frozen=True)
class SegmentToMultiple(SegmentTransform):
    """The largest middle part whose length a stride divides; less than one stride is filled up.

    Attributes:
        multiple: the stride in samples.
        max_samples: so many at most; None takes all.
    """

    multiple: int
    max_samples: int | None = None

    def __post_init__(self) -> None:
        _check_positive("multiple", self.multiple)
        if self.max_samples is not None and self.max_samples < self.multiple:
            raise ConfigError(
                f"max_samples of SegmentToMultiple: expected at least the multiple "
                f"{self.multiple}, got {self.max_samples}."
            )

    def cut(self, sound: Sound, generator: Generator) -> Float[Tensor, "channels samples"]:
        """Cut both ends off."""
        length = sound.num_samples
        if self.max_samples is not None:
            length = min(length, self.max_samples)
        if length < self.multiple:
            return _padded(sound.read(0, length), self.multiple)
        length -= length % self.multiple
        return sound.read((sound.num_samples - length) // 2, length)


@dataclass(frozen=True)
class RandomGain:
    """Louder or softer by a random number of decibels, but never clipped.

    Attributes:
        min_db: least gain.
        max_db: greatest gain; a sound gets no more than brings its peak to 1.
    """

    min_db: float
    max_db: float

    def __post_init__(self) -> None:
        if not -120 <= self.min_db <= self.max_db <= 120:
            raise ConfigError(
                "RandomGain: expected -120 <= min_db <= max_db <= 120, got "
                f"{self.min_db} and {self.max_db}."
            )

    def __call__(
        self, sound: Float[Tensor, "channels samples"], generator: Generator
    ) -> Float[Tensor, "channels samples"]:
        """Scale all samples alike."""
        chance = torch.rand((), generator=generator, dtype=torch.float64).item()
        gain = 10 ** ((self.min_db + (self.max_db - self.min_db) * chance) / 20)
        peak = float(sound.abs().amax()) if sound.numel() else 0.0
        # The product may exceed 1 by a rounding error.
        return (sound * min(gain, 1 / peak if peak > 0 else gain)).clamp(-1, 1)


def transform_sound(
    transform: Transform, sound: Sound, generator: Generator
) -> Float[Tensor, "channels samples"]:
    """Apply a transform to a sound of which it reads no more than the transform wants."""
    if isinstance(transform, SegmentTransform):
        return transform.cut(sound, generator)
    if isinstance(transform, Chain) and transform.steps:
        first, *others = transform.steps.values()
        samples = transform_sound(first, sound, generator)
        for step in others:
            samples = step(samples, generator)
        return samples
    return transform(sound.read(0, sound.num_samples), generator)


def _check_positive(what: str, value: int) -> None:
    if value < 1:
        raise ConfigError(f"{what} of a segment: expected at least 1, got {value}.")


def _padded(sound: Tensor, num_samples: int) -> Tensor:
    return F.pad(sound, (0, num_samples - sound.shape[1]))
