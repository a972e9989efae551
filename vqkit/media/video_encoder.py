"""What videos are encoded by: FFmpeg (PyAV), and YUV4MPEG by hand."""

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.media.gif import set_last_gif_delay
from vqkit.media.pixels import from_levels, to_levels
from vqkit.media.pyav import load_av
from vqkit.media.video_colour import Colour, halved, usual_matrix, yuv_of_rgb
from vqkit.media.video_sound import Soundtrack

__all__ = ["FrameEncoder", "PyAVVideoEncoder", "VideoEncoding", "VideoLayout", "Y4MEncoder"]

Subsampling = Literal["4:2:0", "4:4:4"]
"""Whether colour differences have half the rows and columns, or all of them."""

_LOSSY = ("h264", "vp9", "av1")
_CODECS = {
    "h264": "libx264", "vp9": "libvpx-vp9", "av1": "libsvtav1", "ffv1": "ffv1", "gif": "gif",
}  # fmt: skip
_PRESETS = (
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow",
)  # fmt: skip
_DEFAULT_CRF = {"h264": 18, "vp9": 24, "av1": 24}
_GREATEST_CRF = {"h264": 51, "vp9": 63, "av1": 63}
# ITU-T H.273: BT.709 in all three tables, and limited range.
_BT709, _LIMITED = 1, 1


@dataclass(frozen=True)
class VideoEncoding:
    """How frames are encoded.

    Attributes:
        encoding: ``"h264"``, ``"vp9"``, ``"av1"``, ``"ffv1"`` (lossless); None takes that of the
            format.
        preset: how much time H.264 takes to be small: ``"ultrafast"`` to ``"veryslow"``, those of
            x264; ``"medium"`` unless told.
        crf: constant quality, 0 (best) to 51 for H.264 (18 unless told) and 63 for VP9 and AV1
            (24).
        bitrate_bps: bits per second on average, instead.
        subsampling: of the colour differences; None takes 4:2:0, and 4:4:4 where H.264 cannot have
            it because a side is odd.
        pixel_aspect: width of a pixel by its height, as far as the format has a place for it.
    """

    encoding: str | None = None
    preset: str | None = None
    crf: int | None = None
    bitrate_bps: int | None = None
    subsampling: Subsampling | None = None
    pixel_aspect: Fraction = Fraction(1)

    def checked(self, encodings: tuple[str, ...], height: int, width: int) -> "VideoEncoding":
        """The same with everything decided, for one of these encodings (the first, if unsaid).

        Raises:
            ConfigError: the settings are unknown, or make no sense together.
        """
        encoding = self.encoding or encodings[0]
        if encoding not in encodings:
            raise ConfigError(
                f"encoding of the video: expected one of {', '.join(encodings)}, got {encoding!r}."
            )
        if self.preset is not None and (encoding != "h264" or self.preset not in _PRESETS):
            raise ConfigError(
                f"preset: expected one of {', '.join(_PRESETS)}, for h264 alone, got "
                f"{self.preset!r} for {encoding}."
            )
        crf = self.crf
        if encoding not in _LOSSY:
            for what, value in (("crf", crf), ("bitrate_bps", self.bitrate_bps)):
                if value is not None:
                    raise ConfigError(f"{what}: {encoding} has none to set. Leave it out.")
        elif crf is not None and self.bitrate_bps is not None:
            raise ConfigError("crf and bitrate_bps: expected one of them, got both.")
        elif crf is not None and not 0 <= crf <= _GREATEST_CRF[encoding]:
            raise ConfigError(
                f"crf of {encoding}: expected 0 to {_GREATEST_CRF[encoding]}, got {crf}."
            )
        elif self.bitrate_bps is not None and self.bitrate_bps < 1:
            raise ConfigError(f"bitrate_bps: expected 1 or more, got {self.bitrate_bps}.")
        elif crf is None and self.bitrate_bps is None:
            crf = _DEFAULT_CRF[encoding]
        if self.pixel_aspect <= 0:
            raise ConfigError(f"pixel_aspect: expected above 0, got {self.pixel_aspect}.")
        subsampling = self._checked_subsampling(encoding, height, width)
        return replace(self, encoding=encoding, crf=crf, subsampling=subsampling)

    def _checked_subsampling(self, encoding: str, height: int, width: int) -> Subsampling | None:
        wanted = self.subsampling
        if wanted not in (None, "4:2:0", "4:4:4"):
            raise ConfigError(f"subsampling: expected '4:2:0' or '4:4:4', got {wanted!r}.")
        if encoding in ("ffv1", "gif", "png"):
            if wanted is not None:
                raise ConfigError(f"subsampling: {encoding} has none to set. Leave it out.")
            return None
        is_odd = height % 2 == 1 or width % 2 == 1
        if encoding == "h264" and is_odd and wanted == "4:2:0":
            raise ConfigError(
                f"subsampling: H.264 has 4:2:0 for even sides alone, got {width} x {height}. "
                "Leave it out, or crop by a pixel."
            )
        if wanted is not None:
            return wanted
        return "4:4:4" if encoding == "h264" and is_odd else "4:2:0"


@dataclass(frozen=True)
class VideoLayout:
    """What all frames of a video have in common.

    Attributes:
        height: rows.
        width: columns.
        frame_rate: frames per second; where times are given, on average.
        time_base: seconds of a tick.
    """

    height: int
    width: int
    frame_rate: Fraction
    time_base: Fraction


@runtime_checkable
class FrameEncoder(Protocol):
    """A video in the making."""

    def write(self, frame: Tensor, ticks: int, duration: int) -> None:
        """Take ``[1 or 3, height, width]``, float32 in [-1, 1] or uint8."""
        ...

    def close(self) -> None:
        """Write what is held back, and the tables."""
        ...

    def discard(self) -> None:
        """Give up."""
        ...


class PyAVVideoEncoder:
    """A file of FFmpeg's in the making.

    Args:
        file: where it goes; it is sought in.
        muxer: FFmpeg's name of the container.
        layout: of the frames.
        encoding: checked, with everything decided.
        soundtrack: what is heard, if anything.
        metadata: by the names of ``METADATA_KEYS``.
    """

    def __init__(
        self,
        file: io.BufferedIOBase,
        muxer: str,
        layout: VideoLayout,
        encoding: VideoEncoding,
        soundtrack: Soundtrack | None,
        metadata: Mapping[str, str],
    ):
        self._layout, self._encoding, self._soundtrack = layout, encoding, soundtrack
        self._file, self._last_lasts = file, 1
        assert encoding.encoding is not None
        options = {}
        if muxer in ("mp4", "mov"):
            # Times to the tick, not to the millisecond as by default.
            options["movie_timescale"] = str(_timescale(layout.time_base))
        self._container: Any = load_av().open(file, "w", format=muxer, options=options)
        names = {"tracknumber": "track", "software": "encoder"}
        self._container.metadata.update({names.get(key, key): v for key, v in metadata.items()})
        self._track: Any = None
        self._durations: dict[int, int] = {}

    def write(self, frame: Tensor, ticks: int, duration: int) -> None:
        """See :class:`FrameEncoder`."""
        if self._track is None:
            self._begin(num_channels=frame.shape[0])
        picture = self._picture(frame)
        picture.pts, picture.time_base = ticks, self._layout.time_base
        self._durations[ticks] = self._last_lasts = duration
        self._mux(self._track.encode(picture))
        if self._soundtrack is not None:
            self._soundtrack.write_until(ticks * self._layout.time_base)

    def close(self) -> None:
        """See :class:`FrameEncoder`."""
        if self._track is None:
            self._begin(num_channels=3)
        self._mux(self._track.encode(None))
        if self._soundtrack is not None:
            self._soundtrack.write_until(None)
        self._container.close()
        if self._encoding.encoding == "gif":
            # FFmpeg shows the last picture as long as the one before it.
            centiseconds = round(self._last_lasts * self._layout.time_base * 100)
            set_last_gif_delay(self._file, max(1, centiseconds))

    def discard(self) -> None:
        """See :class:`FrameEncoder`."""
        self._container.close()

    def _begin(self, num_channels: int) -> None:
        layout, name = self._layout, self._encoding.encoding
        assert name is not None
        track = self._container.add_stream(_CODECS[name], rate=layout.frame_rate)
        self._track = track
        track.width, track.height = layout.width, layout.height
        self._pixel_format = self._format_for(num_channels)
        track.pix_fmt = self._pixel_format
        context = track.codec_context
        # Centiseconds are what GIF has, whatever is asked for.
        context.time_base = Fraction(1, 100) if name == "gif" else layout.time_base
        context.thread_count = torch.get_num_threads()
        if self._encoding.pixel_aspect != 1:
            context.sample_aspect_ratio = self._encoding.pixel_aspect
        if self._pixel_format.startswith("yuv"):
            context.color_range, context.colorspace = _LIMITED, _BT709
            context.color_primaries, context.color_trc = _BT709, _BT709
        context.options = self._options()
        if self._encoding.bitrate_bps is not None:
            track.bit_rate = self._encoding.bitrate_bps
        if self._soundtrack is not None:
            self._soundtrack.begin(self._container)

    def _options(self) -> dict[str, str]:
        encoding = self._encoding
        options = {} if encoding.crf is None else {"crf": str(encoding.crf)}
        if encoding.preset is not None:
            options["preset"] = encoding.preset
        if encoding.encoding == "vp9":
            # Quality alone decides where no rate is given; in a tenth of the slowest one's time.
            options |= {"cpu-used": "4", "row-mt": "1"}
            if encoding.bitrate_bps is None:
                options["b"] = "0"
        if encoding.encoding == "av1":
            options["preset"] = "6"  # of 13, where 0 is the slowest
            # It reports its settings on stderr otherwise; FFmpeg has no option for that.
            os.environ.setdefault("SVT_LOG", "1")
        return options

    def _format_for(self, num_channels: int) -> str:
        name = self._encoding.encoding
        if name == "ffv1":
            return "gray" if num_channels == 1 else "bgr0"
        if name == "gif":
            return "pal8"
        return "yuv444p" if self._encoding.subsampling == "4:4:4" else "yuv420p"

    def _picture(self, frame: Tensor) -> Any:
        """The frame as the encoder takes it."""
        if self._pixel_format == "pal8":
            return _palette_frame(_levels_of(frame))
        picture = load_av().VideoFrame(self._layout.width, self._layout.height, self._pixel_format)
        if self._pixel_format == "gray":
            planes = [_levels_of(frame)[:, :, 0]]
        elif self._pixel_format == "bgr0":
            rgb = _levels_of(frame)
            packed = np.zeros((*rgb.shape[:2], 4), np.uint8)
            packed[:, :, :3] = rgb[:, :, ::-1]
            planes = [packed.reshape(rgb.shape[0], -1)]
        else:
            colour = Colour("bt709", "limited")
            planes = yuv_planes(frame, colour, is_halved=self._pixel_format == "yuv420p")
            picture.color_range, picture.colorspace = _LIMITED, _BT709
        for plane, values in zip(picture.planes, planes, strict=True):
            line = plane.line_size
            place = np.frombuffer(plane, np.uint8)[: line * values.shape[0]]
            place.reshape(values.shape[0], line)[:, : values.shape[1]] = values
        return picture

    def _mux(self, packets: list[Any]) -> None:
        for packet in packets:
            if packet.pts in self._durations and self._encoding.encoding != "gif":
                packet.duration = self._durations.pop(packet.pts)
            self._container.mux(packet)


class Y4MEncoder:
    """A YUV4MPEG file in the making (yuv4mpeg(5) of mjpegtools): no times, no name of the matrix.

    Args:
        file: where it goes.
        layout: of the frames; readers take the matrix that its size implies (``usual_matrix``).
        encoding: checked.
    """

    def __init__(self, file: io.BufferedIOBase, layout: VideoLayout, encoding: VideoEncoding):
        self._file, self._layout = file, layout
        self._is_halved = encoding.subsampling == "4:2:0"
        self._aspect = encoding.pixel_aspect
        self._has_header = False
        self._colour = Colour(usual_matrix(layout.height, layout.width), "limited")

    def write(self, frame: Tensor, ticks: int, duration: int) -> None:
        """See :class:`FrameEncoder`."""
        if not self._has_header:
            self._write_header()
        self._file.write(b"FRAME\n")
        for plane in yuv_planes(frame, self._colour, is_halved=self._is_halved):
            self._file.write(np.ascontiguousarray(plane).tobytes())

    def close(self) -> None:
        """See :class:`FrameEncoder`."""
        if not self._has_header:
            self._write_header()

    def discard(self) -> None:
        """See :class:`FrameEncoder`."""

    def _write_header(self) -> None:
        layout = self._layout
        rate, aspect = layout.frame_rate, self._aspect
        sampling = "C420mpeg2" if self._is_halved else "C444"
        self._file.write(
            f"YUV4MPEG2 W{layout.width} H{layout.height} F{rate.numerator}:{rate.denominator} Ip "
            f"A{aspect.numerator}:{aspect.denominator} {sampling} XCOLORRANGE=LIMITED\n".encode()
        )
        self._has_header = True


def yuv_planes(frame: Tensor, colour: Colour, *, is_halved: bool) -> list[npt.NDArray[np.uint8]]:
    """Y, Cb, Cr of 8 bits; the differences at half the rows and columns, rounded up, if asked."""
    values = from_levels(frame) if frame.dtype is torch.uint8 else frame.clamp(-1, 1)
    if len(values) == 1:
        luma = (values[0] + 1) * (colour.luma_span / 2) + colour.black
        size = tuple((side + is_halved) // (1 + is_halved) for side in luma.shape)
        neutral = np.full(size, int(colour.grey), np.uint8)
        return [luma.round().to(torch.uint8).numpy(), neutral, neutral]
    luma, *differences = yuv_of_rgb(values, colour)
    if is_halved:
        padding = (0, luma.shape[1] % 2, 0, luma.shape[0] % 2)
        differences = [
            halved(F.pad(plane[None], padding, mode="replicate")[0]) for plane in differences
        ]
    return [plane.round().to(torch.uint8).numpy() for plane in (luma, *differences)]


def _levels_of(frame: Tensor) -> npt.NDArray[np.uint8]:
    """[height, width, channels] of 8 bits."""
    levels = frame if frame.dtype is torch.uint8 else to_levels(frame)
    array: npt.NDArray[np.uint8] = levels.permute(1, 2, 0).contiguous().numpy()
    return array


def _palette_frame(levels: npt.NDArray[np.uint8]) -> Any:
    """A frame of up to 256 colours, chosen for it alone."""
    picture = Image.fromarray(levels[:, :, 0] if levels.shape[2] == 1 else levels)
    reduced = picture.convert("RGB").quantize(256)
    colours = np.asarray(reduced.getpalette("RGB"), np.uint8).reshape(-1, 3)
    palette = np.full((256, 4), 255, np.uint8)  # alpha, red, green, blue
    palette[: len(colours), 1:] = colours
    return load_av().VideoFrame.from_ndarray((np.asarray(reduced), palette), format="pal8")


def _timescale(time_base: Fraction) -> int:
    """Ticks of a second that FFmpeg's MP4 takes for a time base: at least 10,000."""
    timescale = time_base.denominator
    while timescale < 10_000:
        timescale *= 2
    return timescale
