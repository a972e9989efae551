"""Whether a video is as long as it says, for the formats that say it.

Those that hold sound as well are in ``audio_truncation``. Raw streams of H.264 and HEVC, MPEG-TS
and FLV that were cut cannot be told from shorter ones.
"""

import re
import struct
from io import BufferedIOBase

from vqkit.media.audio_truncation import missing_part
from vqkit.media.gif import gif_is_complete

__all__ = ["missing_video_part", "num_y4m_frames"]

_LONGEST_LINE_BYTES = 1 << 12
_IVF_UNKNOWN = (0, 0xFFFFFFFF)

# Bytes of a frame of 8 bits: planes of the size of the picture, and of two more that are smaller by
# so much in each direction.
_Y4M_LAYOUTS = {
    "420": (1, (2, 2)),
    "411": (1, (4, 1)),
    "422": (1, (2, 1)),
    "440": (1, (1, 2)),
    "444": (1, (1, 1)),
    "444alpha": (2, (1, 1)),
    "mono": (1, None),
}


def missing_video_part(stream: BufferedIOBase, format_name: str) -> str | None:
    """Say what a seekable file lacks by its own account; None if it is whole or cannot tell."""
    if format_name == "gif":
        return None if gif_is_complete(stream) else "it is cut short: the end of the GIF is missing"
    if format_name == "ivf":
        return _missing_of_ivf(stream)
    if format_name == "y4m":
        return _missing_of_y4m(stream)
    return missing_part(stream, format_name)


def num_y4m_frames(stream: BufferedIOBase) -> int | None:
    """Count the frames of a YUV4MPEG file; None for a layout that is not known here."""
    walked = _walk_y4m(stream)
    return None if walked is None else walked[0]


def _missing_of_y4m(stream: BufferedIOBase) -> str | None:
    walked = _walk_y4m(stream)
    if walked is None or walked[1] == 0:
        return None
    return f"it is cut short: its last frame lacks {walked[1]} bytes"


def _walk_y4m(stream: BufferedIOBase) -> tuple[int, int] | None:
    """The number of frames, and the bytes that the last one lacks (yuv4mpeg(5) of mjpegtools)."""
    size = stream.seek(0, 2)
    stream.seek(0)
    line = stream.readline(_LONGEST_LINE_BYTES)
    frame_bytes = _y4m_frame_bytes(line.decode("latin-1"))
    if frame_bytes is None or not line.endswith(b"\n"):
        return None
    num_frames = 0
    while line := stream.readline(_LONGEST_LINE_BYTES):
        if not line.startswith(b"FRAME") or not line.endswith(b"\n"):
            return num_frames, frame_bytes
        num_frames += 1
        lacking = stream.tell() + frame_bytes - size
        if lacking > 0:
            return num_frames, lacking
        stream.seek(frame_bytes, 1)
    return num_frames, 0


def _y4m_frame_bytes(header: str) -> int | None:
    width, height = re.search(r" W(\d{1,6})\b", header), re.search(r" H(\d{1,6})\b", header)
    colours = re.search(r" C([0-9a-z]+)", header)
    if width is None or height is None:
        return None
    layout, num_bits = "420" if colours is None else colours[1], 8
    if deep := re.fullmatch(r"(?:(\d{3})p|mono)(\d{1,2})", layout):  # "422p10", "mono16"
        layout, num_bits = deep[1] or "mono", int(deep[2])
    for siting in ("jpeg", "mpeg2", "paldv"):
        layout = layout.removesuffix(siting)
    if layout not in _Y4M_LAYOUTS:
        return None
    num_full, smaller = _Y4M_LAYOUTS[layout]
    columns, rows = int(width[1]), int(height[1])
    num_values = num_full * columns * rows
    if smaller is not None:
        num_values += 2 * -(-columns // smaller[0]) * -(-rows // smaller[1])
    return num_values * (2 if num_bits > 8 else 1)


def _missing_of_ivf(stream: BufferedIOBase) -> str | None:
    """The count of frames in the header, and the size before each frame."""
    size = stream.seek(0, 2)
    stream.seek(0)
    header = stream.read(32)
    if len(header) < 32:
        return "it is cut short: its header is incomplete"
    (header_bytes,) = struct.unpack_from("<H", header, 6)
    (promised,) = struct.unpack_from("<I", header, 24)
    position, num_frames = int(header_bytes), 0
    while position < size:
        stream.seek(position)
        head = stream.read(12)
        if len(head) == 12:
            position += 12 + int(struct.unpack_from("<I", head)[0])
        if len(head) < 12 or position > size:
            return f"it is cut short: frame {num_frames + 1} is incomplete"
        num_frames += 1
    if promised not in _IVF_UNKNOWN and num_frames < promised:
        return f"it is cut short: its header promises {promised} frames, {num_frames} are there"
    return None
