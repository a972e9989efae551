"""One-liners for one media item; whoever has many loads a :class:`vqkit.Tokenizer` once."""

import itertools
import os
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor

from vqkit.clip_sound import ClipSound
from vqkit.clips import encode_clip
from vqkit.errors import ConfigError, ShapeError
from vqkit.files import CodingResources, TokenFileInfo, read_tokens, write_tokens
from vqkit.media import AudioReader, MediaSource, VideoReader, read_image
from vqkit.shapes import Float
from vqkit.tokenizers import Tokenizer, Tokens

__all__ = ["decode", "encode", "encode_sound", "load", "save"]

_BLOCK_SECONDS = 10

Model = Tokenizer | str | os.PathLike[str]
"""A tokenizer, or the folder or hub id that it is loaded from."""


def load(source: str | os.PathLike[str], model: Model | None = None) -> Tokens:
    """Read a token file (``.vqt``), checking every checksum on the way.

    Models are loaded by :meth:`vqkit.Tokenizer.from_pretrained`.

    Args:
        source: The file.
        model: For a file that was written with tables or the prior of its model: the model, or its
            folder or hub id.

    Raises:
        TokenFileError: It is no token file, or a damaged one.
    """
    path = Path(source)
    if path.is_dir():
        raise ConfigError(
            f"Loading {str(path)!r}: expected a token file, got a folder. A model is loaded by "
            "vqkit.Tokenizer.from_pretrained(folder)."
        )
    return read_tokens(path, resources=_resources(model))


def save(
    tokens: Tokens,
    path: str | os.PathLike[str],
    model: Model | None = None,
    *,
    overwrite: bool = False,
) -> TokenFileInfo:
    """Write the tokens of one item as a token file, read it back, compare; return what it holds.

    Args:
        tokens: One item.
        path: The file.
        model: Its tables and its prior, where it has any, make the file smaller; to load it takes
            them then, too.
        overwrite: Replace a file that exists.

    Raises:
        TokenFileError: The file exists and may not be replaced, or cannot be written.
    """
    return write_tokens(tokens, path, overwrite=overwrite, resources=_resources(model))


def encode(
    media: Tensor | MediaSource,
    model: Model,
    *,
    chunk_seconds: float | None = None,
    audio_track: int = 0,
    start_seconds: float | Fraction = 0,
    stop_seconds: float | Fraction | None = None,
    sound: ClipSound | None = None,
) -> Tokens:
    """Turn one image, sound or clip into tokens.

    Args:
        media: ``[channels, *size]`` in [-1, 1], sounds at the model's rate; or a file of an image,
            a sound or a video: its path, its bytes or a binary stream.
        model: A tokenizer, or the folder or hub id to load it from at every call.
        chunk_seconds: Longer sounds are read and encoded in chunks of this length; None is 2 on a
            CPU and 60 on a GPU.
        audio_track: Which sound of a video, from 0.
        start_seconds: Where in the file of a sound or a video to begin.
        stop_seconds: Where in it to end.
        sound: How the sound of a video is kept beside its frames; None leaves it out.

    Raises:
        ConfigError: There is no such model, or a time of what has none.
        MediaError: The file cannot be read.
        ShapeError: The tensor is not one image, sound or clip.

    >>> import torch
    >>> from vqkit.nets import FastDecoder, FastEncoder
    >>> from vqkit.quantizers import FSQ, Factorized
    >>> from vqkit.tokenizers import ImageFrontend, Tokenizer
    >>> quantizer = Factorized(FSQ([8, 8, 8]), 16)
    >>> tokenizer = Tokenizer(
    ...     ImageFrontend(), FastEncoder(dim=16), quantizer, FastDecoder(dim=16)
    ... )
    >>> decode(encode(torch.zeros(3, 30, 45), tokenizer), tokenizer).shape
    torch.Size([3, 30, 45])
    """
    tokenizer = _tokenizer(model)
    is_part = start_seconds != 0 or stop_seconds is not None
    if is_part and (isinstance(media, Tensor) or tokenizer.frontend.modality == "image"):
        raise ConfigError("start_seconds, stop_seconds: expected a file of a sound or a video.")
    if isinstance(media, Tensor):
        return tokenizer.encode([media], chunk_seconds=chunk_seconds)
    if tokenizer.frontend.modality == "audio":
        with AudioReader(
            media,
            audio_stream=audio_track,
            start_seconds=start_seconds,
            stop_seconds=stop_seconds,
        ) as reader:
            return encode_sound(reader, tokenizer, chunk_seconds)
    channels = tokenizer.frontend.channels
    if tokenizer.frontend.modality == "video":
        with VideoReader(
            media, channels=channels, start_seconds=start_seconds, stop_seconds=stop_seconds
        ) as video:
            return encode_clip(video, tokenizer, sound=sound)
    return tokenizer.encode([read_image(media, channels=channels)])


def decode(
    tokens: Tokens | str | os.PathLike[str], model: Model
) -> Float[Tensor, "channels *size"]:
    """Turn the tokens of one item back into media of the original size, values in [-1, 1].

    Args:
        tokens: What :func:`encode` or :func:`load` gave, or the path of a token file.
        model: The tokenizer that made them, or the folder or hub id to load it from.

    Raises:
        ConfigError: There is no such model.
        ModelMismatchError: Another tokenizer made the tokens.
        ShapeError: There is more than one item.
        TokenFileError: The file is damaged.
    """
    tokenizer = _tokenizer(model)
    if not isinstance(tokens, Tokens):
        tokens = load(tokens, tokenizer)
    if len(tokens) != 1:
        raise ShapeError(
            f"Decoding: expected the tokens of one item, got {len(tokens)}. Use "
            "Tokenizer.decode(tokens), which gives a list."
        )
    return tokenizer.decode(tokens)[0]


def encode_sound(
    reader: AudioReader, tokenizer: Tokenizer, chunk_seconds: float | None = None
) -> Tokens:
    """What is left of a sound file as tokens, encoded as it is read."""
    nothing = torch.zeros(reader.channels, 0)  # for a sound of no length
    blocks = reader.blocks(_BLOCK_SECONDS * reader.sample_rate_hz)
    return tokenizer.encode_pieces(
        itertools.chain([nothing], blocks),
        sample_rate_hz=reader.sample_rate_hz,
        chunk_seconds=chunk_seconds,
    )


def _resources(model: Model | None) -> CodingResources:
    if model is None:
        return CodingResources()
    if not isinstance(model, Tokenizer) and Path(model).is_dir():
        return CodingResources.of_model(model)
    folder = _tokenizer(model).folder
    return CodingResources() if folder is None else CodingResources.of_model(folder)


def _tokenizer(model: Model) -> Tokenizer:
    return model if isinstance(model, Tokenizer) else Tokenizer.from_pretrained(model)
