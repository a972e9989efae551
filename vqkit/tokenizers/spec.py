"""What a tokenizer does, in numbers, without its weights."""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vqkit.errors import ConfigError, ShapeError
from vqkit.tokenizers.chunking import Chunking
from vqkit.tokenizers.frame_groups import FrameGroups

__all__ = [
    "CHANNEL_AXIS",
    "MAX_CHANNELS",
    "MAX_SAMPLE_RATE_HZ",
    "VIDEO_SIZES",
    "TokenizerSpec",
    "seconds_of",
]

MAX_SAMPLE_RATE_HZ, MAX_CHANNELS = 1_000_000, 256
"""Of a sound: beyond what files have, and small enough that none can ask for much memory."""

CHANNEL_AXIS = "channel"
"""Name of the axis of tokens where each channel of a sound is encoded alone."""

_SOUND_SIZES = ("samples", "sample_rate_hz", "channels")

VIDEO_SIZES = ("frames", "height", "width", "frame_rate_numerator", "frame_rate_denominator")
"""Names of the sizes that tokens keep of a clip; the rate, frames per second, may be 0 of 1."""


@dataclass(frozen=True)
class TokenizerSpec:
    """Description of a tokenizer, as JSON in model folders and reports.

    Attributes:
        name: Id of the model.
        modality: "image", "audio", "video".
        channels: Channels of the media, of which there is one where axes have ``channel``: as many
            sounds as there are channels are then encoded.
        axes: Names of the grid's axes.
        strides: Media samples per token along each axis.
        codebook_sizes: One per entry of the indices' last axis.
        fingerprint: 32 hex digits over configuration and weights.
        latent_grid: The one grid that the media must have; None takes any.
        num_positions: Positions of the indices of that grid, on one axis; None as well.
        sample_rate_hz: Rate of the waveforms that the networks take; None without a time axis.
        chunking: Where a sound is encoded in chunks, in what chunks.
        further_sizes: Names of numbers that tokens keep of their media beside the usual.
        first_frame_alone: Whether the first latent frame of a clip stands for its first frame
            alone; None of other media.
    """

    name: str
    modality: str
    channels: int
    axes: tuple[str, ...]
    strides: tuple[int, ...]
    codebook_sizes: tuple[int, ...]
    fingerprint: str
    latent_grid: tuple[int, ...] | None = None
    num_positions: int | None = None
    sample_rate_hz: int | None = None
    chunking: Chunking | None = None
    further_sizes: tuple[str, ...] | None = None
    first_frame_alone: bool | None = None

    @property
    def bits_per_position(self) -> float:
        """Nominal bits of one grid position."""
        return math.fsum(math.log2(size) for size in self.codebook_sizes)

    @property
    def bits_per_pixel(self) -> float:
        """Nominal bits per pixel of media whose sides the stride divides."""
        positions = 1.0
        if self.latent_grid is not None and self.num_positions is not None:
            positions = self.num_positions / math.prod(self.latent_grid)
        return self.bits_per_position * positions / math.prod(self.strides)

    @property
    def bits_per_second(self) -> float | None:
        """Nominal bits per second of sound, or of each channel where channels are encoded alone.

        As papers have it: without what chunks share, and without their scales. None of media
        without a rate.
        """
        if self.sample_rate_hz is None:
            return None
        return self.bits_per_position * self.sample_rate_hz / math.prod(self.strides)

    @property
    def media_sizes(self) -> tuple[str, ...]:
        """Names of the sizes that tokens keep of their media."""
        if self.modality == "video":
            usual: tuple[str, ...] = VIDEO_SIZES
        else:
            usual = self.axes if self.sample_rate_hz is None else _SOUND_SIZES
        return usual + (self.further_sizes or ())

    @property
    def has_duration(self) -> bool:
        """Whether its media last: sounds and clips do."""
        return self.sample_rate_hz is not None or self.modality == "video"

    @property
    def codes_channels_alone(self) -> bool:
        """Whether each channel of a sound is encoded by itself."""
        return CHANNEL_AXIS in self.axes

    @property
    def side_streams(self) -> dict[str, tuple[tuple[str, ...], tuple[int, ...]]]:
        """Axes and codebook sizes of the streams beside the tokens, by name."""
        if self.chunking is None:
            return {}
        further = (CHANNEL_AXIS,) if self.codes_channels_alone else ()
        streams = self.chunking.side_streams.items()
        return {name: ((*axes, *further), sizes) for name, (axes, sizes) in streams}

    def extents(self, size: Mapping[str, int]) -> dict[str, int]:
        """Samples along each axis, as the networks take media of a size.

        Sound of another rate is resampled first.

        Raises:
            ShapeError: A size is missing, or a rate or number of channels that no sound has.

        >>> spec = TokenizerSpec("t", "audio", 1, ("time",), (320,), (1024,), "0" * 32,
        ...                      sample_rate_hz=24_000)
        >>> spec.extents({"samples": 44_100, "sample_rate_hz": 44_100, "channels": 2})
        {'time': 24000}
        """
        if not set(self.media_sizes) <= set(size):
            raise ShapeError(f"Media size: expected {list(self.media_sizes)}, got {sorted(size)}.")
        if self.modality == "video":
            return {"time": size["frames"], "height": size["height"], "width": size["width"]}
        if self.sample_rate_hz is None:
            return {axis: size[axis] for axis in self.axes}
        rate, channels = size["sample_rate_hz"], size["channels"]
        if not (0 < rate <= MAX_SAMPLE_RATE_HZ and 0 < channels <= MAX_CHANNELS):
            raise ShapeError(
                f"Media size: expected 1 to {MAX_SAMPLE_RATE_HZ} Hz and 1 to {MAX_CHANNELS} "
                f"channels, got {rate} Hz and {channels}."
            )
        extents = {"time": -(-size["samples"] * self.sample_rate_hz // rate)}
        if self.codes_channels_alone:
            extents[CHANNEL_AXIS] = channels
        return extents

    def grid(self, size: Mapping[str, int]) -> tuple[int, ...]:
        """Grid of the tokens of media of a size: each axis over its stride, rounded up.

        Where sounds are encoded in chunks, the sum over these. Where a tokenizer takes one grid
        alone, its positions on one axis.

        Raises:
            ShapeError: The media have another grid than the one.

        >>> spec = TokenizerSpec("t", "image", 3, ("height", "width"), (8, 8), (512,), "0" * 32)
        >>> spec.grid({"height": 300, "width": 451}), round(spec.bits_per_pixel, 4)
        ((38, 57), 0.1406)
        """
        extents = self.extents(size)
        latents = tuple(
            self._positions(axis, extents[axis], step)
            for axis, step in zip(self.axes, self.strides, strict=True)
        )
        if self.latent_grid is None or self.num_positions is None:
            return latents
        if latents != self.latent_grid:
            largest = [n * step for n, step in zip(self.latent_grid, self.strides, strict=True)]
            raise ShapeError(
                f"Media of {dict(size)}: expected a grid of {list(self.latent_grid)}, the only one "
                f"that this model takes, got {list(latents)}. Resize the media to {largest}."
            )
        return (self.num_positions,)

    def side_grid(self, size: Mapping[str, int]) -> tuple[int, ...]:
        """Grid of the streams beside the tokens, of media of a size: one position per chunk."""
        if self.chunking is None:
            return ()
        extents = self.extents(size)
        further = (extents[CHANNEL_AXIS],) if self.codes_channels_alone else ()
        return (self.chunking.num_chunks(extents["time"]), *further)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; without what is None."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in dataclasses.asdict(self).items()
            if value is not None
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "TokenizerSpec":
        """Inverse of :meth:`to_dict`.

        Raises:
            ConfigError: Missing or unknown keys.
        """
        fields = dataclasses.fields(cls)
        names = {field.name for field in fields}
        required = {field.name for field in fields if field.default is dataclasses.MISSING}
        if not required <= set(data) <= names:
            raise ConfigError(f"TokenizerSpec: expected keys {sorted(names)}, got {sorted(data)}.")
        plain: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in data.items()
        }
        if isinstance(plain.get("chunking"), Mapping):
            try:
                plain["chunking"] = Chunking(**plain["chunking"])
            except TypeError as error:
                raise ConfigError(f"TokenizerSpec: {error}.") from error
        return cls(**plain)

    def to_json(self) -> str:
        """Canonical JSON: sorted keys."""
        return json.dumps(self.to_dict(), sort_keys=True)

    def _positions(self, axis: str, extent: int, stride: int) -> int:
        if self.chunking is not None and axis != CHANNEL_AXIS:
            return self.chunking.num_frames(extent, stride)
        if axis == "time" and self.first_frame_alone is not None:
            return FrameGroups(stride, self.first_frame_alone).num_latents(extent)
        return -(-extent // stride)


def seconds_of(size: Mapping[str, int]) -> float | None:
    """Duration of a sound or a clip of a size; None of media that have none.

    >>> seconds_of({"samples": 12_000, "sample_rate_hz": 24_000, "channels": 1})
    0.5
    """
    numerator, denominator = (size.get(name, 0) for name in VIDEO_SIZES[3:])
    if numerator and denominator and "frames" in size:
        return size["frames"] * denominator / numerator
    if not size.get("sample_rate_hz") or "samples" not in size:
        return None
    return size["samples"] / size["sample_rate_hz"]
