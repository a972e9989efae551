"""Clips, and files of them as other programs write them."""

import io
from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np
import torch

from vqkit.media import write_video


def clip(num_frames: int = 8, height: int = 24, width: int = 32, channels: int = 3) -> torch.Tensor:
    """A smooth pattern that moves, of levels of 8 bits: the same on every call."""
    t = torch.arange(num_frames)[:, None, None]
    y = torch.arange(height)[None, :, None]
    x = torch.arange(width)[None, None, :]
    planes = [
        torch.sin((x + 2 * t) * 0.2 + phase) + torch.cos((y - t) * 0.17 + 2 * phase)
        for phase in range(channels)
    ]
    levels = (torch.stack(planes) * 60 + 127.5).round()
    return levels / 127.5 - 1


def written(frames: torch.Tensor, frame_rate: float = 25, **settings) -> bytes:
    file = io.BytesIO()
    write_video(frames, file, frame_rate, **settings)
    return file.getvalue()


def by_ffmpeg(
    planes: Sequence[Sequence[np.ndarray]],
    *,
    container: str,
    encoding: str,
    pixel_format: str,
    rate: Fraction | int = 25,
    pts: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    colour: tuple[int, int] | None = None,
    matrix: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
    width: int | None = None,
) -> bytes:
    """A file of frames whose planes are given as numbers, whatever they stand for.

    Args:
        planes: of each frame.
        colour: matrix and range as H.273 numbers them, if they are to be said.
        matrix: a display matrix.
        width: of the picture, where it is not that of the first plane.
    """
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        track = output.add_stream(encoding, rate=rate)
        height = planes[0][0].shape[0]
        if width is None:
            width = planes[0][0].shape[1] // (4 if pixel_format in ("bgra", "bgr0") else 1)
        track.width, track.height, track.pix_fmt = width, height, pixel_format
        if time_base is not None:
            track.codec_context.time_base = time_base
        if colour is not None:
            track.codec_context.colorspace, track.codec_context.color_range = colour
        if matrix is not None:
            track.set_display_matrix(matrix)
        track.codec_context.options = options or {}
        for number, values in enumerate(planes):
            frame = av.VideoFrame(width, height, pixel_format)
            if colour is not None:
                frame.colorspace, frame.color_range = colour
            for plane, numbers in zip(frame.planes, values, strict=True):
                view = np.frombuffer(plane, numbers.dtype)
                line = plane.line_size // numbers.itemsize
                view[: line * len(numbers)].reshape(len(numbers), line)[:, : numbers.shape[1]] = (
                    numbers
                )
            frame.pts = number if pts is None else pts[number]
            frame.time_base = time_base or 1 / Fraction(rate)
            output.mux(track.encode(frame))
        output.mux(track.encode(None))
    return file.getvalue()


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    """Of values in [-1, 1], in dB."""
    return float(10 * torch.log10(4 / (a.double() - b.double()).square().mean().clamp_min(1e-12)))
