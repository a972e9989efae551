"""Videos by FFmpeg (PyAV)."""

import io
import itertools
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import torch

from vqkit.media.audio_decoder import AudioInfo, TrackError
from vqkit.media.gif import num_gif_pictures
from vqkit.media.orientation import swaps_sides
from vqkit.media.pyav import load_av, metadata_of
from vqkit.media.reading import MAX_PIXELS
from vqkit.media.video_colour import Colour
from vqkit.media.video_decoder import TimedFrame, VideoInfo
from vqkit.media.video_formats import VideoFormat
from vqkit.media.video_frames import FrameColour, Picture, orientation_of, picture_of
from vqkit.media.video_truncation import num_y4m_frames

__all__ = ["PyAVVideoDecoder", "measured_ticks", "video_tracks"]

# By these, a packet of MP4 or Matroska is one frame that is shown; one of VP8 may be none.
_FRAME_BY_FRAME = ("h264", "hevc", "av1", "vp9", "mpeg4", "ffv1")
_NOMINAL_RATE = Fraction(25)


class PyAVVideoDecoder:
    """One video track of a file that FFmpeg has opened.

    Args:
        stream: the file, seekable.
        video_format: what it is; FFmpeg is told and does not guess.
        video_stream: which of the video tracks, from 0; cover pictures do not count.
        frame_rate: of a stream whose frames have no times, whatever it says itself.

    Raises:
        TrackError: the file has no such track, or one whose frames are not read.
    """

    def __init__(
        self,
        stream: io.BufferedIOBase,
        video_format: VideoFormat,
        video_stream: int,
        frame_rate: Fraction | None,
    ):
        self._num_frames = _counted(stream, video_format)
        stream.seek(0)
        # FFmpeg decodes to learn what is inside: its limit is ours from the first frame on.
        limits = {"max_pixels": str(MAX_PIXELS)}
        self._container: Any = load_av().open(
            stream,
            format=video_format.demuxer,
            options={**limits, **video_format.options},
            metadata_errors="replace",
        )
        self._format = video_format
        try:
            self._begin(video_stream, frame_rate)
        except BaseException:
            self.close()
            raise

    def _begin(self, video_stream: int, frame_rate: Fraction | None) -> None:
        tracks = video_tracks(self._container)
        if not tracks:
            raise TrackError("it has no video")
        if video_stream >= len(tracks):
            raise TrackError(f"expected video_stream below {len(tracks)}, got {video_stream}")
        self._track = track = tracks[video_stream]
        context = track.codec_context
        if context is None:
            raise TrackError("FFmpeg has no decoder for it")
        context.thread_type, context.thread_count = "AUTO", torch.get_num_threads()
        context.options = {"max_pixels": str(MAX_PIXELS)}
        rate = _rate_of(track, self._format) if frame_rate is None else frame_rate
        # A rate that a file invents is no reason to fail: its times are in its frames.
        self._step = max(1, round(1 / rate / track.time_base)) if self._format.has_times else 1
        self._time_base = Fraction(track.time_base) if self._format.has_times else 1 / rate
        self._first_pts = 0
        self._size: tuple[int, int] | None = None
        self._frames = self._decoded(expects_key=False)
        first = next(self._frames, None)
        if first is not None:
            self._frames = itertools.chain((first,), self._frames)
        elif context.width <= 0 or context.height <= 0:
            raise TrackError("it has no frames, and does not say their size")
        self._kind = self._kind_of(None if first is None else first.content)
        self.info = self._info(rate, None if first is None else first.content)

    def frames(self) -> Iterator[TimedFrame]:
        """See :class:`VideoDecoder`."""
        return self._frames

    def picture(self, frame: TimedFrame, channels: int) -> Picture:
        """See :class:`VideoDecoder`."""
        # Its colours may change with it, as its format may.
        return picture_of(frame.content, self._kind_of(frame.content), channels)

    @property
    def seeks(self) -> bool:
        """See :class:`VideoDecoder`."""
        return self._format.seeks

    def seek(self, ticks: int) -> bool:
        """See :class:`VideoDecoder`: by the key frame before it."""
        # Containers look for a key frame by the time at which it is decoded, and that may lie
        # before a frame which is shown earlier.
        for earlier_seconds in (0, 1, 10):
            place = max(0, ticks - round(earlier_seconds / self._time_base))
            self._container.seek(self._first_pts + place, stream=self._track, backward=True)
            self._frames = self._decoded(expects_key=True)
            first = next(self._frames, None)
            if first is not None and first.ticks <= ticks:
                self._frames = itertools.chain((first,), self._frames)
                return True
        return False

    def close(self) -> None:
        """See :class:`VideoDecoder`."""
        self._container.close()

    def _decoded(self, *, expects_key: bool) -> Iterator[TimedFrame]:
        """All frames from here on; behind a seek those from the key frame on.

        What is shown before the key frame but comes behind it refers to frames before both.
        """
        begin: int | None = None
        last_ticks = -1
        promised = None if expects_key else _PromisedFrames(self._track, self._format)
        for packet in self._container.demux(self._track):
            if packet.is_corrupt:
                raise TrackError("it is damaged: FFmpeg found a corrupt packet")
            if promised is not None:
                promised.note(packet)
            if expects_key and packet.is_keyframe and packet.pts is not None:
                begin, expects_key = packet.pts, False
            for frame in packet.decode():
                if begin is not None and (frame.pts is None or frame.pts < begin):
                    continue
                ticks = self._ticks_of(frame, last_ticks)
                self._check(frame)
                last_ticks = ticks
                if promised is not None:
                    promised.note_frame(frame)
                lasts = frame.duration if self._format.has_times else 0
                yield TimedFrame(ticks, lasts or self._step, frame)

        if promised is not None:
            promised.check()

    def _ticks_of(self, frame: Any, last_ticks: int) -> int:
        if not self._format.has_times:
            return last_ticks + 1
        time = frame.dts if frame.pts is None else frame.pts
        if self._size is None:
            self._first_pts = 0 if time is None else time
        if time is None:
            return last_ticks + (self._step if last_ticks >= 0 else 1)
        # Times that stand still or go back are a muxer's mistake: the order is that of the frames.
        return max(int(time) - self._first_pts, last_ticks + 1)

    def _check(self, frame: Any) -> None:
        if frame.is_corrupt:
            raise TrackError("it is damaged: a frame refers to others that are not there")
        size = (frame.height, frame.width)
        if self._size not in (None, size):
            assert self._size is not None
            raise TrackError(
                f"its size changes midway from {self._size[1]} x {self._size[0]} to "
                f"{size[1]} x {size[0]} pixels"
            )
        self._size = size

    def _kind_of(self, frame: Any) -> FrameColour:
        context = self._track.codec_context
        if frame is None:
            return FrameColour(Colour("bt709", "limited"), True, 3, False)
        said = (context.colorspace, context.color_range)
        return FrameColour.of(frame, context.name, said)

    def _info(self, rate: Fraction, frame: Any) -> VideoInfo:
        track, container, kind = self._track, self._container, self._kind
        context = track.codec_context
        size = (context.height, context.width) if self._size is None else self._size
        orientation = 1 if frame is None else orientation_of(frame)
        height, width = reversed(size) if swaps_sides(orientation) else size
        seconds = None
        if self._format.has_times:
            if track.duration is not None:
                seconds = float(track.duration * track.time_base)
            elif container.duration is not None:
                seconds = container.duration * 1e-6
        return VideoInfo(
            format=self._format.name,
            encoding=context.codec.canonical_name,
            height=height,
            width=width,
            channels=kind.channels,
            frame_rate=rate,
            time_base=self._time_base,
            num_frames=0 if frame is None else self._num_frames,
            seconds=seconds,
            pixel_format=context.pix_fmt or "" if frame is None else frame.format.name,
            bit_depth=kind.colour.bit_depth,
            colour_matrix=kind.colour.matrix,
            colour_range=kind.colour.range,
            has_assumed_matrix=kind.is_assumed,
            has_alpha=kind.has_alpha,
            orientation=orientation,
            pixel_aspect=Fraction(track.sample_aspect_ratio or 1),
            num_streams=len(video_tracks(container)),
            audio=tuple(self._audio_info(sound) for sound in container.streams.audio),
            metadata=metadata_of({**container.metadata, **track.metadata}),
        )

    def _audio_info(self, track: Any) -> AudioInfo:
        context = track.codec_context
        return AudioInfo(
            format=self._format.name,
            encoding="" if context is None else context.codec.canonical_name,
            sample_rate_hz=0 if context is None else context.sample_rate,
            channels=0 if context is None else context.channels,
            num_samples=None,
            seconds=None if track.duration is None else float(track.duration * track.time_base),
            num_streams=len(self._container.streams.audio),
        )


class _PromisedFrames:
    """Whether each packet of a track became a frame: decoders leave out what they cannot decode.

    Args:
        track: the track.
        video_format: the container; only of some each packet holds just one frame.
    """

    def __init__(self, track: Any, video_format: VideoFormat):
        encoding = track.codec_context.codec.canonical_name
        self._counts = video_format.seeks and encoding in _FRAME_BY_FRAME
        self._first_pts: int | None = None
        self._pts: list[int] = []
        self._num_packets = self._num_frames = 0

    def note(self, packet: Any) -> None:
        """A packet is about to be decoded."""
        if packet.size and not packet.is_discard and packet.pts is not None:
            if self._first_pts is None:
                self._pts.append(packet.pts)
            else:
                self._num_packets += packet.pts >= self._first_pts

    def note_frame(self, frame: Any) -> None:
        """A frame was decoded."""
        self._num_frames += 1
        if self._first_pts is None and frame.pts is not None:
            self._first_pts = int(frame.pts)
            # What is shown before the first frame refers to frames that were cut off.
            self._num_packets = sum(pts >= self._first_pts for pts in self._pts)
            self._pts.clear()

    def check(self) -> None:
        """At the end of the file.

        Raises:
            TrackError: frames are missing.
        """
        if self._counts and self._num_frames < self._num_packets:
            raise TrackError(
                f"it is damaged: of {self._num_packets} frames {self._num_frames} can be decoded"
            )


def measured_ticks(
    stream: io.BufferedIOBase, video_format: VideoFormat, video_stream: int, step: int
) -> int:
    """From the first frame of a track to the end of its last, without decoding any.

    Args:
        stream: the file, seekable; it is read through.
        video_format: what it is.
        video_stream: which of its video tracks; there is such a one.
        step: ticks of a frame that says nothing of how long it lasts.
    """
    stream.seek(0)
    with load_av().open(
        stream, format=video_format.demuxer, options=dict(video_format.options),
        metadata_errors="replace",
    ) as container:  # fmt: skip
        track = video_tracks(container)[video_stream]
        start, end, num_packets = None, 0, 0
        for packet in container.demux(track):
            if not packet.size or packet.is_discard:
                continue
            num_packets += 1
            time = packet.dts if packet.pts is None else packet.pts
            if time is not None:
                start = time if start is None else min(start, time)
                end = max(end, time + (packet.duration or step))
    return end - start if video_format.has_times and start is not None else num_packets


def video_tracks(container: Any) -> list[Any]:
    """The video tracks of a container of PyAV's; cover pictures are none."""
    covers = load_av().stream.Disposition.attached_pic
    return [track for track in container.streams.video if not track.disposition & covers]


def _rate_of(track: Any, video_format: VideoFormat) -> Fraction:
    """Frames per second as the file has it: counted where it has times, else as it says."""
    if video_format.has_times:
        found = (track.average_rate, track.guessed_rate, track.base_rate)
    else:
        found = (track.guessed_rate, track.average_rate, track.base_rate)
    rates = [Fraction(rate) for rate in found if rate]
    return next((rate for rate in rates if 0 < rate <= 1000), _NOMINAL_RATE)


def _counted(stream: io.BufferedIOBase, video_format: VideoFormat) -> int | None:
    """The frames of the formats that tell them by their structure."""
    if video_format.name == "y4m":
        return num_y4m_frames(stream)
    return num_gif_pictures(stream) if video_format.name == "gif" else None
