"""The sound of a clip beside its tokens, in the same file: a stream of bytes, a file by itself.

It is an audio file with the packets of the original (MP4, or Matroska where only that holds them),
or a token file of a tokenizer of sounds; its first bytes tell. Either begins with the first frame.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from vqkit.errors import ShapeError, TokenFileError
from vqkit.files import BYTE_AXIS, CodingResources, TokenFileInfo, dumps, loads, read_info
from vqkit.media import (
    AudioBlocks,
    AudioTrack,
    MediaSource,
    audio_info,
    sound_file,
    track_samples,
)
from vqkit.tokenizers import Tokenizer, Tokens, TokenStream
from vqkit.tokenizers.spec import seconds_of

__all__ = [
    "SOUND_STREAM",
    "ClipSound",
    "CopiedSound",
    "SoundFacts",
    "TokenizedSound",
    "describe_sound",
    "sound_of",
    "soundtrack",
    "with_sound",
]

SOUND_STREAM = "audio_track"
"""Bytes of the file that holds the sound of a clip."""

_NUM_BYTES = 256
_TOKEN_FILE = b"\x89VQT\r\n\x1a\n"


@runtime_checkable
class ClipSound(Protocol):
    """How the sound of a clip is kept."""

    def file(self, start_seconds: Fraction) -> bytes | None:
        """The file of the sound from a time of the video on; None if nothing is heard."""
        ...


@dataclass(frozen=True)
class CopiedSound:
    """The packets as they are; what no audio file holds is encoded as AAC.

    Attributes:
        source: The file that the clip comes from: a path or bytes.
        audio_track: Which of its sounds, from 0.
        stop_seconds: Where the clip ends in it; None takes all that is heard.
    """

    source: MediaSource
    audio_track: int = 0
    stop_seconds: float | Fraction | None = None

    def file(self, start_seconds: Fraction) -> bytes | None:
        """See :class:`ClipSound`.

        Raises:
            MediaError: The sound cannot be read, or there is no such track.
        """
        track = AudioTrack(self.source, self.audio_track, start_seconds, self.stop_seconds)
        return sound_file(track)


@dataclass(frozen=True)
class TokenizedSound:
    """The tokens of a tokenizer of sounds.

    Attributes:
        source: The file that the clip comes from: a path or bytes.
        tokenizer: Of sounds.
        audio_track: Which of its sounds, from 0.
        stop_seconds: Where the clip ends in it; None takes all that is heard.
        num_codebooks: Keep the first so many; None for all.
        resources: What the tokenizer's folder lends to the coding.
    """

    source: MediaSource
    tokenizer: Tokenizer
    audio_track: int = 0
    stop_seconds: float | Fraction | None = None
    num_codebooks: int | None = None
    resources: CodingResources = field(default_factory=CodingResources)

    def file(self, start_seconds: Fraction) -> bytes | None:
        """See :class:`ClipSound`.

        Raises:
            MediaError: The sound cannot be read, or there is no such track.
        """
        track = AudioTrack(self.source, self.audio_track, start_seconds, self.stop_seconds)
        with track_samples(track) as samples:
            tokens = self.tokenizer.encode_pieces(
                samples.blocks, sample_rate_hz=samples.sample_rate_hz
            )
        if not tokens.media[0]["samples"]:
            return None
        return dumps(tokens.first_codebooks(self.num_codebooks), resources=self.resources)


@dataclass(frozen=True)
class SoundFacts:
    """What the sound of a clip is.

    Attributes:
        encoding: Of copied packets, as FFmpeg calls it: ``"aac"`` ...; None of tokens.
        model: Id of the tokenizer; None of copied packets.
        fingerprint: Of the tokenizer.
        sample_rate_hz: Of the sound that it came from.
        channels: Of that sound.
        seconds: How long it lasts; None where the file does not say it.
        size_bytes: Of its file.
    """

    encoding: str | None
    model: str | None
    fingerprint: str | None
    sample_rate_hz: int
    channels: int
    seconds: float | None
    size_bytes: int


def with_sound(tokens: Tokens, file: bytes) -> Tokens:
    """The tokens of one clip with a sound beside them.

    Args:
        tokens: Of one clip.
        file: Of the sound: an audio file, or a token file of sounds.
    """
    values = np.frombuffer(file, np.uint8).astype(np.int64)
    stream = TokenStream(torch.from_numpy(values)[None, :, None], (_NUM_BYTES,), (BYTE_AXIS,))
    return replace(tokens, streams={**tokens.streams, SOUND_STREAM: stream})


def sound_of(tokens: Tokens) -> bytes | None:
    """The file of the sound that lies beside the tokens of a clip; None if there is none.

    Raises:
        ShapeError: A part of it is lost.

    Example:
        >>> stream = TokenStream(torch.zeros(1, 2, 3, 3, 1, dtype=torch.int64), (8,), (
        ...     "time", "height", "width"))
        >>> tokens = Tokens({"tokens": stream}, ({},), "video", "example", "0" * 32)
        >>> sound_of(tokens), sound_of(with_sound(tokens, b"OggS..."))
        (None, b'OggS...')
    """
    stream = tokens.streams.get(SOUND_STREAM)
    if stream is None:
        return None
    if stream.num_unknown:
        raise ShapeError(
            f"Sound of a clip: expected all of its {stream.num_tokens:,} bytes, got "
            f"{stream.num_unknown:,} that are lost. Decode without it."
        )
    return stream.indices.flatten().to("cpu", torch.uint8).numpy().tobytes()


def describe_sound(file: bytes) -> SoundFacts:
    """What the file of a sound is, without decoding it.

    Raises:
        MediaError: It is no audio file.
        TokenFileError: It begins like a token file, and is none.
    """
    if not file.startswith(_TOKEN_FILE):
        audio = audio_info(file)
        return SoundFacts(
            audio.encoding, None, None, audio.sample_rate_hz, audio.channels, audio.seconds,
            len(file),
        )  # fmt: skip
    info = read_info(file)
    size = info.media
    return SoundFacts(
        None, info.tokenizer, info.fingerprint, size.get("sample_rate_hz", 0),
        size.get("channels", 0), seconds_of(size), len(file),
    )  # fmt: skip


def soundtrack(
    file: bytes, model_for: Callable[[TokenFileInfo], Tokenizer]
) -> AudioBlocks | AudioTrack:
    """What a :class:`vqkit.media.VideoWriter` writes beside the frames.

    Args:
        file: Of the sound.
        model_for: The tokenizer of sounds that made a token file; asked where it is one.

    Raises:
        ModelMismatchError: The tokens are another tokenizer's.
        TokenFileError: It begins like a token file, and is damaged or none of a sound.
    """
    if not file.startswith(_TOKEN_FILE):
        return AudioTrack(file)
    info = read_info(file)
    if info.modality != "audio":
        raise TokenFileError(
            f"Sound of a clip: expected the tokens of a sound, got those of {info.modality}. "
            "Decode without it."
        )
    tokenizer = model_for(info)
    folder = tokenizer.folder
    resources = CodingResources() if folder is None else CodingResources.of_model(folder)
    tokens = loads(file, resources=resources)
    # Decoded as they are written: of hours of sound there is a piece in memory.
    return AudioBlocks(tokenizer.decode_pieces(tokens), tokens.media[0]["sample_rate_hz"])
