"""The border of audio: rate, channels, range, and back to the length that a sound had."""

from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from vqkit.errors import ConfigError, ShapeError
from vqkit.ops.resample import StreamingResampler, resample
from vqkit.shapes import Float
from vqkit.tokenizers.channel_policy import ChannelPolicy, MixChannels
from vqkit.tokenizers.float_bits import float32_bits, float_of_bits
from vqkit.tokenizers.frontend import Frontend, check_range
from vqkit.tokenizers.level import Level
from vqkit.tokenizers.spec import MAX_SAMPLE_RATE_HZ

__all__ = ["GAIN_SIZE", "AudioFrontend"]

GAIN_SIZE = "gain_float32"
"""Under this name tokens keep what their sound was multiplied by, as the bits of a float32."""


@final
class AudioFrontend(Frontend):
    """Sounds ``[channels, samples]`` in [-1, 1], of any rate, length and number of channels.

    A sound of another rate is resampled to the networks' and back. Nothing is padded here: the
    networks fill up their last frame, each in the way of its family.

    Args:
        sample_rate_hz: Of the waveforms that the networks take.
        channels: Of these: 1 for mono, 2 for stereo.
        channel_policy: What becomes of the channels of a sound. None: :class:`MixChannels`.
        level: What sounds are brought to before they are encoded, and from after decoding; None
            leaves them as they are.

    Raises:
        ConfigError: A rate or a number of channels below 1, or several channels for networks that
            take each alone.

    >>> import torch
    >>> frontend = AudioFrontend(sample_rate_hz=24_000)
    >>> prepared, size = frontend.prepare(torch.zeros(2, 44_100), (320,), 44_100)
    >>> prepared.shape, size
    (torch.Size([1, 24000]), {'samples': 44100, 'sample_rate_hz': 44100, 'channels': 2})
    >>> frontend.restore(prepared, size).shape
    torch.Size([2, 44100])
    """

    modality = "audio"
    axes = ("time",)

    ADDED_ARGUMENTS: ClassVar[Mapping[str, Any]] = {"channel_policy": MixChannels(), "level": None}

    def __init__(
        self,
        sample_rate_hz: int = 24_000,
        channels: int = 1,
        channel_policy: ChannelPolicy | None = None,
        level: Level | None = None,
    ) -> None:
        if sample_rate_hz < 1 or channels < 1:
            raise ConfigError(
                f"AudioFrontend: expected a sample rate and channels >= 1, got {sample_rate_hz} Hz "
                f"and {channels}."
            )
        self.sample_rate_hz: int = sample_rate_hz
        self.channels = channels
        self.channel_policy = channel_policy or MixChannels()
        self.level = level
        self.codes_channels_alone = self.channel_policy.codes_alone
        self.max_channels: int = self.channel_policy.max_channels
        self.further_sizes = () if level is None else (GAIN_SIZE,)
        if self.codes_channels_alone and channels != 1:
            raise ConfigError(
                f"AudioFrontend: expected networks of one channel for "
                f"{type(self.channel_policy).__name__}, which encodes each alone, got {channels}."
            )

    def prepare(
        self,
        media: Float[Tensor, "channels samples"],
        stride: tuple[int, ...],
        rate: int | Fraction | None = None,
    ) -> tuple[Float[Tensor, "model_channels model_samples"], dict[str, int]]:
        """Bring to the networks' level, channels and rate.

        Where each channel is encoded alone, what is prepared has as many as that are.

        Raises:
            ConfigError: A rate that no sound has.
            ShapeError: No or too many channels, or values outside [-1, 1] or not finite.
        """
        rate = self.sample_rate_hz if rate is None else rate
        self.check(media, rate)
        assert isinstance(rate, int), "checked"
        channels, samples = media.shape
        size = {"samples": samples, "sample_rate_hz": rate, "channels": channels}
        if self.level is not None:
            size[GAIN_SIZE] = float32_bits(self.level.gain(media, rate))
            media = media * float_of_bits(size[GAIN_SIZE], "gain")
        return resample(self.coded(media), rate, self.sample_rate_hz), size

    def check(
        self, media: Float[Tensor, "channels samples"], sample_rate_hz: int | Fraction
    ) -> None:
        """Refuse what is no sound.

        Raises:
            ConfigError: A rate that no sound has.
            ShapeError: No or too many channels, or values outside [-1, 1] or not finite.
        """
        if not (isinstance(sample_rate_hz, int) and 0 < sample_rate_hz <= MAX_SAMPLE_RATE_HZ):
            raise ConfigError(
                f"Audio: expected a whole sample rate of 1 to {MAX_SAMPLE_RATE_HZ} Hz, got "
                f"{sample_rate_hz}."
            )
        if media.ndim != 2 or not 0 < media.shape[0] <= self.max_channels:
            raise ShapeError(
                f"Audio: expected [channels, samples] with 1 to {self.max_channels} channels for "
                f"{type(self.channel_policy).__name__}, got {list(media.shape)}."
            )
        if media.shape[1]:
            check_range(media, "Audio", "Scale 16-bit values by x / 32768.")

    def coded(
        self, sound: Float[Tensor, "*batch channels samples"]
    ) -> Float[Tensor, "*batch coded samples"]:
        """The channels that are encoded."""
        return self.channel_policy.coded(sound, self.channels)

    def num_coded(self, channels: int) -> int:
        """How many channels are encoded of a sound's."""
        return channels if self.codes_channels_alone else self.channels

    def restore(
        self, output: Float[Tensor, "model_channels model_samples"], size: Mapping[str, int]
    ) -> Float[Tensor, "channels samples"]:
        """Bring to the rate, length, channels and level of the original, and clamp to [-1, 1].

        Raises:
            ShapeError: The output is shorter than the size asked for, or there is no such gain.
        """
        return torch.cat(list(self.restored_pieces([output], size)), dim=-1)

    def restored_pieces(
        self, pieces: Iterable[Float[Tensor, "coded model_samples"]], size: Mapping[str, int]
    ) -> Iterator[Float[Tensor, "channels samples"]]:
        """As :meth:`restore`, of a sound that comes in pieces: the same bits however it is cut.

        Raises:
            ShapeError: The pieces are shorter than the size asked for, or there is no such gain.
        """
        samples, rate, channels = size["samples"], size["sample_rate_hz"], size["channels"]
        covered = -(-samples * self.sample_rate_hz // rate)
        gain = 1.0 if self.level is None else float_of_bits(size[GAIN_SIZE], "gain")
        resampler = StreamingResampler(self.sample_rate_hz, rate, self.num_coded(channels))
        num_taken = num_given = 0

        def given(resampled: Tensor) -> Tensor:
            nonlocal num_given
            # Rounded up twice, the length may be a sample too large, and is never too small.
            sound = resampled[:, : samples - num_given]
            num_given += sound.shape[-1]
            sound = self.channel_policy.restored(sound, channels)
            return (sound if self.level is None else sound / gain).clamp(-1.0, 1.0)

        for piece in pieces:
            # What fills up the last frame is cut off before it would leak through the filter.
            piece = piece[:, : covered - num_taken]
            num_taken += piece.shape[-1]
            yield given(resampler.push(piece))
        if num_taken < covered:
            raise ShapeError(
                f"Audio size: expected at most {num_taken} samples at {self.sample_rate_hz} Hz, "
                f"which the tokens cover, got {samples} at {rate} Hz."
            )
        yield given(resampler.finish())
