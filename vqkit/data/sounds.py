"""Opened sounds, of which any part can be read."""

from abc import ABC, abstractmethod

from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.shapes import Float

__all__ = ["Sound", "TensorSound"]


class Sound(ABC):
    """One sound at the rate and with the channels of its source.

    Args:
        num_samples: its length.
    """

    def __init__(self, num_samples: int) -> None:
        self.num_samples = num_samples

    def read(self, start: int, num_samples: int) -> Float[Tensor, "channels samples"]:
        """Samples ``start`` to ``start + num_samples`` of it, the same bits as of the whole.

        Raises:
            ConfigError: the part does not lie within the sound.
            MediaError: it cannot be read.
        """
        if start < 0 or num_samples < 0 or start + num_samples > self.num_samples:
            raise ConfigError(
                f"Part of a sound: expected it within samples 0 to {self.num_samples}, got "
                f"{num_samples} samples from {start} on."
            )
        return self._read(start, num_samples)

    @abstractmethod
    def _read(self, start: int, num_samples: int) -> Tensor:
        """Read a part that lies within the sound."""


class TensorSound(Sound):
    """A sound in memory.

    Args:
        samples: all of it, [channels, samples].
    """

    def __init__(self, samples: Float[Tensor, "channels samples"]) -> None:
        super().__init__(samples.shape[1])
        self._samples = samples

    def _read(self, start: int, num_samples: int) -> Tensor:
        return self._samples[:, start : start + num_samples]
