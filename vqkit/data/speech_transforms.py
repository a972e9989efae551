"""What makes many recordings of one: other speeds, noise, silence around."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from vqkit.errors import ConfigError
from vqkit.ops import resample
from vqkit.shapes import Float

__all__ = ["RandomNoise", "RandomSilence", "RandomSpeed"]


@dataclass(frozen=True)
class RandomSpeed:
    """Faster or slower, and so higher or lower, as a tape is played (Ko et al., Interspeech 2015).

    Attributes:
        min_percent: least speed.
        max_percent: greatest speed.
        step_percent: distance of the speeds between, which are all as likely; each needs a filter
            of its own, of which few are remembered.
    """

    min_percent: int = 90
    max_percent: int = 110
    step_percent: int = 5

    def __post_init__(self) -> None:
        if not 50 <= self.min_percent <= self.max_percent <= 200 or self.step_percent < 1:
            raise ConfigError(
                "RandomSpeed: expected 50 <= min_percent <= max_percent <= 200 and step_percent >= "
                f"1, got {self.min_percent}, {self.max_percent} and {self.step_percent}."
            )

    def __call__(
        self, sound: Float[Tensor, "channels samples"], generator: Generator
    ) -> Float[Tensor, "channels new_samples"]:
        """Resample, at the same rate for all that follows."""
        speeds = range(self.min_percent, self.max_percent + 1, self.step_percent)
        speed = speeds[int(torch.randint(len(speeds), (), generator=generator))]
        return resample(sound, speed, 100).clamp(-1, 1)


@dataclass(frozen=True)
class RandomNoise:
    """White noise of a random level below the sound's own.

    Attributes:
        min_snr_db: least distance of the levels.
        max_snr_db: greatest distance.
        probability: so often there is noise at all.
    """

    min_snr_db: float = 10.0
    max_snr_db: float = 40.0
    probability: float = 0.5

    def __post_init__(self) -> None:
        if not -20 <= self.min_snr_db <= self.max_snr_db <= 120 or not 0 <= self.probability <= 1:
            raise ConfigError(
                "RandomNoise: expected -20 <= min_snr_db <= max_snr_db <= 120 and a probability, "
                f"got {self.min_snr_db}, {self.max_snr_db} and {self.probability}."
            )

    def __call__(
        self, sound: Float[Tensor, "channels samples"], generator: Generator
    ) -> Float[Tensor, "channels samples"]:
        """Add noise, the same amount in all channels."""
        chances = torch.rand(2, generator=generator, dtype=torch.float64)
        noise = torch.randn(sound.shape, generator=generator)
        if chances[0] >= self.probability or not sound.numel():
            return sound
        snr_db = self.min_snr_db + (self.max_snr_db - self.min_snr_db) * chances[1].item()
        level = sound.square().mean().sqrt() * 10 ** (-snr_db / 20)
        return (sound + level * noise).clamp(-1, 1)


@dataclass(frozen=True)
class RandomSilence:
    """Silence of random length before and after, so that a word stands nowhere in particular.

    Attributes:
        max_samples: most of it, before and after each.
    """

    max_samples: int

    def __post_init__(self) -> None:
        if self.max_samples < 0:
            raise ConfigError(
                f"RandomSilence max_samples: expected at least 0, got {self.max_samples}."
            )

    def __call__(
        self, sound: Float[Tensor, "channels samples"], generator: Generator
    ) -> Float[Tensor, "channels new_samples"]:
        """Put the sound between two silences."""
        before, after = torch.randint(self.max_samples + 1, (2,), generator=generator).tolist()
        return F.pad(sound, (before, after))
