"""How loud a sound is made before it is encoded; decoding undoes it."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.ops.loudness import loudness_lufs
from vqkit.ops.resample import resample
from vqkit.shapes import Float

__all__ = ["Level", "LoudnessLevel", "PeakLevel", "RMSLevel"]

# K weighting is defined above twice the frequency of its shelf.
_LOWEST_RATE_HZ, _MEASURED_RATE_HZ = 3364, 8000


@dataclass(frozen=True)
class Level(ABC):
    """Brings sounds to one level by a gain, which the tokens keep.

    The gain is at most ``max_gain_db``, and such that no sample leaves [-1, 1]. Silence has a gain
    of 1.

    Args:
        max_gain_db: Noise of a sound that is nearly silent is made no louder than by so much.

    Raises:
        ConfigError: ``max_gain_db < 0`` or not finite.
    """

    max_gain_db: float = 40.0

    def __post_init__(self) -> None:
        """Refuse what is no level."""
        if not 0 <= self.max_gain_db <= 200:
            raise ConfigError(
                f"{type(self).__name__}: expected max_gain_db of 0 to 200, got {self.max_gain_db}."
            )

    def gain(self, sound: Float[Tensor, "channels samples"], sample_rate_hz: int) -> float:
        """What the sound is to be multiplied by."""
        peak = float(sound.abs().amax()) if sound.numel() else 0.0
        if peak == 0:
            return 1.0
        wanted = self._wanted_db(sound, sample_rate_hz)
        if not math.isfinite(wanted):
            return 1.0
        # What the range allows, but for a sound that leaves it already.
        room_db = max(0.0, -20 * math.log10(peak))
        return 10 ** (min(wanted, self.max_gain_db, room_db) / 20)

    @abstractmethod
    def _wanted_db(self, sound: Tensor, sample_rate_hz: int) -> float:
        """Gain in dB to the level, if nothing limits it; infinite where there is no level."""


@final
@dataclass(frozen=True)
class LoudnessLevel(Level):
    """A loudness by ITU-R BS.1770-4.

    Args:
        max_gain_db: As of :class:`Level`.
        target_lufs: Loudness to bring sounds to. DAC was trained at -16 (code) or -24 (paper).

    >>> import torch
    >>> tone = 0.01 * torch.sin(2 * torch.pi * 997 * torch.arange(48_000) / 48_000)
    >>> round(LoudnessLevel().gain(tone[None], 48_000), 2)
    8.92
    """

    target_lufs: float = -24.0

    def _wanted_db(self, sound: Tensor, sample_rate_hz: int) -> float:
        if sample_rate_hz <= _LOWEST_RATE_HZ:
            sound, sample_rate_hz = (
                resample(sound, sample_rate_hz, _MEASURED_RATE_HZ),
                _MEASURED_RATE_HZ,
            )
        # Layouts that the recommendation does not know have channels of one weight.
        weights = None if len(sound) in (1, 2, 3, 5, 6) else [1.0] * len(sound)
        loudness = loudness_lufs(sound[None], sample_rate_hz, channel_weights=weights)
        return self.target_lufs - float(loudness)


@final
@dataclass(frozen=True)
class PeakLevel(Level):
    """A largest value.

    Args:
        max_gain_db: As of :class:`Level`.
        target: Largest absolute value, up to 1.

    >>> import torch
    >>> round(PeakLevel(target=0.8).gain(torch.tensor([[0.1, -0.4]]), 16_000), 6)
    2.0
    """

    target: float = 0.8

    def __post_init__(self) -> None:
        """Refuse what is no level."""
        super().__post_init__()
        _check_target(self, self.target)

    def _wanted_db(self, sound: Tensor, sample_rate_hz: int) -> float:
        return 20 * math.log10(self.target / float(sound.abs().amax()))


@final
@dataclass(frozen=True)
class RMSLevel(Level):
    """A root mean square over all samples and channels.

    Args:
        max_gain_db: As of :class:`Level`.
        target: Root mean square, up to 1.
    """

    target: float = 0.1

    def __post_init__(self) -> None:
        """Refuse what is no level."""
        super().__post_init__()
        _check_target(self, self.target)

    def _wanted_db(self, sound: Tensor, sample_rate_hz: int) -> float:
        mean_square = float(sound.double().square().mean())
        return 20 * math.log10(self.target) - 10 * math.log10(mean_square)


def _check_target(level: Level, target: float) -> None:
    if not 0 < target <= 1:
        raise ConfigError(
            f"{type(level).__name__}: expected a target above 0 and up to 1, got {target}."
        )
