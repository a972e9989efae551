"""Opus, MP3 and AMR as references for sounds, each by the bytes of a file in memory."""

import io
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.errors import MediaError, MissingExtraError
from vqkit.evaluation.media_kind import SOUNDS
from vqkit.evaluation.quality import Medium
from vqkit.evaluation.reference_codec import CodedItem, ReferenceCodec
from vqkit.media import Audio, read_audio, write_audio
from vqkit.media.pyav import load_av
from vqkit.ops import resample

__all__ = ["AMR", "MP3", "OPUS"]


class _SoundCodec(ReferenceCodec):
    """A codec of sounds at certain rates, set by its bits per second.

    Args:
        name: Format of the file.
        title: For a reader.
        rates_hz: Sample rates that it takes, ascending; sounds of others are resampled to the
            next higher one and back.
        bitrates_bps: The usual settings.
        range_bps: The least and the largest.
    """

    kind = SOUNDS

    def __init__(
        self,
        name: str,
        title: str,
        *,
        rates_hz: Sequence[int],
        bitrates_bps: tuple[int, ...],
        range_bps: tuple[int, int],
    ) -> None:
        self.name = name
        self.title = title
        self.rates_hz = rates_hz
        self.default_settings = bitrates_bps
        self.settings_range = range_bps

    def label(self, setting: int) -> str:
        """The bitrate that is asked for."""
        return f"{setting / 1000:g} kbit/s"

    def round_trip(self, name: str, medium: Medium, setting: int) -> CodedItem:
        """Of a sound, in its rate and length, without the delay of the codec."""
        if not isinstance(medium, Audio) or medium.samples.shape[-1] == 0:
            raise MediaError(
                f"Measuring {self.name} failed: expected a vqkit.media.Audio with samples "
                f"({name}). Give the sounds with their rates."
            )
        num_samples, rate_hz = medium.samples.shape[-1], medium.sample_rate_hz
        codec_hz = next((rate for rate in self.rates_hz if rate >= rate_hz), self.rates_hz[-1])
        data, decoded = self._coded(
            resample(medium.samples.cpu(), rate_hz, codec_hz), codec_hz, setting
        )
        sound = resample(decoded, codec_hz, rate_hz)[:, :num_samples]
        sound = F.pad(sound, (0, num_samples - sound.shape[-1])).clamp(-1, 1)
        return CodedItem(len(data), sound)

    def _coded(self, samples: Tensor, rate_hz: int, bitrate_bps: int) -> tuple[bytes, Tensor]:
        """The file and what is in it, at the same rate and without delay."""
        file = io.BytesIO()
        write_audio(samples, file, rate_hz, format=self.name, bitrate_bps=bitrate_bps)
        return file.getvalue(), read_audio(file.getvalue()).samples


class _Mp3Codec(_SoundCodec):
    """MP3; below about 64 kbit/s its frames are too small for the header that tells the delay."""

    # Of LAME (576) and of a decoder (529).
    _DELAY_SAMPLES = 1105

    def _coded(self, samples: Tensor, rate_hz: int, bitrate_bps: int) -> tuple[bytes, Tensor]:
        data, decoded = super()._coded(samples, rate_hz, bitrate_bps)
        is_told = decoded.shape[-1] == samples.shape[-1]
        return data, decoded if is_told else decoded[:, self._DELAY_SAMPLES :]


class _AmrCodec(_SoundCodec):
    """AMR, narrow band: one channel at 8 kHz, by FFmpeg."""

    _ENCODER = "libopencore_amrnb"
    _FRAME_SAMPLES = 160
    _DELAY_SAMPLES = 40

    def _coded(self, samples: Tensor, rate_hz: int, bitrate_bps: int) -> tuple[bytes, Tensor]:
        mono = samples.mean(dim=0, keepdim=True).clamp(-1, 1)
        data = self._encoded(mono, rate_hz, bitrate_bps)
        with load_av().open(io.BytesIO(data), format="amr") as container:
            blocks = [frame.to_ndarray().reshape(1, -1) for frame in container.decode(audio=0)]
        values = torch.from_numpy(np.concatenate(blocks, axis=1).astype(np.float32))
        return data, values[:, self._DELAY_SAMPLES :].expand(len(samples), -1)

    def _encoded(self, mono: Tensor, rate_hz: int, bitrate_bps: int) -> bytes:
        file = io.BytesIO()
        with load_av().open(file, "w", format="amr") as container:
            track = self._track(container, rate_hz)
            track.bit_rate = bitrate_bps
            levels = (mono * 2**15).round().clamp(-(2**15), 2**15 - 1).to(torch.int16)
            padding = -levels.shape[-1] % self._FRAME_SAMPLES
            for start, part in enumerate(
                F.pad(levels, (0, padding)).split(self._FRAME_SAMPLES, dim=1)
            ):
                frame = load_av().AudioFrame.from_ndarray(
                    np.ascontiguousarray(part.numpy()), format="s16", layout="mono"
                )
                frame.sample_rate, frame.pts = rate_hz, start * self._FRAME_SAMPLES
                frame.time_base = Fraction(1, rate_hz)
                container.mux(track.encode(frame))
            container.mux(track.encode(None))
        return file.getvalue()

    def _track(self, container: Any, rate_hz: int) -> Any:
        try:
            return container.add_stream(self._ENCODER, rate=rate_hz, layout="mono")
        except ValueError as error:  # PyAV's of an encoder that its FFmpeg lacks
            raise MissingExtraError(
                f"Measuring amr failed: this FFmpeg has no encoder {self._ENCODER}. Install the "
                "package av from its wheels."
            ) from error


OPUS = _SoundCodec(
    "opus",
    "Opus",
    rates_hz=(8000, 12_000, 16_000, 24_000, 48_000),
    bitrates_bps=(6000, 9000, 12_000, 16_000, 24_000),
    range_bps=(6000, 256_000),
)
MP3 = _Mp3Codec(
    "mp3",
    "MP3",
    rates_hz=(16_000, 22_050, 24_000, 32_000, 44_100, 48_000),
    bitrates_bps=(32_000, 48_000, 64_000),
    range_bps=(8000, 320_000),
)
AMR = _AmrCodec(
    "amr",
    "AMR (8 kHz)",
    rates_hz=(8000,),
    bitrates_bps=(4750, 6700, 12_200),
    range_bps=(4750, 12_200),
)
