"""Video files -> tensors in [-1, 1]."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

import torch
from torch import Tensor

from vqkit.errors import MediaError
from vqkit.media.pixels import Alpha
from vqkit.media.pyav import load_av
from vqkit.media.sources import MediaSource, name_of, opened
from vqkit.media.video_decoder import VideoInfo, unreadable_video
from vqkit.media.video_formats import identify_video
from vqkit.media.video_pyav import video_tracks
from vqkit.media.video_reader import VideoReader
from vqkit.media.video_sequence import numbered_pictures
from vqkit.media.video_times import FrameTimes

__all__ = ["MAX_VIDEO_VALUES", "Video", "is_video", "read_video", "video_info"]

MAX_VIDEO_VALUES = 1 << 30
"""Values (channels times frames times pixels) of the longest clip that is read whole unless the
caller says otherwise: 4 GiB as floats, 2 minutes of 640 x 360 at 24 frames per second."""

_BLOCK_FRAMES = 16
# Those that hold sound as well: whether there is a picture is seen in their tables.
_SHARED_FORMATS = ("mp4", "matroska", "avi", "ogg", "asf", "mpegts", "flv")


@dataclass(frozen=True)
class Video:
    """A clip, and when its frames are shown.

    Attributes:
        frames: [channels, frames, height, width], float32 in [-1, 1] or uint8.
        times: of the frames, counted from the first frame of the file.
        frame_rate: what the file says of it; ``times.frame_rate`` is that of these frames.
        pixel_aspect: width of a pixel by its height.
        metadata: title, artist, album, comment, date, genre ... as far as there are any.
        num_audio_streams: audio tracks in the file.
    """

    frames: Tensor
    times: FrameTimes
    frame_rate: Fraction
    pixel_aspect: Fraction = Fraction(1)
    metadata: Mapping[str, str] = field(default_factory=dict)
    num_audio_streams: int = 0


def read_video(
    source: MediaSource,
    *,
    video_stream: int = 0,
    frame_rate: Fraction | float | None = None,
    channels: int = 3,
    alpha: Alpha = "white",
    dtype: torch.dtype = torch.float32,
    start_seconds: float | Fraction = 0,
    stop_seconds: float | Fraction | None = None,
    max_values: int = MAX_VIDEO_VALUES,
) -> Video:
    """Read a video as it is meant to be seen, whole or a part of it.

    MP4, MOV, Matroska, WebM, AVI, animated GIF, YUV4MPEG, IVF, raw H.264 and HEVC, Ogg, WMV,
    MPEG-TS, FLV, by FFmpeg (PyAV) and told apart by their bytes; and numbered pictures. For clips
    that are too long for memory: :class:`VideoReader`.

    - Colours: by the matrix and the range that the file names, at its full depth (8 to 16 bits).
      One that names no matrix is taken for BT.709 from 1280 columns or beyond 576 lines, else for
      BT.601; without a range Y, Cb and Cr are limited (16 to 235), RGB and grey of pictures are
      full. Values beyond [-1, 1] are clipped. Primaries and transfer curves, those of HDR too, stay
      as they are.
    - One channel is the luma of the file; grey is repeated for three.
    - Orientation: quarter turns and mirrors of the display matrix are applied.
    - Transparency is laid over ``alpha``. That of VP8 and VP9 in WebM is not seen by FFmpeg.
    - Pixels that are not square and interlaced lines stay as they are stored.
    - Times: those of the file to the tick, from the first frame on. Raw streams and AVI have none:
      their frames follow at one rate.
    - A truncated file is an error wherever the format lets it be known: against the sizes of MP4,
      Matroska, AVI, WMV, YUV4MPEG and IVF, the end of GIF and Ogg. Raw streams, MPEG-TS and FLV
      that were cut cannot be told from shorter ones.

    Args:
        source: path, bytes or binary stream; a folder of pictures or a pattern.
        video_stream: which video track of a file that has several, from 0.
        frame_rate: of pictures and of streams whose frames have no times.
        channels: 1 for grey, 3 for colour.
        alpha: what stands behind transparent pixels.
        dtype: ``torch.float32``, or ``torch.uint8`` for a quarter of the memory.
        start_seconds: where to begin: the first frame that is shown then or later.
        stop_seconds: where to end: before the first frame that is shown then or later.
        max_values: refuse to read more values than this.

    Raises:
        ConfigError: an argument is out of its range.
        MediaError: the file cannot be read; the message names it and says why.
        MissingExtraError: the package av is not installed.

    Example:
        >>> file = io.BytesIO()
        >>> from vqkit.media import write_video
        >>> write_video(torch.zeros(3, 10, 16, 24), file, 25, format="mkv")
        >>> video = read_video(file.getvalue(), start_seconds=0.2)
        >>> video.frames.shape, float(video.times.seconds)
        (torch.Size([3, 5, 16, 24]), 0.2)
    """
    name = name_of(source)
    with VideoReader(
        source,
        video_stream=video_stream,
        frame_rate=frame_rate,
        channels=channels,
        alpha=alpha,
        dtype=dtype,
        start_seconds=start_seconds,
        stop_seconds=stop_seconds,
    ) as reader:
        info = reader.info
        max_frames = max_values // max(1, channels * info.height * info.width)
        blocks, num_read = [reader.read(0)], 0
        for block in reader.blocks(min(_BLOCK_FRAMES, max_frames + 1)):
            num_read += block.shape[1]
            if num_read > max_frames:
                raise unreadable_video(
                    name,
                    f"it has more than {max_values} values (channels times frames times pixels). "
                    "Raise max_values, read a part of it, or read it in blocks with VideoReader",
                )
            blocks.append(block)
        return Video(
            torch.cat(blocks, 1),
            reader.times,
            info.frame_rate,
            info.pixel_aspect,
            info.metadata,
            len(info.audio),
        )


def video_info(
    source: MediaSource, *, video_stream: int = 0, frame_rate: Fraction | float | None = None
) -> VideoInfo:
    """What a video says of itself; its first frame is decoded for that.

    Raises:
        MediaError: the file cannot be read.

    Example:
        >>> file = io.BytesIO()
        >>> from vqkit.media import write_video
        >>> write_video(torch.zeros(3, 4, 143, 175), file, 29.97, format="mp4")
        >>> info = video_info(file.getvalue())
        >>> info.encoding, info.height, info.width, info.frame_rate, info.colour_matrix
        ('h264', 143, 175, Fraction(30000, 1001), 'bt709')
    """
    with VideoReader(source, video_stream=video_stream, frame_rate=frame_rate) as reader:
        return reader.info


def is_video(source: MediaSource) -> bool:
    """Whether the file is one that ``read_video`` reads, by its head and its table of tracks.

    A file of sound alone is none, whatever its container; nor is a GIF of one picture, which is an
    image. A folder of pictures is one. What cannot be opened is none.

    Example:
        >>> is_video(b"YUV4MPEG2 W2 H2 F25:1"), is_video(b"fLaC")
        (True, False)
    """
    try:
        if numbered_pictures(source) is not None:
            return True
        with opened(source) as stream:
            if not stream.seekable():
                stream = io.BytesIO(stream.read())
            video_format = identify_video(stream)
            if video_format is None or video_format.name not in _SHARED_FORMATS:
                return video_format is not None
            return _has_picture(stream, video_format.demuxer)
    except (OSError, MediaError):
        return False


def _has_picture(stream: io.BufferedIOBase, demuxer: str) -> bool:
    stream.seek(0)
    try:
        with load_av().open(stream, format=demuxer, metadata_errors="replace") as container:
            return bool(video_tracks(container))
    # Whatever a damaged file raises, it is none.
    except Exception:
        return False
