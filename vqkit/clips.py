"""Video files to tokens and back: frames as they are read, with the times at which they are shown.

Frames of a constant rate need nothing beside that rate. Where it varies, a stream of the tokens
holds how long each frame lasts, in ticks of the file's own time base. Another one may hold the
sound (:mod:`vqkit.clip_sound`).
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from vqkit.clip_sound import ClipSound, with_sound
from vqkit.errors import ShapeError
from vqkit.media import AudioBlocks, AudioTrack, FrameTimes, MediaTarget, Video, VideoWriter
from vqkit.tokenizers import Tiling, Tokenizer, Tokens, TokenStream
from vqkit.tokenizers.video_frontend import frame_rate_of

__all__ = [
    "DURATION_LAYOUT",
    "DURATION_STREAM",
    "TIME_BASE_SIZES",
    "WITHOUT_SOUND",
    "ClipSource",
    "WholeClip",
    "encode_clip",
    "frame_times_of",
    "with_duration_layout",
    "write_clip",
]

DURATION_STREAM = "frame_durations"
"""Ticks that each frame lasts, in a clip of a rate that varies."""

TIME_BASE_SIZES = ("time_base_numerator", "time_base_denominator")
"""Names of the sizes that tokens of such a clip keep beside the usual: seconds of a tick."""

DURATION_LAYOUT = (("frame",), (1 << 32,))
"""Axes and codebooks of that stream in a data set, where those of all clips are the same."""

WITHOUT_SOUND = ("gif", "y4m", "png")
"""Formats of video that hold no sound."""

_BLOCK_FRAMES = 16
# A tick is a 90,000th of a second or so: a frame may last for hours.
_MAX_DURATION = 1 << 32
_USUAL_RATE = Fraction(25)
_MOST_EXACT = 1_000_000
_WITHOUT_TIMES = ("y4m", "png")


@runtime_checkable
class ClipSource(Protocol):
    """Frames as they are read: a :class:`vqkit.media.VideoReader`, or what comes from one."""

    @property
    def frame_rate(self) -> Fraction:
        """Frames per second of the file, on average where they vary."""
        ...

    @property
    def is_part(self) -> bool:
        """Whether a part of the file was asked for."""
        ...

    @property
    def times(self) -> FrameTimes:
        """When the frames are shown that were read by now."""
        ...

    def blocks(self, num_frames: int) -> Iterator[Tensor]:
        """Frames ``[channels, frames, height, width]``, so many at a time."""
        ...


@dataclass(frozen=True)
class WholeClip:
    """A clip that was read already, as one that is read.

    Attributes:
        video: What :func:`vqkit.media.read_video` gave, with float frames.
        is_part: Whether that was a part of the file.
    """

    video: Video
    is_part: bool = False

    @property
    def frame_rate(self) -> Fraction:
        """See :class:`ClipSource`."""
        return self.video.frame_rate

    @property
    def times(self) -> FrameTimes:
        """See :class:`ClipSource`."""
        return self.video.times

    def blocks(self, num_frames: int) -> Iterator[Tensor]:
        """See :class:`ClipSource`."""
        frames = self.video.frames
        yield from frames.split(num_frames, dim=1) if frames.shape[1] else ()


def encode_clip(
    reader: ClipSource,
    tokenizer: Tokenizer,
    chunk_frames: int | None = None,
    tiling: Tiling | None = None,
    sound: ClipSound | None = None,
) -> Tokens:
    """What is left of a video file as tokens, encoded as it is read.

    Args:
        reader: Of the file, with the channels of the tokenizer.
        tokenizer: Of video.
        chunk_frames: As for :meth:`Tokenizer.encode`.
        tiling: As for :meth:`Tokenizer.encode`.
        sound: How the sound of the file is kept, from the first of the frames on.

    Raises:
        MediaError: The file is damaged.
        ShapeError: It has no frames, or none in the time that was asked for.
    """
    blocks = reader.blocks(_BLOCK_FRAMES)
    first = next(blocks, None)
    if first is None:
        where = "in the time that was asked for" if reader.is_part else "in the file"
        raise ShapeError(f"Clip to encode: expected at least one frame {where}, got none.")
    tokens = tokenizer.encode_pieces(
        itertools.chain([first], blocks),
        frame_rate=reader.frame_rate,
        chunk_frames=chunk_frames,
        tiling=tiling,
    )
    times = reader.times
    if not times.is_constant:
        tokens = _with_times(tokens, times)
    elif reader.is_part and not _has_rate(times, reader.frame_rate):
        # Of a file whose rate varies, a part where it does not.
        tokens = _with_rate(tokens, times)
    if sound is not None:
        start = times.ticks[0] * times.time_base
        if (file := sound.file(start)) is not None:
            tokens = with_sound(tokens, file)
    return tokens


def write_clip(
    pieces: Iterator[Tensor],
    tokens: Tokens,
    target: MediaTarget,
    *,
    format: str | None = None,
    audio: AudioBlocks | AudioTrack | None = None,
    overwrite: bool = False,
) -> None:
    """Write a decoded clip, piece by piece, with the times of the original.

    A rate that is not known is taken for 25. Formats without times get the average rate.

    Args:
        pieces: What :meth:`Tokenizer.decode_pieces` gives.
        tokens: Of the clip.
        target: A path or a binary stream.
        format: As for :class:`vqkit.media.VideoWriter`.
        audio: What :func:`vqkit.clip_sound.soundtrack` gives, for the formats that hold sound.
        overwrite: Replace a file that exists.

    Raises:
        MediaError: It cannot be written.
        ShapeError: The durations of frames are not those of a clip.
    """
    size = tokens.media[0]
    times = None if format in _WITHOUT_TIMES else frame_times_of(tokens)
    with VideoWriter(
        target,
        frame_rate_of(size) or _USUAL_RATE,
        size["height"],
        size["width"],
        format=format,
        time_base=None if times is None else times.time_base,
        audio=audio,
        overwrite=overwrite,
    ) as writer:
        first = 0
        for piece in pieces:
            end = first + piece.shape[1]
            if times is None:
                writer.write(piece)
            elif piece.shape[1]:
                last = times.durations[end - 1]
                writer.write(piece, times.ticks[first:end], last_duration=last)
            first = end


def frame_times_of(tokens: Tokens) -> FrameTimes | None:
    """When the frames of a clip are shown; None where the rate is constant.

    Raises:
        ShapeError: The durations are not those of so many frames, or some are lost.
    """
    stream = tokens.streams.get(DURATION_STREAM)
    # In a data set, where all clips have the same streams, that of a constant rate is empty.
    if stream is None or not stream.indices.numel():
        return None
    size = tokens.media[0]
    time_base = _time_base(size)
    durations = stream.indices.flatten().tolist()
    if len(durations) != size["frames"] or min(durations, default=0) < 0 or time_base is None:
        raise ShapeError(
            f"Times of frames: expected {size['frames']} durations and a time base, got "
            f"{len(durations)} and {time_base}, or some are lost. Decode with a constant rate by "
            f"leaving out the stream {DURATION_STREAM!r}."
        )
    ticks = [0]
    for duration in durations[:-1]:
        ticks.append(ticks[-1] + duration)
    return FrameTimes(tuple(ticks), durations[-1], time_base)


def with_duration_layout(tokens: Tokens) -> Tokens:
    """Tokens of a clip with the streams that those of all other clips have.

    Durations of frames have as many codes as there may be, and where the rate is constant there are
    none. A shard holds them in few bits all the same.
    """
    axes, codebook_sizes = DURATION_LAYOUT
    stream = tokens.streams.get(DURATION_STREAM)
    indices = torch.zeros(1, 0, 1, dtype=torch.int64) if stream is None else stream.indices
    durations = TokenStream(indices, codebook_sizes, axes)
    return replace(tokens, streams={**tokens.streams, DURATION_STREAM: durations})


def _with_times(tokens: Tokens, times: FrameTimes) -> Tokens:
    durations = torch.tensor(times.durations, dtype=torch.int64)
    largest = int(durations.max())
    if largest >= _MAX_DURATION:
        raise ShapeError(
            f"Times of frames: expected less than {_MAX_DURATION} ticks between two, got {largest}."
        )
    # As few bits as the longest needs: small files know what they are made of.
    stream = TokenStream(durations[None, :, None], (largest + 1,), ("frame",))
    tokens = _with_rate(tokens, times)
    base = times.time_base
    size: Mapping[str, int] = {
        **tokens.media[0],
        **dict(zip(TIME_BASE_SIZES, (base.numerator, base.denominator), strict=True)),
    }
    return replace(tokens, streams={**tokens.streams, DURATION_STREAM: stream}, media=(size,))


def _with_rate(tokens: Tokens, times: FrameTimes) -> Tokens:
    rate = (times.frame_rate or _USUAL_RATE).limit_denominator(_MOST_EXACT)
    size = {
        **tokens.media[0],
        "frame_rate_numerator": rate.numerator,
        "frame_rate_denominator": rate.denominator,
    }
    return replace(tokens, media=(size,))


def _has_rate(times: FrameTimes, frame_rate: Fraction) -> bool:
    """Whether frames follow at a rate, within the rounding to ticks of their first and last."""
    return abs(times.seconds - len(times.ticks) / frame_rate) <= 2 * times.time_base


def _time_base(size: Mapping[str, int]) -> Fraction | None:
    numerator, denominator = (size.get(name, 0) for name in TIME_BASE_SIZES)
    return Fraction(numerator, denominator) if numerator and denominator else None
