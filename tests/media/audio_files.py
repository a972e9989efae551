"""Sounds, and files of them as other programs write them."""

import io
from fractions import Fraction

import av
import numpy as np
import soundfile
import torch

from vqkit.media import write_audio


def sound(channels: int = 2, num_samples: int = 6000) -> torch.Tensor:
    """Noise over a tone, different in every channel, the same on every call."""
    generator = torch.Generator().manual_seed(channels)
    noise = torch.rand(channels, num_samples, generator=generator) * 0.5 - 0.25
    time = torch.arange(num_samples) / 16000
    pitch = 200 * torch.arange(1, channels + 1)[:, None]
    return 0.4 * torch.sin(2 * torch.pi * pitch * time) + noise


def written(samples: torch.Tensor, sample_rate_hz: int = 16000, **settings) -> bytes:
    file = io.BytesIO()
    write_audio(samples, file, sample_rate_hz, **settings)
    return file.getvalue()


def by_soundfile(
    samples: np.ndarray, container: str, encoding: str, sample_rate_hz: int = 16000
) -> bytes:
    """``samples`` [samples, channels] of any dtype that soundfile takes."""
    file = io.BytesIO()
    soundfile.write(file, samples, sample_rate_hz, format=container, subtype=encoding)
    return file.getvalue()


# What the encoders take.
_SAMPLE_FORMATS = {
    "libopus": "flt",
    "pcm_s16le": "s16",
    "pcm_s24le": "s32",
    "pcm_u8": "u8",
    "flac": "s16",
    "alac": "s16p",
}


def by_ffmpeg(
    *tracks: torch.Tensor,
    container: str,
    encoding: str,
    sample_rate_hz: int = 48000,
    with_video: bool = False,
    metadata: dict[str, str] | None = None,
) -> bytes:
    """A file of one or several audio tracks [channels, samples], on request with a black video."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        output.metadata.update(metadata or {})
        if with_video:
            video = output.add_stream("libvpx" if container == "webm" else "mpeg4", rate=10)
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        streams = [
            output.add_stream(encoding, rate=sample_rate_hz, layout=layout_of(track))
            for track in tracks
        ]
        if with_video:
            for _ in range(5):
                picture = np.zeros((48, 64, 3), np.uint8)
                output.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            output.mux(video.encode(None))
        for stream in streams:
            stream.bit_rate = 96_000
        for stream, track in zip(streams, tracks, strict=True):
            for frame in _frames(track, sample_rate_hz, _SAMPLE_FORMATS.get(encoding, "fltp")):
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
    return file.getvalue()


def layout_of(track: torch.Tensor) -> str:
    return {1: "mono", 2: "stereo", 6: "5.1"}[track.shape[0]]


def _frames(track: torch.Tensor, sample_rate_hz: int, sample_format: str):
    size = 960  # 20 ms, which Opus has; encoders with other frames gather them by themselves
    resampler = av.AudioResampler(sample_format, layout_of(track), sample_rate_hz, frame_size=size)
    frame = av.AudioFrame.from_ndarray(track.contiguous().numpy(), "fltp", layout_of(track))
    frame.sample_rate, frame.pts = sample_rate_hz, 0
    frame.time_base = Fraction(1, sample_rate_hz)
    return [*resampler.resample(frame), *resampler.resample(None)]
