"""Long sounds: memory by the chunk, tokens as of the whole.

Chunks begin at fixed frames, so that the pieces in which a sound comes do not change a bit of the
tokens. Of networks that need the whole there is one chunk.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vqkit.errors import ConfigError, ShapeError, StreamingError
from vqkit.ops.resample import StreamingResampler
from vqkit.tokenizers.audio_frontend import AudioFrontend
from vqkit.tokenizers.streaming import DecoderStream, WaveformStream

if TYPE_CHECKING:
    from vqkit.tokenizers.tokenizer import Tokenizer

__all__ = ["CHUNK_SECONDS", "Waveform", "decoded_pieces", "encode_waveform", "frames_per_chunk"]

CHUNK_SECONDS = 2.0
"""Length of chunks, unless another is asked for."""


def frames_per_chunk(tokenizer: "Tokenizer", seconds: float) -> int:
    """How many frames of tokens a chunk has, 1 at least.

    Raises:
        ConfigError: The length is not positive.
    """
    if not seconds > 0:
        raise ConfigError(f"Length of a chunk: expected more than 0 seconds, got {seconds}.")
    rate_hz = tokenizer.frontend.sample_rate_hz or 1
    # An infinite length is one chunk.
    return max(1, int(min(seconds * rate_hz / tokenizer.stride[0], 1 << 40)))


class Waveform:
    """A sound that comes in pieces, as what the encoder takes.

    Args:
        frontend: Of the tokenizer.
        pieces: ``[channels, samples]`` in [-1, 1]; at least one, which may have no samples.
        sample_rate_hz: Of the pieces, if it is not the model's.
        device: Where the model is.
    """

    def __init__(
        self,
        frontend: AudioFrontend,
        pieces: Iterable[Tensor],
        sample_rate_hz: int | None,
        device: torch.device,
    ) -> None:
        self._frontend = frontend
        self._pieces = pieces
        self._device = device
        self._rate_hz = frontend.sample_rate_hz if sample_rate_hz is None else sample_rate_hz
        self.size: Mapping[str, int] | None = None
        """Of the whole sound, once all pieces are taken."""

    def __iter__(self) -> Iterator[Tensor]:
        """Pieces ``[1, channels, samples]`` at the model's rate.

        Raises:
            ShapeError: No piece, or pieces that are no sound, or of other channels than the first.
            ConfigError: A rate that no sound has.
        """
        model = self._frontend
        resampler: StreamingResampler | None = None
        num_samples, channels = 0, None
        for piece in self._pieces:
            model.check(piece, self._rate_hz)
            if channels not in (None, piece.shape[0]):
                raise ShapeError(
                    f"Pieces of a sound: expected {channels} channels as before, got "
                    f"{list(piece.shape)}."
                )
            channels = piece.shape[0]
            num_samples += piece.shape[1]
            if resampler is None:
                resampler = StreamingResampler(self._rate_hz, model.sample_rate_hz, model.channels)
            mixed = model.mixed(piece.to(self._device, torch.float32))
            yield resampler.push(mixed)[None]
        if resampler is None or channels is None:
            raise ShapeError("Pieces of a sound: expected at least one, got none.")
        yield resampler.finish()[None]
        self.size = {
            "samples": num_samples,
            "sample_rate_hz": self._rate_hz,
            "channels": channels,
        }


def encode_waveform(tokenizer: "Tokenizer", waveform: Iterable[Tensor], num_frames: int) -> Tensor:
    """Indices ``[batch, frames, codebooks]`` of a waveform in pieces of any lengths.

    Args:
        tokenizer: Of sounds, in evaluation.
        waveform: ``[batch, channels, samples]`` at the model's rate.
        num_frames: Of a chunk, which is encoded at once.
    """
    chunks = _recut(waveform, num_frames * tokenizer.stride[0])
    first = next(chunks)
    second = next(chunks, None)
    if second is None:
        return tokenizer.encode_whole(first)
    try:
        stream = WaveformStream(tokenizer, len(first))
    except StreamingError:
        return tokenizer.encode_whole(torch.cat([first, second, *chunks], dim=-1))
    parts = [stream.push(chunk) for chunk in itertools.chain([first, second], chunks)]
    return torch.cat([*parts, stream.finish()], dim=1)


def decoded_pieces(
    tokenizer: "Tokenizer", indices: Tensor, size: Mapping[str, int], num_frames: int
) -> Iterator[Tensor]:
    """The sound ``[channels, samples]`` of one item in pieces, which joined have its size.

    Args:
        tokenizer: Of sounds, in evaluation.
        indices: ``[1, frames, codebooks]``.
        size: Of the sound.
        num_frames: Of a chunk, which is decoded at once.
    """
    if indices.shape[1] <= num_frames:
        yield tokenizer.decode_whole(indices, size)
        return
    try:
        stream = DecoderStream(
            tokenizer,
            sample_rate_hz=size["sample_rate_hz"],
            channels=size["channels"],
            num_samples=size["samples"],
        )
    except StreamingError:
        yield tokenizer.decode_whole(indices, size)
        return
    for part in indices.split(num_frames, dim=1):
        yield stream.push(part)[0]
    yield stream.finish()[0]


def _recut(pieces: Iterable[Tensor], length: int) -> Iterator[Tensor]:
    """Chunks of one length and a last one that may be shorter, and is there in any case."""
    waiting: list[Tensor] = []
    num_waiting = 0
    for piece in pieces:
        while piece.shape[-1] > length - num_waiting:
            missing = length - num_waiting
            yield torch.cat([*waiting, piece[..., :missing]], dim=-1)
            piece = piece[..., missing:]
            waiting, num_waiting = [], 0
        waiting.append(piece)
        num_waiting += piece.shape[-1]
    yield torch.cat(waiting, dim=-1)
