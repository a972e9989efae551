"""Long sounds: memory by the chunk, tokens as of the whole.

Chunks begin at fixed frames, so that the pieces in which a sound comes do not change a bit of the
tokens. Of networks that need the whole there is one chunk.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vqkit.errors import ShapeError, StreamingError
from vqkit.nets import Stream, open_stream
from vqkit.ops.resample import StreamingResampler
from vqkit.tokenizers.audio_frontend import AudioFrontend
from vqkit.tokenizers.streaming import WaveformStream

if TYPE_CHECKING:
    from vqkit.tokenizers.tokenizer import Tokenizer

__all__ = ["Waveform", "decoded_waveform", "encode_waveform"]


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
        """Pieces ``[1, channels, samples]`` of what is encoded.

        Raises:
            ShapeError: No piece, or pieces that are no sound, or of other channels than the first.
            ConfigError: A rate that no sound has.
        """
        if self._frontend.level is not None:  # which is that of the whole sound
            sound = torch.cat(list(self._checked()), dim=-1)
            prepared, self.size = self._frontend.prepare(sound, (1,), self._rate_hz)
            yield prepared[None]
            return
        resampler: StreamingResampler | None = None
        num_samples = channels = 0
        for piece in self._checked():
            coded = self._frontend.coded(piece)
            if resampler is None:
                model_rate_hz = self._frontend.sample_rate_hz
                resampler = StreamingResampler(self._rate_hz, model_rate_hz, len(coded))
            channels = piece.shape[0]
            num_samples += piece.shape[1]
            yield resampler.push(coded)[None]
        assert resampler is not None, "there is a piece"
        yield resampler.finish()[None]
        self.size = {
            "samples": num_samples,
            "sample_rate_hz": self._rate_hz,
            "channels": channels,
        }

    def _checked(self) -> Iterator[Tensor]:
        channels = None
        for piece in self._pieces:
            self._frontend.check(piece, self._rate_hz)
            if channels not in (None, piece.shape[0]):
                raise ShapeError(
                    f"Pieces of a sound: expected {channels} channels as before, got "
                    f"{list(piece.shape)}."
                )
            channels = piece.shape[0]
            yield piece.to(self._device, torch.float32)
        if channels is None:
            raise ShapeError("Pieces of a sound: expected at least one, got none.")


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


def decoded_waveform(tokenizer: "Tokenizer", indices: Tensor, num_frames: int) -> Iterator[Tensor]:
    """The waveform ``[batch, channels, samples]`` at the model's rate, in pieces.

    Args:
        tokenizer: Of sounds, in evaluation.
        indices: ``[batch, frames, codebooks]``.
        num_frames: Of a chunk, which is decoded at once.
    """
    if indices.shape[1] > num_frames:
        network: Stream | None
        try:
            network = open_stream(tokenizer.require_media_decoder())
        except StreamingError:
            network = None
        if network is not None:
            for part in indices.split(num_frames, dim=1):
                latents = tokenizer.quantizer.decode(part).movedim(-1, 1).contiguous()
                yield network.push(latents).float()
            yield network.finish().float()
            return
    yield tokenizer.decode_whole(indices)


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
