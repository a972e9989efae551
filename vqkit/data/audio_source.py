"""Sets of sounds: all at one rate and number of channels, read in parts."""

from abc import abstractmethod
from contextlib import AbstractContextManager

from torch import Generator, Tensor

from vqkit.data.audio_transforms import transform_sound
from vqkit.data.sounds import Sound
from vqkit.data.source import MediaSet
from vqkit.data.transforms import Transform
from vqkit.errors import ConfigError, MediaError
from vqkit.shapes import Float

__all__ = ["AudioSource"]


class AudioSource(MediaSet):
    """A numbered set of sounds ``[channels, samples]``; a subclass says how each is opened.

    A training sample reads only the part that its transform wants. A file that is damaged within is
    then found broken by those samples alone that meet the damage: they take the next sound, and the
    others stay what they are, in whatever order they are read.

    Args:
        num_sounds: how many there are.
        sample_rate_hz: rate of all.
        channels: number of channels of all.

    Raises:
        ConfigError: the rate or the number of channels is below 1.
    """

    kind = "sounds"

    def __init__(self, num_sounds: int, *, sample_rate_hz: int, channels: int) -> None:
        if sample_rate_hz < 1 or channels < 1:
            raise ConfigError(
                "Set of sounds: expected a sample rate and channels of at least 1, got "
                f"{sample_rate_hz} Hz and {channels}."
            )
        super().__init__(num_sounds)
        self.sample_rate_hz = sample_rate_hz
        self.channels = channels

    @abstractmethod
    def open(self, index: int) -> AbstractContextManager[Sound]:
        """Open one sound, values in [-1, 1].

        Raises:
            MediaError: it cannot be read.
        """

    def load(self, index: int) -> Float[Tensor, "channels samples"]:
        """Read one sound as a whole.

        Raises:
            MediaError: it cannot be read.
        """
        with self.open(index) as sound:
            return sound.read(0, sound.num_samples)

    def segment(
        self, index: int, start: int, num_samples: int
    ) -> Float[Tensor, "channels samples"]:
        """Read a part of one sound: the same bits as that part of :meth:`load`.

        Raises:
            ConfigError: the part does not lie within the sound.
            MediaError: it cannot be read.
        """
        with self.open(index) as sound:
            return sound.read(start, num_samples)

    def sample_or_skip(
        self, index: int, transform: Transform, generator: Generator
    ) -> Float[Tensor, "channels samples"] | None:
        """Read what the transform wants of one sound; None where that cannot be read."""
        # Whether an earlier part was damaged must not matter, or a resumed run would differ.
        try:
            with self.open(index) as sound:
                return transform_sound(transform, sound, generator)
        except MediaError as error:
            self._report(index, error)
            return None
