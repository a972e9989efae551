"""Sounds to tokens and back while they come: state per stream, the same tokens as of the whole."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from vqkit.errors import ShapeError, StreamingError
from vqkit.nets import Stream, open_stream
from vqkit.ops.resample import StreamingResampler, resampled_length
from vqkit.shapes import Bool, Float, Int
from vqkit.tokenizers.audio_frontend import AudioFrontend
from vqkit.tokenizers.evaluating import evaluating
from vqkit.tokenizers.frontend import check_range

if TYPE_CHECKING:
    from vqkit.tokenizers.tokenizer import Tokenizer

__all__ = [
    "DecoderStream",
    "EncoderStream",
    "StreamOutput",
    "TokenizerStream",
    "WaveformStream",
    "audio_frontend",
]

# Frames after which the beginning has no part in what is asked for.
_LATE = 1 << 12


class WaveformStream:
    """What an encoder takes in, tokens out.

    Args:
        tokenizer: Of sounds.
        batch_size: Signals side by side.

    Raises:
        StreamingError: The encoder or the quantizer needs the whole, or the media are no sounds.
    """

    def __init__(self, tokenizer: "Tokenizer", batch_size: int = 1) -> None:
        audio_frontend(tokenizer)
        self._tokenizer = tokenizer
        self._batch_size = batch_size
        self._has_samples = False
        self.network = _opened(tokenizer.encoder)

    @torch.no_grad()
    def push(self, waveform: Tensor) -> Tensor:
        """Indices ``[batch, frames, codebooks]`` of the next ``[batch, channels, samples]``."""
        if not waveform.shape[-1]:
            return self._nothing()
        self._has_samples = True
        with evaluating(self._tokenizer):
            return self._quantized(self.network.push(waveform))

    @torch.no_grad()
    def finish(self) -> Tensor:
        """Indices of the rest."""
        if not self._has_samples:
            return self._nothing()
        with evaluating(self._tokenizer):
            return self._quantized(self.network.finish())

    def _quantized(self, latents: Tensor) -> Tensor:
        if not latents.shape[-1]:
            return self._nothing()
        return self._tokenizer.quantizer.encode(latents.movedim(1, -1))

    def _nothing(self) -> Tensor:
        num_codebooks = len(self._tokenizer.quantizer.codebook_sizes)
        shape = (self._batch_size, 0, num_codebooks)
        return torch.zeros(shape, dtype=torch.int64, device=self._tokenizer.device)


class _SoundStream:
    """What both directions know: the tokenizer, the sounds' rate and channels, rows of networks."""

    def __init__(
        self,
        tokenizer: "Tokenizer",
        batch_size: int,
        sample_rate_hz: int | None,
        channels: int | None,
    ) -> None:
        self._tokenizer = tokenizer
        self._frontend = _streaming_frontend(tokenizer)
        self._coding = tokenizer.coding
        self._batch_size = batch_size
        self._channels = channels or self._frontend.channels
        self._num_coded = self._frontend.num_coded(self._channels)
        self._rows_per_item = self._num_coded if self._coding.codes_alone else 1
        self._model_rate_hz = self._frontend.sample_rate_hz
        self.sample_rate_hz = self._model_rate_hz if sample_rate_hz is None else sample_rate_hz

    def _resampler_between(self, from_hz: int, to_hz: int) -> StreamingResampler:
        return StreamingResampler(from_hz, to_hz, self._batch_size * self._num_coded)

    def _restart(self, network: Stream, rows: Tensor) -> None:
        if self.sample_rate_hz != self._model_rate_hz:
            raise StreamingError(
                f"Restart of some rows: expected samples at the model's {self._model_rate_hz} Hz, "
                f"got {self.sample_rate_hz} Hz. Resample before, or open a stream of its own for "
                "each signal."
            )
        network.restart(rows.repeat_interleave(self._rows_per_item))


class EncoderStream(_SoundStream):
    """Samples in, tokens out: what :meth:`Tokenizer.encode` makes of all samples together.

    Kernels are chosen by the shape, so a latent may differ by a rounding error, and a token with it
    where two codes are equally near.

    Args:
        tokenizer: Of sounds, with an encoder that does with a part of them.
        batch_size: Signals side by side, in step.
        sample_rate_hz: Of the samples, if it is not the model's.
        channels: Of the samples, if they are not the model's.

    Raises:
        StreamingError: The encoder or the quantizer needs the whole, or the media are no sounds.
        ConfigError: A rate that cannot be resampled.
    """

    def __init__(
        self,
        tokenizer: "Tokenizer",
        batch_size: int = 1,
        sample_rate_hz: int | None = None,
        channels: int | None = None,
    ) -> None:
        super().__init__(tokenizer, batch_size, sample_rate_hz, channels)
        self._resampler = self._resampler_between(self.sample_rate_hz, self._model_rate_hz)
        self._encoding = WaveformStream(tokenizer, batch_size * self._rows_per_item)
        self._network = self._encoding.network
        self._num_samples = 0

    @property
    def num_samples(self) -> int:
        """Samples of each channel so far."""
        return self._num_samples

    @cached_property
    def lookahead_samples(self) -> int:
        """Samples at the model's rate that a token waits for beyond the end of its frame."""
        return self._network.inputs_for(_LATE) - _LATE * self._tokenizer.stride[0]

    @cached_property
    def receptive_field_samples(self) -> float:
        """Samples at the model's rate that a token depends on; infinite with an LSTM."""
        first, last = self._network.span(_LATE, _LATE)
        return last - first + 1

    @property
    def resampling_seconds(self) -> float:
        """How long the resampler holds a sample back."""
        return self._resampler.latency_seconds

    def inputs_for(self, num_frames: int) -> int:
        """Samples at the model's rate until so many frames of tokens are out."""
        return self._network.inputs_for(num_frames)

    @torch.no_grad()
    def push(
        self, samples: Float[Tensor, "batch channels samples"]
    ) -> Int[Tensor, "batch frames *channel codebooks"]:
        """Take any number of samples in [-1, 1], give the tokens that are determined with them.

        Raises:
            ShapeError: Another batch or other channels, or values outside [-1, 1] or not finite.
        """
        if tuple(samples.shape[:-1]) != (self._batch_size, self._channels):
            raise ShapeError(
                f"Samples for a stream: expected [{self._batch_size}, {self._channels}, samples], "
                f"got {list(samples.shape)}."
            )
        if samples.numel():
            check_range(samples, "Audio", "Scale 16-bit values by x / 32768.")
        self._num_samples += samples.shape[-1]
        samples = samples.to(self._tokenizer.device, torch.float32)
        return self._encoded(self._resampler.push(self._frontend.coded(samples).flatten(0, 1)))

    @torch.no_grad()
    def finish(self) -> Int[Tensor, "batch frames *channel codebooks"]:
        """Give the tokens of the rest, the last frame filled up as the encoder does it."""
        parts = [self._encoded(self._resampler.finish())] if self._num_samples else []
        parts.append(self._coding.joined(self._encoding.finish(), self._batch_size))
        return torch.cat(parts, dim=1)

    def restart(self, rows: Bool[Tensor, " batch"]) -> None:
        """End the signals of some rows where they are, and begin others there.

        Raises:
            StreamingError: The network looks ahead or samples are resampled, so that the last
                signals are not out yet; or a frame is not whole.
        """
        self._restart(self._network, rows)

    def _encoded(self, resampled: Tensor) -> Tensor:
        waveforms = self._coding.rows(resampled.unflatten(0, (self._batch_size, self._num_coded)))
        return self._coding.joined(self._encoding.push(waveforms), self._batch_size)


class DecoderStream(_SoundStream):
    """Tokens in, samples out: what :meth:`Tokenizer.decode` makes of all tokens together.

    Args:
        tokenizer: Of sounds, with a decoder that does with a part of the tokens.
        batch_size: Signals side by side, in step.
        sample_rate_hz: Of the samples, if it is not the model's.
        channels: Of the samples, if they are not the model's.
        num_samples: Samples that there are in all, at their rate, where that is known already.

    Raises:
        StreamingError: The decoder needs the whole, or the media are no sounds.
        ConfigError: A rate that cannot be resampled.
    """

    def __init__(
        self,
        tokenizer: "Tokenizer",
        batch_size: int = 1,
        sample_rate_hz: int | None = None,
        channels: int | None = None,
        num_samples: int | None = None,
    ) -> None:
        super().__init__(tokenizer, batch_size, sample_rate_hz, channels)
        self._resampler = self._resampler_between(self._model_rate_hz, self.sample_rate_hz)
        self._network = _opened(tokenizer.require_media_decoder())
        self._has_frames = False
        self._num_decoded = 0
        self._num_given = 0
        self._num_samples = num_samples

    @property
    def resampling_seconds(self) -> float:
        """How long the resampler holds a sample back."""
        return self._resampler.latency_seconds

    def inputs_for(self, num_samples: int) -> int:
        """Frames of tokens until so many samples at the model's rate are out."""
        return self._network.inputs_for(num_samples)

    @torch.no_grad()
    def push(
        self, indices: Int[Tensor, "batch frames *channel codebooks"]
    ) -> Float[Tensor, "batch channels samples"]:
        """Take any number of frames; a prefix of a residual quantizer's levels will do.

        Raises:
            ShapeError: Another batch, or indices that are no tokens of the quantizer.
        """
        if indices.shape[0] != self._batch_size:
            raise ShapeError(
                f"Tokens for a stream: expected [{self._batch_size}, frames, codebooks], got "
                f"{list(indices.shape)}."
            )
        if not indices.shape[1]:
            return self._nothing()
        self._has_frames = True
        with evaluating(self._tokenizer):
            rows = self._coding.parted(indices.to(self._tokenizer.device))
            quantized = self._tokenizer.quantizer.decode(rows)
            return self._resampled(self._network.push(quantized.movedim(-1, 1).contiguous()))

    @torch.no_grad()
    def finish(
        self,
        indices: Int[Tensor, "batch frames *channel codebooks"] | None = None,
        num_samples: int | None = None,
    ) -> Float[Tensor, "batch channels samples"]:
        """Give the rest.

        Args:
            indices: The last frames, where they were not pushed: what fills up the last one is only
                known to be no part of the sound together with ``num_samples``.
            num_samples: Samples that there are in all, at their rate; None keeps what was said
                before, and otherwise whole frames.

        Raises:
            StreamingError: More than that was given already, or the tokens do not cover it.
        """
        if num_samples is not None:
            self._num_samples = num_samples
        parts = [] if indices is None else [self.push(indices)]
        if self._has_frames:
            with evaluating(self._tokenizer):
                parts.append(self._resampled(self._network.finish()))
            parts.append(self._restored(self._resampler.finish()))
        if self._num_samples is not None and self._num_given != self._num_samples:
            raise StreamingError(
                f"End of a stream: expected {self._num_samples} samples, got {self._num_given}. "
                "Say how many there are when it is opened, and push all of their tokens."
            )
        return torch.cat([self._nothing(), *parts], dim=-1)

    def restart(self, rows: Bool[Tensor, " batch"]) -> None:
        """End the signals of some rows where they are, and begin others there.

        Raises:
            StreamingError: The network looks ahead or samples are resampled, so that the last
                signals are not out yet.
        """
        self._restart(self._network, rows)

    def _nothing(self) -> Tensor:
        return torch.zeros(self._batch_size, self._channels, 0, device=self._tokenizer.device)

    def _resampled(self, output: Tensor) -> Tensor:
        if self._num_samples is not None:
            # What fills up the last frame is cut off before it would leak through the filter.
            covered = resampled_length(self._num_samples, self.sample_rate_hz, self._model_rate_hz)
            output = output[..., : max(0, covered - self._num_decoded)]
        self._num_decoded += output.shape[-1]
        return self._restored(self._resampler.push(output.float().flatten(0, 1)))

    def _restored(self, resampled: Tensor) -> Tensor:
        samples = resampled.unflatten(0, (self._batch_size, self._num_coded))
        if self._num_samples is not None:
            samples = samples[..., : max(0, self._num_samples - self._num_given)]
        self._num_given += samples.shape[-1]
        sound = self._frontend.channel_policy.restored(samples, self._channels)
        return sound.clamp(-1.0, 1.0)


@dataclass(frozen=True)
class StreamOutput:
    """What a piece of a sound made determined.

    Attributes:
        indices: int64 ``[batch, frames, codebooks]``; where channels are encoded alone, with an
            axis of channels before the last.
        samples: ``[batch, channels, samples]`` in [-1, 1], decoded from them.
    """

    indices: Int[Tensor, "batch frames *channel codebooks"]
    samples: Float[Tensor, "batch channels samples"]


class TokenizerStream:
    """A sound through the tokenizer and back while it comes.

    ``encoder`` and ``decoder`` can be used alone, at the two ends of a line.

    Args:
        tokenizer: Of sounds, with networks that do with a part of them.
        batch_size: Signals side by side, in step.
        sample_rate_hz: Of the samples, if it is not the model's.
        channels: Of the samples, if they are not the model's.

    Raises:
        StreamingError: A network needs the whole, or the media are no sounds.
    """

    def __init__(
        self,
        tokenizer: "Tokenizer",
        batch_size: int = 1,
        sample_rate_hz: int | None = None,
        channels: int | None = None,
    ) -> None:
        self.encoder = EncoderStream(tokenizer, batch_size, sample_rate_hz, channels)
        self.decoder = DecoderStream(tokenizer, batch_size, sample_rate_hz, channels)
        self._stride = tokenizer.stride[0]
        self._model_rate_hz = audio_frontend(tokenizer).sample_rate_hz

    @property
    def frame_samples(self) -> int:
        """Samples at the model's rate of one token."""
        return self._stride

    @cached_property
    def latency_seconds(self) -> float:
        """How long a sample comes out after it went in, at most, once the stream runs.

        A whole frame at least; the look-ahead of both networks and of the resamplers comes to it.
        Computing time is not in it.
        """
        first = _LATE * self._stride
        delays = [self._samples_for(first + n + 1) - n for n in range(self._stride)]
        resampling = self.encoder.resampling_seconds + self.decoder.resampling_seconds
        return (max(delays) - first) / self._model_rate_hz + resampling

    @cached_property
    def start_seconds(self) -> float:
        """How much of a sound must be there until the first sample comes out.

        Reflected ends make it longer than ``latency_seconds``: a layer begins when it knows what
        lies as far behind the beginning as its padding lies before it.
        """
        return self._samples_for(1) / self._model_rate_hz

    def push(self, samples: Float[Tensor, "batch channels samples"]) -> StreamOutput:
        """Take any number of samples, give the tokens and the sound that are determined with them.

        Raises:
            ShapeError: As for :meth:`EncoderStream.push`.
        """
        indices = self.encoder.push(samples)
        return StreamOutput(indices, self.decoder.push(indices))

    def finish(self) -> StreamOutput:
        """Give the rest; in all as many samples come out as went in."""
        indices = self.encoder.finish()
        return StreamOutput(indices, self.decoder.finish(indices, self.encoder.num_samples))

    def restart(self, rows: Bool[Tensor, " batch"]) -> None:
        """End the signals of some rows where they are, and begin others there.

        Raises:
            StreamingError: As for :meth:`EncoderStream.restart`.
        """
        self.encoder.restart(rows)
        self.decoder.restart(rows)

    def _samples_for(self, num_samples: int) -> int:
        return self.encoder.inputs_for(self.decoder.inputs_for(num_samples))


def _streaming_frontend(tokenizer: "Tokenizer") -> AudioFrontend:
    frontend = audio_frontend(tokenizer)
    if frontend.level is not None or tokenizer.chunking is not None:
        what = "chunks that are encoded alone" if frontend.level is None else "the level of all"
        raise StreamingError(
            f"Streaming: expected a tokenizer that knows a sound sample by sample, got one with "
            f"{what}. Encode whole sounds, or in pieces (encode_pieces)."
        )
    return frontend


@torch.no_grad()
def _opened(network: nn.Module) -> Stream:
    return open_stream(network)


def audio_frontend(tokenizer: "Tokenizer") -> AudioFrontend:
    """The frontend of a tokenizer of sounds.

    Raises:
        StreamingError: The media are others, or its quantizer takes one grid alone.
    """
    frontend = tokenizer.frontend
    if not isinstance(frontend, AudioFrontend):
        raise StreamingError(
            f"Streaming: expected a tokenizer of sounds, got one of {frontend.modality}."
        )
    if tokenizer.quantizer.grid is not None:
        raise StreamingError(
            f"Streaming: expected a quantizer of single frames, got "
            f"{type(tokenizer.quantizer).__name__}, which takes one grid alone."
        )
    return frontend
