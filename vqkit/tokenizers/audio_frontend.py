"""The border of audio: rate, channels, range, and back to the length that a sound had."""

from collections.abc import Mapping
from typing import final

from torch import Tensor

from vqkit.errors import ConfigError, ShapeError
from vqkit.ops.resample import resample
from vqkit.shapes import Float
from vqkit.tokenizers.frontend import Frontend, check_range
from vqkit.tokenizers.spec import MAX_CHANNELS, MAX_SAMPLE_RATE_HZ

__all__ = ["AudioFrontend"]


@final
class AudioFrontend(Frontend):
    """Sounds ``[channels, samples]`` in [-1, 1], of any rate, length and number of channels.

    A sound of another rate is resampled to the networks' and back. If it has another number of
    channels, the mean of its channels is taken for each that the networks have; decoded, each of
    its channels is the mean of theirs. Nothing is padded here: the networks fill up their last
    frame, each in the way of its family.

    Args:
        sample_rate_hz: Of the waveforms that the networks take.
        channels: 1 for mono, 2 for stereo.

    Raises:
        ConfigError: A rate or a number of channels below 1.

    >>> import torch
    >>> frontend = AudioFrontend(sample_rate_hz=24_000)
    >>> prepared, size = frontend.prepare(torch.zeros(2, 44_100), (320,), sample_rate_hz=44_100)
    >>> prepared.shape, size
    (torch.Size([1, 24000]), {'samples': 44100, 'sample_rate_hz': 44100, 'channels': 2})
    >>> frontend.restore(prepared, size).shape
    torch.Size([2, 44100])
    """

    modality = "audio"
    axes = ("time",)

    def __init__(self, sample_rate_hz: int = 24_000, channels: int = 1) -> None:
        if sample_rate_hz < 1 or channels < 1:
            raise ConfigError(
                f"AudioFrontend: expected a sample rate and channels >= 1, got {sample_rate_hz} Hz "
                f"and {channels}."
            )
        self.sample_rate_hz: int = sample_rate_hz
        self.channels = channels

    def prepare(
        self,
        media: Float[Tensor, "channels samples"],
        stride: tuple[int, ...],
        sample_rate_hz: int | None = None,
    ) -> tuple[Float[Tensor, "model_channels model_samples"], dict[str, int]]:
        """Bring to the networks' channels and rate.

        Raises:
            ConfigError: A rate that no sound has.
            ShapeError: No or too many channels, or values outside [-1, 1] or not finite.
        """
        rate = self.sample_rate_hz if sample_rate_hz is None else sample_rate_hz
        self.check(media, rate)
        channels, samples = media.shape
        size = {"samples": samples, "sample_rate_hz": rate, "channels": channels}
        return resample(self.mixed(media), rate, self.sample_rate_hz), size

    def check(self, media: Float[Tensor, "channels samples"], sample_rate_hz: int) -> None:
        """Refuse what is no sound.

        Raises:
            ConfigError: A rate that no sound has.
            ShapeError: No or too many channels, or values outside [-1, 1] or not finite.
        """
        if not 0 < sample_rate_hz <= MAX_SAMPLE_RATE_HZ:
            raise ConfigError(
                f"Audio: expected a sample rate of 1 to {MAX_SAMPLE_RATE_HZ} Hz, got "
                f"{sample_rate_hz}."
            )
        if media.ndim != 2 or not 0 < media.shape[0] <= MAX_CHANNELS:
            raise ShapeError(
                f"Audio: expected [channels, samples] with 1 to {MAX_CHANNELS} channels, got "
                f"{list(media.shape)}."
            )
        if media.shape[1]:
            check_range(media, "Audio", "Scale 16-bit values by x / 32768.")

    def restore(
        self, output: Float[Tensor, "model_channels model_samples"], size: Mapping[str, int]
    ) -> Float[Tensor, "channels samples"]:
        """Bring to the rate, length and channels of the original, and clamp to [-1, 1].

        Raises:
            ShapeError: The output is shorter than the size asked for.
        """
        samples, rate = size["samples"], size["sample_rate_hz"]
        covered = -(-samples * self.sample_rate_hz // rate)
        if covered > output.shape[-1]:
            raise ShapeError(
                f"Audio size: expected at most {output.shape[-1]} samples at {self.sample_rate_hz} "
                f"Hz, which the tokens cover, got {samples} at {rate} Hz."
            )
        sound = resample(output[:, :covered], self.sample_rate_hz, rate)
        # Rounded up twice, the length may be a sample too large, and is never too small.
        return self.unmixed(sound[:, :samples], size["channels"]).clamp(-1.0, 1.0)

    def mixed(
        self, media: Float[Tensor, "*batch channels samples"]
    ) -> Float[Tensor, "*batch model_channels samples"]:
        """The networks' channels of any number of channels, for every sample alone."""
        return _with_channels(media, self.channels)

    def unmixed(
        self, output: Float[Tensor, "*batch model_channels samples"], channels: int
    ) -> Float[Tensor, "*batch channels samples"]:
        """The channels of a sound of the networks' channels, for every sample alone."""
        return _with_channels(output, channels)


def _with_channels(media: Tensor, channels: int) -> Tensor:
    if media.shape[-2] == channels:
        return media
    return media.mean(dim=-2, keepdim=True).expand(*media.shape[:-2], channels, media.shape[-1])
