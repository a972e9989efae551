"""Video files to tokens and back: frames as they are read, with the times at which they are shown.

Frames of a constant rate need nothing beside that rate. Where it varies, a stream of the tokens
holds how long each frame lasts, in ticks of the file's own time base.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from fractions import Fraction

import torch
from torch import Tensor

from vqkit.errors import ShapeError
from vqkit.media import FrameTimes, MediaTarget, VideoReader, VideoWriter
from vqkit.tokenizers import Tiling, Tokenizer, Tokens, TokenStream
from vqkit.tokenizers.video_frontend import frame_rate_of

__all__ = ["DURATION_STREAM", "encode_clip", "frame_times_of", "write_clip"]

DURATION_STREAM = "frame_durations"
"""Ticks that each frame lasts, in a clip of a rate that varies."""

_BLOCK_FRAMES = 16
_USUAL_RATE = Fraction(25)
_TIME_BASE = ("time_base_numerator", "time_base_denominator")
# A tick is a 90,000th of a second or so: a frame may last for hours.
_MAX_DURATION = 1 << 32
_MOST_EXACT = 1_000_000
_WITHOUT_TIMES = ("y4m", "png")


def encode_clip(
    reader: VideoReader,
    tokenizer: Tokenizer,
    chunk_frames: int | None = None,
    tiling: Tiling | None = None,
) -> Tokens:
    """What is left of a video file as tokens, encoded as it is read.

    Args:
        reader: Of the file, with the channels of the tokenizer.
        tokenizer: Of video.
        chunk_frames: As for :meth:`Tokenizer.encode`.
        tiling: As for :meth:`Tokenizer.encode`.

    Raises:
        MediaError: The file is damaged.
        ShapeError: It has no frames.
    """
    tokens = tokenizer.encode_pieces(
        reader.blocks(_BLOCK_FRAMES),
        frame_rate=reader.info.frame_rate,
        chunk_frames=chunk_frames,
        tiling=tiling,
    )
    times = reader.times
    return tokens if times.is_constant else _with_times(tokens, times)


def write_clip(
    pieces: Iterator[Tensor],
    tokens: Tokens,
    target: MediaTarget,
    *,
    format: str | None = None,
    overwrite: bool = False,
) -> None:
    """Write a decoded clip, piece by piece, with the times of the original.

    A rate that is not known is taken for 25. Formats without times get the average rate.

    Args:
        pieces: What :meth:`Tokenizer.decode_pieces` gives.
        tokens: Of the clip.
        target: A path or a binary stream.
        format: As for :class:`vqkit.media.VideoWriter`.
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
    if stream is None:
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


def _with_times(tokens: Tokens, times: FrameTimes) -> Tokens:
    durations = torch.tensor(times.durations, dtype=torch.int64)
    largest = int(durations.max())
    if largest >= _MAX_DURATION:
        raise ShapeError(
            f"Times of frames: expected less than {_MAX_DURATION} ticks between two, got {largest}."
        )
    # As few bits as the longest needs: small files know what they are made of.
    stream = TokenStream(durations[None, :, None], (largest + 1,), ("frame",))
    rate = (times.frame_rate or _USUAL_RATE).limit_denominator(_MOST_EXACT)
    base = times.time_base
    size: Mapping[str, int] = {
        **tokens.media[0],
        "frame_rate_numerator": rate.numerator,
        "frame_rate_denominator": rate.denominator,
        **dict(zip(_TIME_BASE, (base.numerator, base.denominator), strict=True)),
    }
    return replace(tokens, streams={**tokens.streams, DURATION_STREAM: stream}, media=(size,))


def _time_base(size: Mapping[str, int]) -> Fraction | None:
    numerator, denominator = (size.get(name, 0) for name in _TIME_BASE)
    return Fraction(numerator, denominator) if numerator and denominator else None
