"""The blocks of a GIF file (GIF89a specification, CompuServe 1990), without decoding any."""

import struct
from io import BufferedIOBase
from typing import NamedTuple

__all__ = ["gif_is_complete", "num_gif_pictures", "set_last_gif_delay"]

_TRAILER, _EXTENSION, _PICTURE = b"\x3b", b"\x21", b"\x2c"
_GRAPHIC_CONTROL = b"\xf9"


def num_gif_pictures(stream: BufferedIOBase) -> int:
    """Count the pictures that begin in a seekable file; what is damaged ends the count."""
    return _walk(stream).num_pictures


def gif_is_complete(stream: BufferedIOBase) -> bool:
    """Whether a seekable file goes on to its trailer."""
    return _walk(stream).is_complete


def set_last_gif_delay(stream: BufferedIOBase, centiseconds: int) -> None:
    """Change how long the last picture of a file is shown, if the file says it of that picture."""
    place = _walk(stream).control_place
    if place is not None:
        stream.seek(place + 4)
        stream.write(struct.pack("<H", min(centiseconds, 0xFFFF)))
    stream.seek(0, 2)


class _Walked(NamedTuple):
    """What was met.

    Attributes:
        num_pictures: how many begin.
        is_complete: there is a trailer.
        control_place: where the last graphic control extension begins.
    """

    num_pictures: int
    is_complete: bool
    control_place: int | None


def _walk(stream: BufferedIOBase) -> _Walked:
    stream.seek(6)
    screen = stream.read(7)
    if len(screen) < 7:
        return _Walked(0, False, None)
    _skip_colours(stream, screen[4])
    num_pictures, control_place = 0, None
    while True:
        place = stream.tell()
        kind = stream.read(1)
        if kind == _TRAILER:
            return _Walked(num_pictures, True, control_place)
        if kind == _PICTURE:
            descriptor = stream.read(9)
            if len(descriptor) < 9:
                break
            num_pictures += 1
            _skip_colours(stream, descriptor[8])
            stream.read(1)  # the code size of the data behind it
        elif kind == _EXTENSION:
            if stream.read(1) == _GRAPHIC_CONTROL:
                control_place = place
        else:
            break
        if not _skip_blocks(stream):
            break
    return _Walked(num_pictures, False, control_place)


def _skip_colours(stream: BufferedIOBase, flags: int) -> None:
    if flags & 0x80:
        stream.seek(3 * 2 ** ((flags & 7) + 1), 1)


def _skip_blocks(stream: BufferedIOBase) -> bool:
    """Move behind a chain of blocks; False where the file ends within it."""
    while size := stream.read(1):
        if size == b"\x00":
            return True
        stream.seek(size[0], 1)
    return False
