"""The video formats that are read, told apart by their first bytes.

FFmpeg's own detection is never used, for the reason that ``audio_formats`` gives.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BufferedIOBase
from pathlib import Path

from vqkit.media.audio_formats import identify_audio
from vqkit.media.gif import num_gif_pictures

__all__ = [
    "VIDEO_FORMATS",
    "VIDEO_HEAD_BYTES",
    "VIDEO_SUFFIXES",
    "VideoFormat",
    "has_video_suffix",
    "identify_video",
]

VIDEO_HEAD_BYTES = 4096
"""So many bytes are enough to tell a format, but for GIF, which is walked through."""


@dataclass(frozen=True)
class VideoFormat:
    """One container, and what FFmpeg has to be told of it.

    Attributes:
        name: in small letters, the usual ending without its dot where that is unambiguous.
        suffixes: file name endings, the usual one first.
        demuxer: FFmpeg's name of it.
        has_times: each frame says when it is shown; elsewhere frames follow at one rate.
        seeks: from the key frame before a time on, its decoder gives what it gives from the start.
        options: settings of the demuxer.
    """

    name: str
    suffixes: tuple[str, ...]
    demuxer: str
    has_times: bool = True
    seeks: bool = False
    options: Mapping[str, str] = field(default_factory=dict)


# Browsers, and FFmpeg unless told otherwise, show frames of less than 0.02 s for 0.1 s.
_GIF_OPTIONS = {"min_delay": "1"}

VIDEO_FORMATS: dict[str, VideoFormat] = {
    video_format.name: video_format
    for video_format in (
        VideoFormat("mp4", (".mp4", ".m4v", ".mov", ".3gp"), "mov", seeks=True),
        VideoFormat("matroska", (".mkv", ".webm"), "matroska", seeks=True),
        VideoFormat("avi", (".avi",), "avi", has_times=False),
        VideoFormat("gif", (".gif",), "gif", options=_GIF_OPTIONS),
        VideoFormat("y4m", (".y4m",), "yuv4mpegpipe"),
        VideoFormat("ivf", (".ivf",), "ivf"),
        VideoFormat("h264", (".264", ".h264", ".avc"), "h264", has_times=False),
        VideoFormat("hevc", (".265", ".h265", ".hevc"), "hevc", has_times=False),
        VideoFormat("ogg", (".ogv",), "ogg"),
        VideoFormat("asf", (".wmv", ".asf"), "asf"),
        # Not ".ts", which is TypeScript far more often.
        VideoFormat("mpegts", (".m2ts",), "mpegts"),
        VideoFormat("flv", (".flv",), "flv"),
    )
}
"""Every format that can be read, by name."""

VIDEO_SUFFIXES: frozenset[str] = frozenset(
    suffix for video_format in VIDEO_FORMATS.values() for suffix in video_format.suffixes
)
"""File name endings (lower case) that a folder is searched for."""

# The two bytes at the head of a unit (ITU-T H.265, 7.3.1.2): parameter sets, delimiter, prefix SEI.
_HEVC_HEADS = (b"\x40\x01", b"\x42\x01", b"\x44\x01", b"\x46\x01", b"\x4e\x01")
# The lower five bits of the one byte (ITU-T H.264, 7.3.1): IDR, SEI, parameter sets, delimiter.
_H264_KINDS = (5, 6, 7, 8, 9)


def identify_video(stream: BufferedIOBase) -> VideoFormat | None:
    """Tell the format of a seekable file; None if it is none of ours.

    Containers that may hold sound alone count; a GIF of one picture is a picture and does not.

    Example:
        >>> import io
        >>> identify_video(io.BytesIO(b"YUV4MPEG2 W2 H2 F25:1")).name
        'y4m'
    """
    stream.seek(0)
    head = stream.read(VIDEO_HEAD_BYTES)
    name: str | None = None
    if head.startswith(b"YUV4MPEG2 "):
        name = "y4m"
    elif head.startswith(b"DKIF"):
        name = "ivf"
    elif head.startswith((b"GIF87a", b"GIF89a")):
        name = "gif" if num_gif_pictures(stream) > 1 else None
    elif head.startswith((b"\x00\x00\x01", b"\x00\x00\x00\x01")):
        name = _name_of_units(head)
    else:
        container = identify_audio(stream)
        name = None if container is None else container.name
    return None if name is None else VIDEO_FORMATS.get(name)


def has_video_suffix(path: Path) -> bool:
    """Whether the file's name ends like a video's."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def _name_of_units(head: bytes) -> str | None:
    """The codec of a byte stream (annex B of both standards), by the first unit in it."""
    unit = head[head.index(b"\x01") + 1 :]
    if unit.startswith(_HEVC_HEADS):
        return "hevc"
    return "h264" if unit and unit[0] < 0x80 and unit[0] & 0x1F in _H264_KINDS else None
