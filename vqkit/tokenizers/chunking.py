"""Sounds in chunks that are encoded by themselves, for networks that look at the whole of them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.errors import ConfigError, ShapeError
from vqkit.shapes import Float
from vqkit.tokenizers.float_bits import BYTE_SIZES, bytes_of, floats_of_bytes

__all__ = ["SCALE_STREAM", "Chunking"]

SCALE_STREAM = "scale"
"""Name of the stream with the level of each chunk, four bytes of a float32."""

_SCALE_FLOOR = 1e-8
# Where every scale of a damaged file is lost: the level of speech, rather than silence.
_USUAL_SCALE = 0.1
# That of a sound in [-1, 1] is at most 1, and a little more after resampling.
_MAX_SCALE = 16.0

Networks = Callable[[Tensor], Tensor]


@final
@dataclass(frozen=True)
class Chunking:
    """Chunks of one length that overlap (EnCodec at 48 kHz, arXiv 2210.13438).

    Group norm and recurrent layers see a chunk at a time, so that sounds of any length are coded in
    bounded memory, and a chunk can be decoded without the others. It is part of what the tokens
    mean: the tokens of a chunk do not depend on what lies around it. The last chunks are as long as
    what is left of the sound. Decoded, chunks fade into each other.

    Args:
        chunk_samples: Samples of a chunk.
        step_samples: Samples from the beginning of one to that of the next, from half of a chunk to
            all of it.
        normalises: Whether each chunk is divided by its root mean square (of the mean of the
            channels), which the tokens keep in a stream ``scale`` of 32 bits per chunk.

    Raises:
        ConfigError: Steps of less than half a chunk, or of more than one.

    Example:
        >>> chunking = Chunking(chunk_samples=48_000, step_samples=47_520)
        >>> chunking.lengths(110_400), chunking.num_frames(110_400, 320)
        ([48000, 48000, 15360], 348)
    """

    chunk_samples: int
    step_samples: int
    normalises: bool = True

    def __post_init__(self) -> None:
        """Refuse what leaves gaps, or has more than two chunks over one sample."""
        if not 0 < self.step_samples <= self.chunk_samples <= 2 * self.step_samples:
            raise ConfigError(
                "Chunking: expected steps of half a chunk to all of it, got chunk_samples "
                f"{self.chunk_samples} and step_samples {self.step_samples}."
            )

    @property
    def side_streams(self) -> dict[str, tuple[tuple[str, ...], tuple[int, ...]]]:
        """Axes and codebook sizes of the streams beside the tokens."""
        return {SCALE_STREAM: (("chunk",), BYTE_SIZES)} if self.normalises else {}

    def lengths(self, num_samples: int) -> list[int]:
        """Samples of each chunk."""
        starts = range(0, num_samples, self.step_samples)
        return [min(self.chunk_samples, num_samples - start) for start in starts]

    def num_chunks(self, num_samples: int) -> int:
        """How many chunks there are."""
        return -(-num_samples // self.step_samples)

    def num_frames(self, num_samples: int, stride: int) -> int:
        """Latent frames of all chunks."""
        # Counted, not listed: the number of samples may be a stranger's.
        num_whole = max(0, (num_samples - self.chunk_samples) // self.step_samples + 1)
        rest = self.lengths(num_samples - num_whole * self.step_samples)
        frames = -(-self.chunk_samples // stride)
        return num_whole * frames + sum(-(-length // stride) for length in rest)

    def covering(self, num_samples: int, start: int, stop: int) -> tuple[int, int]:
        """The chunks that a part of a sound needs: number of the first, end of the last in samples.

        From the first chunk to that end lie whole chunks and perhaps the beginning of one more,
        which decodes to nothing that the part needs: together the tokens of a shorter sound.
        """
        first = max(0, -(-(start + 1 - self.chunk_samples) // self.step_samples))
        # The last two chunks may be shorter; how chunks fade is known from one that is whole.
        first = max(0, min(first, self.num_chunks(num_samples) - 3))
        last = -(-stop // self.step_samples) - 1
        return first, min(num_samples, last * self.step_samples + self.chunk_samples)

    def encode(
        self, pieces: Iterable[Float[Tensor, "batch channels samples"]], networks: Networks
    ) -> dict[str, Tensor]:
        """Indices of all chunks one after the other, ``[batch, frames, codebooks]``, and scales.

        Args:
            pieces: Sounds of one length, whole or a piece after the other, at least one.
            networks: Waveforms to indices, of no samples to no frames.
        """
        indices, scales = [], []
        for chunk in self._cut(pieces):
            if self.normalises:
                chunk, scale = self.normalised(chunk)
                scales.append(scale)
            indices.append(networks(chunk))
        streams = {"tokens": torch.cat(indices, dim=1)}
        if self.normalises:
            streams[SCALE_STREAM] = bytes_of(torch.cat(scales, dim=1))
        return streams

    def normalised(
        self, chunk: Float[Tensor, "batch channels samples"]
    ) -> tuple[Float[Tensor, "batch channels samples"], Float[Tensor, "batch scales"]]:
        """A chunk of level 1, and its level; of no samples there is none."""
        if not chunk.shape[-1]:
            return chunk, chunk.new_zeros(len(chunk), 0)
        scale = chunk.mean(1, keepdim=True).square().mean(-1, keepdim=True).sqrt() + _SCALE_FLOOR
        return chunk / scale, scale[:, 0]

    def decode(
        self,
        streams: Mapping[str, Tensor],
        num_samples: int,
        stride: int,
        networks: Networks,
    ) -> Iterator[Float[Tensor, "batch channels samples"]]:
        """The sound of all chunks in pieces, each as soon as nothing more is added to it.

        Joined they are up to a frame longer than the original.

        Args:
            streams: As :meth:`encode` gives them.
            num_samples: Of the sound that was encoded.
            stride: Samples per frame.
            networks: Indices to waveforms, of no frames to no samples.

        Raises:
            ShapeError: Scales that are no positive numbers.
        """
        chunks = self._decoded(streams["tokens"], num_samples, stride, networks)
        if self.normalises and num_samples:
            scales = _known(floats_of_bytes(streams[SCALE_STREAM]))
            scaled = zip(chunks, scales.unbind(1), strict=True)
            chunks = (chunk * scale[:, None, None] for chunk, scale in scaled)
        return _overlapped(chunks, self.step_samples)

    def _cut(self, pieces: Iterable[Tensor]) -> Iterator[Tensor]:
        """Chunks as soon as all of their samples are there; of no samples one of none."""
        waiting: Tensor | None = None
        is_empty = True
        for piece in pieces:
            waiting = piece if waiting is None else torch.cat([waiting, piece], dim=-1)
            while waiting.shape[-1] >= self.chunk_samples:
                yield waiting[..., : self.chunk_samples]
                waiting, is_empty = waiting[..., self.step_samples :], False
        assert waiting is not None
        while waiting.shape[-1] or is_empty:
            yield waiting
            waiting, is_empty = waiting[..., self.step_samples :], False

    def _decoded(
        self, indices: Tensor, num_samples: int, stride: int, networks: Networks
    ) -> Iterator[Tensor]:
        begin = 0
        for length in self.lengths(num_samples) or [0]:
            end = begin - (-length // stride)
            yield networks(indices[:, begin:end])
            begin = end


def _known(scales: Float[Tensor, "batch chunks"]) -> Float[Tensor, "batch chunks"]:
    """Scales, of which those that were lost are the mean of the others."""
    is_lost = scales.isnan()
    known = torch.where(is_lost, 1.0, scales)
    if not ((known > 0) & (known < _MAX_SCALE)).all():
        raise ShapeError(
            f"Wrong scales of chunks: expected numbers above 0 and below {_MAX_SCALE}, got "
            f"{float(known.min()):.4g} to {float(known.max()):.4g}."
        )
    if not is_lost.any():
        return scales
    num_known = (~is_lost).sum(1, keepdim=True)
    mean = torch.where(is_lost, 0.0, scales).sum(1, keepdim=True) / num_known.clamp_min(1)
    return torch.where(is_lost, torch.where(num_known > 0, mean, _USUAL_SCALE), scales)


def _overlapped(
    chunks: Iterator[Tensor], step_samples: int
) -> Iterator[Float[Tensor, "batch channels n"]]:
    """Chunks under triangles as long as the first, over the sum of these.

    Where two overlap, one fades linearly into the other; where there is one alone, it is itself.
    """
    first = next(chunks)
    ramp = torch.linspace(0, 1, first.shape[-1] + 2, device=first.device)[1:-1]
    triangle = 0.5 - (ramp - 0.5).abs()
    total, weights = triangle * first, triangle
    for chunk in chunks:
        yield total[..., :step_samples] / weights[:step_samples]
        weight = triangle[: chunk.shape[-1]]
        total = _added(total[..., step_samples:], weight * chunk)
        weights = _added(weights[step_samples:], weight)
    yield total / weights


def _added(tail: Tensor, head: Tensor) -> Tensor:
    """The sum of two arrays that begin together, as long as the longer one."""
    length = max(tail.shape[-1], head.shape[-1])
    return F.pad(tail, (0, length - tail.shape[-1])) + F.pad(head, (0, length - head.shape[-1]))
