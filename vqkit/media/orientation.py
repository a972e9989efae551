"""The EXIF orientation: which way round a camera held its sensor."""

import struct

from torch import Tensor

from vqkit.shapes import Float

__all__ = ["exif_orientation", "swaps_sides", "upright"]

_ORIENTATION_TAG = 0x0112


def exif_orientation(exif: bytes) -> int:
    """Read the orientation, 1 to 8, out of an EXIF block (CIPA DC-008, 4.6.4); 1 if it names none.

    Damaged metadata cost no picture: whatever cannot be read counts as upright.

    Example:
        >>> directory = struct.pack(">IHHHIHH", 8, 1, 0x0112, 3, 1, 6, 0)
        >>> exif_orientation(b"MM" + bytes([0, 42]) + directory)
        6
    """
    block = exif.removeprefix(b"Exif\x00\x00")
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(f"{order}I", block, 4)
        (num_entries,) = struct.unpack_from(f"{order}H", block, directory)
        for entry in range(num_entries):
            tag, _kind, _count, value = struct.unpack_from(
                f"{order}HHIH", block, directory + 2 + 12 * entry
            )
            if tag == _ORIENTATION_TAG:
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def swaps_sides(orientation: int) -> bool:
    """Whether the upright picture is as wide as the stored one is high."""
    return orientation >= 5


def upright(
    image: Float[Tensor, "channels rows columns"], orientation: int
) -> Float[Tensor, "channels height width"]:
    """Turn stored rows and columns the way that EXIF orientation 1 to 8 asks for.

    EXIF says where the first row and the first column of the *stored* picture lie in the scene:
    1 top left, 2 top right, 3 bottom right, 4 bottom left, 5 left top, 6 right top, 7 right bottom,
    8 left bottom.
    """
    if swaps_sides(orientation):
        image = image.transpose(1, 2)
    flipped = [
        axis
        for axis, orientations in ((1, (3, 4, 7, 8)), (2, (2, 3, 6, 7)))
        if orientation in orientations
    ]
    return image.flip(flipped) if flipped else image
