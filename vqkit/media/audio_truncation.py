"""Whether a file is as long as its own header says, for the formats whose headers say it.

Decoders take a file that was cut for a shorter one. FLAC is not here: its count of samples tells
while it is decoded, as that of MP3 does. MP3 and AAC without a header, MPEG-TS and FLV cannot tell.
"""

import struct
from collections.abc import Iterator
from io import BufferedIOBase
from typing import Any

from vqkit.media.audio_formats import mpeg_frame_bytes, skip_id3

__all__ = ["missing_part"]

# Sizes that programs write into a pipe, where they cannot go back: SoX, FFmpeg and others.
_UNKNOWN_SIZES = (range(0x7FFFF000, 0x80000000), range(0xFFFFF000, 0x100000000))
_OGG_SEARCH_BYTES = 1 << 17
# Many more than any file has, so that a hostile one does not keep us.
_MAX_CHUNKS = 1 << 14


def missing_part(stream: BufferedIOBase, format_name: str) -> str | None:
    """Say what a seekable file lacks by its own account; None if it is whole or cannot tell."""
    if format_name == "ogg":
        return _missing_of_ogg(stream)
    if format_name == "wav" and (num_bytes := _bytes_behind_nothing(stream)):
        return f"it was never finished: its header says 0 bytes of sound, {num_bytes} bytes follow"
    end_of = _ENDS.get(format_name)
    if end_of is None:
        return None
    try:
        promised = end_of(stream)
    except struct.error:
        # The header itself is cut: the decoder has better words for it.
        return None
    size = stream.seek(0, 2)
    if promised is None or promised <= size:
        return None
    return f"it is cut short: its header promises {promised} bytes, {size} are there"


def _is_unknown(length: int) -> bool:
    return any(length in sizes for sizes in _UNKNOWN_SIZES)


def _unpack(stream: BufferedIOBase, position: int, form: str) -> tuple[Any, ...]:
    stream.seek(position)
    return struct.unpack(form, stream.read(struct.calcsize(form)))


def _chunks(
    stream: BufferedIOBase, position: int, form: str, *, align: int = 1, with_header: bool = False
) -> Iterator[tuple[bytes, int, int]]:
    """Kind, first byte and end of the chunks that lie one behind the other.

    Args:
        stream: the file.
        position: of the first chunk.
        form: of a chunk's header, kind and length.
        align: chunks begin at multiples of so many bytes from the first.
        with_header: lengths count the header.
    """
    size = stream.seek(0, 2)
    header_bytes = struct.calcsize(form)
    for _ in range(_MAX_CHUNKS):
        if position + header_bytes > size:
            return
        kind, length = _unpack(stream, position, form)
        length -= header_bytes * with_header
        if length < 0:
            return
        start = position + header_bytes
        yield kind, start, start + length
        position = start + -(-length // align) * align


def _end_of_riff(stream: BufferedIOBase) -> int | None:
    """RIFF and its kin: the data chunk of WAV, all chunks of AVI."""
    stream.seek(0)
    order = ">" if stream.read(4) == b"RIFX" else "<"
    end, long_length = 0, None
    for kind, start, end in _chunks(stream, 12, f"{order}4sI", align=2):
        if kind == b"ds64":  # EBU Tech 3306: the sizes that 32 bits cannot hold
            _riff, long_length = _unpack(stream, start, "<QQ")
        if kind == b"data":
            if end - start == 0xFFFFFFFF and long_length is not None:
                return start + long_length
            return None if _is_unknown(end - start) else end
    return end


def _bytes_behind_nothing(stream: BufferedIOBase) -> int:
    """What lies behind an empty data chunk of WAV and is no chunk: a recorder was switched off."""
    size = stream.seek(0, 2)
    chunks = list(_chunks(stream, 12, "<4sI", align=2))
    empty = [end for kind, start, end in chunks if kind == b"data" and start == end]
    is_tiled = bool(chunks) and size <= chunks[-1][2] + 1 and chunks[-1][2] <= size
    return size - empty[0] if empty and not is_tiled else 0


def _end_of_aiff(stream: BufferedIOBase) -> int | None:
    end = 0
    for kind, start, end in _chunks(stream, 12, ">4sI", align=2):
        if kind == b"SSND":
            return None if _is_unknown(end - start) else end
    return end


def _end_of_au(stream: BufferedIOBase) -> int | None:
    _magic, offset, length = _unpack(stream, 0, ">4sII")
    return None if _is_unknown(length) else offset + length


def _end_of_caf(stream: BufferedIOBase) -> int | None:
    """Its chunk of data may say -1 for what is not known, which ends the walk before it."""
    return _last_end(_chunks(stream, 8, ">4sq"))


def _end_of_w64(stream: BufferedIOBase) -> int | None:
    return _last_end(_chunks(stream, 40, "<16sQ", align=8, with_header=True))


def _end_of_asf(stream: BufferedIOBase) -> int | None:
    return _last_end(_chunks(stream, 0, "<16sQ", with_header=True))


def _last_end(chunks: Iterator[tuple[bytes, int, int]]) -> int:
    return max((end for _kind, _start, end in chunks), default=0)


def _end_of_mp4(stream: BufferedIOBase) -> int | None:
    """ISO/IEC 14496-12: all boxes of the top level."""
    size = stream.seek(0, 2)
    position = 0
    for _ in range(_MAX_CHUNKS):
        if position + 8 > size:
            break
        length, kind = _unpack(stream, position, ">I4s")
        if length == 1:
            (length,) = _unpack(stream, position + 8, ">Q")
        # A length of 0 goes to the end, whatever that is; behind the last box there may be litter.
        if length < 8 or not kind.isalnum():
            return None
        position += length
    return position


def _end_of_matroska(stream: BufferedIOBase) -> int | None:
    """RFC 8794: the header and the segment behind it."""
    position = 0
    for _element in range(2):
        position += 4  # both have an identifier of four bytes
        (first,) = _unpack(stream, position, "B")
        num_bytes = 9 - first.bit_length()
        if num_bytes > 8:
            return None
        stream.seek(position)
        length = int.from_bytes(stream.read(num_bytes), "big") & ((1 << 7 * num_bytes) - 1)
        if length == (1 << 7 * num_bytes) - 1:  # unknown: a live recording
            return None
        position += num_bytes + length
    return position


def _end_of_mp3(stream: BufferedIOBase) -> int | None:
    """The count of bytes in the header frame of Xing, LAME or Fraunhofer."""
    start = skip_id3(stream)
    head = stream.read(2048)
    frame_bytes = mpeg_frame_bytes(head)
    if frame_bytes is None:
        return None
    for name in (b"Xing", b"Info", b"VBRI"):
        place = head.find(name, 0, min(frame_bytes, 64))
        if place > 0 and name == b"VBRI":
            return start + int(struct.unpack_from(">I", head, place + 10)[0])
        if place > 0:
            flags, *counts = struct.unpack_from(">III", head, place + 4)
            has_frames, has_bytes = flags & 1, flags & 2
            return start + int(counts[1 if has_frames else 0]) if has_bytes else None
    return None


def _missing_of_ogg(stream: BufferedIOBase) -> str | None:
    """RFC 3533: the last page is whole and says that it is the last."""
    size = stream.seek(0, 2)
    start = max(0, size - _OGG_SEARCH_BYTES)
    stream.seek(start)
    tail = stream.read()
    page = tail.rfind(b"OggS")
    if page < 0:
        return "it is cut short: the end of an Ogg page is missing"
    header = tail[page : page + 27]
    if len(header) == 27:
        segments = tail[page + 27 : page + 27 + header[26]]
        is_whole = len(segments) == header[26]
        is_whole = is_whole and page + 27 + len(segments) + sum(segments) <= len(tail)
        if is_whole and header[5] & 4:
            return None
    return f"it is cut short: the last Ogg page is missing behind its {size} bytes"


_ENDS = {
    "wav": _end_of_riff,
    "avi": _end_of_riff,
    "aiff": _end_of_aiff,
    "au": _end_of_au,
    "caf": _end_of_caf,
    "w64": _end_of_w64,
    "mp4": _end_of_mp4,
    "matroska": _end_of_matroska,
    "asf": _end_of_asf,
    "mp3": _end_of_mp3,
}
