"""What all that videos are decoded by have in common."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Protocol, runtime_checkable

from vqkit.errors import MediaError
from vqkit.media.audio_decoder import AudioInfo
from vqkit.media.video_colour import ColourMatrix, ColourRange
from vqkit.media.video_frames import Picture

__all__ = ["TimedFrame", "VideoDecoder", "VideoInfo", "unreadable_video"]


@dataclass(frozen=True)
class VideoInfo:
    """What a video file says of itself.

    Attributes:
        format: the container: ``"mp4"``, ``"matroska"`` ...
        encoding: as FFmpeg calls it: ``"h264"``, ``"ffv1"`` ...
        height: rows of a frame the way it is to be seen.
        width: columns of a frame the way it is to be seen.
        channels: 1 if it is grey, else 3.
        frame_rate: frames per second, on average where they vary.
        time_base: seconds of a tick, in which the times of frames are counted.
        num_frames: None where the file does not say it to the frame.
        seconds: length; None where the file does not say it.
        pixel_format: FFmpeg's name of what is stored: ``"yuv420p"`` ...
        bit_depth: bits of a number that is stored.
        colour_matrix: of the colour differences; ``"rgb"`` where there are none.
        colour_range: of the numbers.
        has_assumed_matrix: the file does not name its matrix: it is taken for that of its size.
        has_alpha: it says how opaque a pixel is.
        orientation: how the stored frame is turned to be seen, 1 to 8 as EXIF counts; 1 as it is.
        pixel_aspect: width of a pixel by its height. Nothing is scaled to make it square.
        num_streams: video tracks in the file, of which this is one.
        audio: its audio tracks.
        metadata: by ``METADATA_KEYS``, as far as there are any.
    """

    format: str
    encoding: str
    height: int
    width: int
    channels: int
    frame_rate: Fraction
    time_base: Fraction
    num_frames: int | None
    seconds: float | None
    pixel_format: str
    bit_depth: int = 8
    colour_matrix: ColourMatrix = "rgb"
    colour_range: ColourRange = "full"
    has_assumed_matrix: bool = False
    has_alpha: bool = False
    orientation: int = 1
    pixel_aspect: Fraction = Fraction(1)
    num_streams: int = 1
    audio: tuple[AudioInfo, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TimedFrame:
    """One frame that is not yet converted to colours.

    Attributes:
        ticks: when it is shown, counted from the first frame of the file.
        last_ticks: how long, if it is the last one.
        content: what its decoder knows it by.
    """

    ticks: int
    last_ticks: int
    content: Any


@runtime_checkable
class VideoDecoder(Protocol):
    """One opened video.

    Attributes:
        info: what is known once the first frame is decoded.
        seeks: there is a way to a time that does not lead through all frames before it.
    """

    info: VideoInfo

    @property
    def seeks(self) -> bool:
        """See above."""
        ...

    def frames(self) -> Iterator[TimedFrame]:
        """What follows, in the order of its times; the same iterator until the next seek."""
        ...

    def picture(self, frame: TimedFrame, channels: int) -> Picture:
        """The colours of one frame as stored; for one channel, grey where that is cheaper."""
        ...

    def seek(self, ticks: int) -> bool:
        """Go on at a frame that is not behind this time; False, and no use any more, if it fails.

        What follows is what follows from the start, bit for bit. Of decoders that seek only.
        """
        ...

    def close(self) -> None:
        """Give back what was opened here; the stream stays open."""
        ...


def unreadable_video(name: str, reason: str) -> MediaError:
    """The one form of all failures to read a video."""
    return MediaError(f"Cannot read the video {name}: {reason}.")
