"""What Pillow does not do for PNG: 16-bit colour kept, missing rows noticed (ISO/IEC 15948).

Pillow cuts 16-bit colour to 8 bits and leaves rows that a file does not hold black. So every PNG is
checked here for completeness, and those of 16 bits are decoded here as well.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedIOBase

import numpy as np
import numpy.typing as npt
from PIL import Image

__all__ = [
    "PngHeader",
    "check_complete",
    "chunk_of",
    "chunks_before_pixels",
    "decode_16_bit",
    "exif_of",
    "inflated",
    "read_header",
    "scale_colour_key",
    "unfiltered",
    "with_colour_key",
]

_SIGNATURE_BYTES = 8
_BANDS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_CHECKED_CHUNKS = (b"IHDR", b"PLTE", b"IDAT", b"tRNS")
_INFLATE_BYTES = 1 << 20
_PIECE_BYTES = 1 << 20

# First column, first row, step between columns, step between rows of the seven Adam7 passes.
_ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)


@dataclass(frozen=True)
class PngHeader:
    """The IHDR chunk."""

    width: int
    height: int
    bit_depth: int
    colour_type: int
    interlaced: bool

    @property
    def num_bands(self) -> int:
        """Samples per pixel: 1 grey or palette index, 2 grey and alpha, 3 RGB, 4 RGB and alpha."""
        return _BANDS[self.colour_type]

    @property
    def passes(self) -> list[tuple[int, int, int, int]]:
        """First column, first row and the two steps of each pass that holds pixels."""
        if not self.interlaced:
            return [(0, 0, 1, 1)]
        return [p for p in _ADAM7 if p[0] < self.width and p[1] < self.height]

    def pass_size(self, spacing: tuple[int, int, int, int]) -> tuple[int, int]:
        """Rows and columns of one pass."""
        left, top, column_step, row_step = spacing
        return -(-(self.height - top) // row_step), -(-(self.width - left) // column_step)

    @property
    def num_filtered_bytes(self) -> int:
        """Size of the inflated image data: all rows of all passes, each behind its filter byte."""
        bits = self.bit_depth * self.num_bands
        sizes = [self.pass_size(spacing) for spacing in self.passes]
        return sum(rows * (1 + (columns * bits + 7) // 8) for rows, columns in sizes)


def read_header(stream: BufferedIOBase) -> PngHeader:
    """Read the IHDR chunk, which a PNG begins with.

    Raises:
        ValueError: the chunk is missing, damaged or breaks the standard.
    """
    kind, data = next(_chunks(stream), (b"", b""))
    if kind != b"IHDR" or len(data) != 13:
        raise ValueError("the PNG header is missing")
    bit_depth, colour_type, compression, filtering, interlace = data[8:]
    if bit_depth not in _DEPTHS.get(colour_type, ()) or compression or filtering or interlace > 1:
        raise ValueError("the PNG header breaks the standard")
    width, height = int.from_bytes(data[:4], "big"), int.from_bytes(data[4:8], "big")
    if width == 0 or height == 0:
        raise ValueError("the PNG header gives a size of zero")
    return PngHeader(width, height, bit_depth, colour_type, bool(interlace))


def exif_of(stream: BufferedIOBase) -> bytes:
    """The eXIf chunk, before or after the pixels; empty if there is none."""
    for kind, data in _chunks(stream, skip_pixels=True):
        if kind == b"eXIf":
            return data
    return b""


def scale_colour_key(image: Image.Image, bit_depth: int) -> None:
    """Pillow scales grey of 2 and 4 bits to 8, but not the grey that is declared transparent."""
    key = image.info.get("transparency")
    if isinstance(key, int):
        image.info["transparency"] = key * 255 // ((1 << bit_depth) - 1)


def check_complete(stream: BufferedIOBase, header: PngHeader) -> None:
    """Make sure that the file holds every row.

    Raises:
        ValueError: rows are missing or a checksum is wrong.
    """
    missing = header.num_filtered_bytes
    for piece in inflated(stream):
        missing -= len(piece)
        if missing <= 0:
            return
    raise ValueError("the PNG ends before its last row")


def decode_16_bit(stream: BufferedIOBase, header: PngHeader) -> npt.NDArray[np.uint16]:
    """Decode the pixels of a 16-bit PNG of any colour type, interlaced or not.

    Returns:
        Samples [height, width, bands] in 0..65535; a colour that the file declares transparent
        (tRNS) adds an alpha band.

    Raises:
        ValueError: rows are missing, a checksum or a filter is wrong.
    """
    filtered = bytearray()
    for piece in inflated(stream):
        filtered += piece
        if len(filtered) >= header.num_filtered_bytes:
            break
    if len(filtered) < header.num_filtered_bytes:
        raise ValueError("the PNG ends before its last row")

    num_bands = header.num_bands
    samples = np.empty((header.height, header.width, num_bands), np.uint16)
    start = 0
    for spacing in header.passes:
        rows, columns = header.pass_size(spacing)
        row_bytes = 1 + 2 * num_bands * columns
        stored = np.frombuffer(filtered, np.uint8, rows * row_bytes, start)
        start += rows * row_bytes
        stored = stored.reshape(rows, row_bytes)
        pixels = stored[:, 1:].reshape(rows, columns, 2 * num_bands)
        left, top, column_step, row_step = spacing
        samples[top::row_step, left::column_step] = unfiltered(stored[:, 0], pixels).view(">u2")

    transparent = next((data for kind, data in _chunks(stream) if kind == b"tRNS"), b"")
    return with_colour_key(samples, transparent)


def with_colour_key(samples: npt.NDArray[np.uint16], transparent: bytes) -> npt.NDArray[np.uint16]:
    """Add an alpha band to 16-bit samples of which a tRNS chunk declares one colour transparent."""
    num_bands = samples.shape[-1]
    if num_bands not in (1, 3) or len(transparent) != 2 * num_bands:
        return samples
    opaque = (samples != np.frombuffer(transparent, ">u2")).any(axis=-1, keepdims=True)
    return np.concatenate([samples, opaque.astype(np.uint16) * 65535], axis=-1)


def _chunks(stream: BufferedIOBase, skip_pixels: bool = False) -> Iterator[tuple[bytes, bytes]]:
    """Kind and data of each chunk from the first to IEND or to the end of the file.

    Image data come in pieces, so that a chunk of any length is never in memory as a whole; with
    ``skip_pixels`` they are left unread and come as empty.
    """
    stream.seek(_SIGNATURE_BYTES)
    while len(head := stream.read(8)) == 8:
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        if length >= 1 << 31:
            raise ValueError("a PNG chunk is longer than the standard allows")
        if skip_pixels and kind == b"IDAT":
            stream.seek(length + 4, 1)
            yield kind, b""
            continue
        found, at_once = zlib.crc32(kind), _PIECE_BYTES if kind == b"IDAT" else max(length, 1)
        for start in range(0, max(length, 1), at_once):
            data = stream.read(min(at_once, length - start))
            found = zlib.crc32(data, found)
            if kind == b"IDAT" and start + at_once < length:
                yield kind, data
        checksum = stream.read(4)
        if len(checksum) < 4:
            # The last chunk is cut short: its bytes count, the missing ones are missed elsewhere.
            yield kind, data
            return
        if kind in _CHECKED_CHUNKS and found != int.from_bytes(checksum, "big"):
            raise ValueError(f"the checksum of a PNG chunk ({kind.decode('latin-1')}) is wrong")
        yield kind, data
        if kind == b"IEND":
            return


def inflated(stream: BufferedIOBase) -> Iterator[bytes]:
    """The image data, decompressed piece by piece: a bomb never stands in memory.

    Raises:
        ValueError: they are damaged.
    """
    inflate = zlib.decompressobj()
    for kind, data in _chunks(stream):
        while kind == b"IDAT" and data and not inflate.eof:
            try:
                yield inflate.decompress(data, _INFLATE_BYTES)
            except zlib.error as error:
                raise ValueError(f"the PNG pixels are damaged ({error})") from error
            data = inflate.unconsumed_tail


def chunks_before_pixels(stream: BufferedIOBase) -> list[tuple[bytes, bytes]]:
    """Kind and data of what stands between the header and the pixels: palette, profile ...

    Raises:
        ValueError: a checksum is wrong.
    """
    found = []
    for kind, data in _chunks(stream, skip_pixels=True):
        if kind == b"IDAT":
            break
        if kind != b"IHDR":
            found.append((kind, data))
    return found


def chunk_of(kind: bytes, data: bytes) -> bytes:
    """A chunk as it stands in a file."""
    checksum = zlib.crc32(data, zlib.crc32(kind))
    return len(data).to_bytes(4, "big") + kind + data + checksum.to_bytes(4, "big")


def unfiltered(
    filters: npt.NDArray[np.uint8],
    filtered: npt.NDArray[np.uint8],
    row_above: npt.NDArray[np.uint8] | None = None,
) -> npt.NDArray[np.uint8]:
    """Undo the row filters (ISO/IEC 15948, 9.2), all rows at once along anti-diagonals.

    A pixel depends on its left, upper and upper left neighbours, which lie on the two
    anti-diagonals before its own: the pixels of one anti-diagonal do not need each other.

    Args:
        filters: filter type of each row [rows].
        filtered: bytes [rows, columns, bytes per pixel].
        row_above: that above the first one, [columns, bytes per pixel], if there is one.

    Returns:
        Bytes of the same shape.

    Raises:
        ValueError: a row has an unknown filter.
    """
    if filters.max() > 4:
        raise ValueError("a PNG row has an unknown filter")
    rows, columns, pixel_bytes = filtered.shape
    # A margin of zeros above and to the left stands for the neighbours outside the picture. Seen as
    # one line of pixels, those of an anti-diagonal are `columns` apart.
    canvas = np.zeros((rows + 1, columns + 1, pixel_bytes), np.int16)
    canvas[1:, 1:] = filtered
    if row_above is not None:
        canvas[0, 1:] = row_above
    line = canvas.reshape(-1, pixel_bytes)
    kinds = filters[:, None]
    for diagonal in range(rows + columns - 1):
        first, last = max(0, diagonal - columns + 1), min(rows - 1, diagonal)
        start = columns + 2 + diagonal + first * columns
        stop = columns + 2 + diagonal + last * columns + 1
        left = line[start - 1 : stop - 1 : columns]
        above = line[start - columns - 1 : stop - columns - 1 : columns]
        corner = line[start - columns - 2 : stop - columns - 2 : columns]
        kind = kinds[first : last + 1]
        predicted = np.where(kind == 1, left, 0)
        predicted = np.where(kind == 2, above, predicted)
        predicted = np.where(kind == 3, (left + above) >> 1, predicted)
        predicted = np.where(kind == 4, _paeth(left, above, corner), predicted)
        line[start:stop:columns] = (line[start:stop:columns] + predicted) & 255
    return canvas[1:, 1:].astype(np.uint8)


def _paeth(
    left: npt.NDArray[np.int16], above: npt.NDArray[np.int16], corner: npt.NDArray[np.int16]
) -> npt.NDArray[np.int16]:
    """Whichever neighbour lies nearest to ``left + above - corner``, in that order on a tie."""
    to_left = np.abs(above - corner)
    to_above = np.abs(left - corner)
    to_corner = np.abs(left + above - 2 * corner)
    nearest = np.where(to_above <= to_corner, above, corner)
    return np.where((to_left <= to_above) & (to_left <= to_corner), left, nearest)
