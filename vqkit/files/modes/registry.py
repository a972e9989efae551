"""All coding modes, and the choice among them."""

import numpy as np

from vqkit.errors import ConfigError
from vqkit.files.format_error import NEWER, FormatError
from vqkit.files.modes.archive import Archive
from vqkit.files.modes.base import ChunkLayout, CodingMode, Indices
from vqkit.files.modes.fixed_width import FixedWidth
from vqkit.files.modes.learned import Learned
from vqkit.files.modes.range_coded import Adaptive, Neighbours
from vqkit.files.modes.tabled import Tabled, TabledNeighbours
from vqkit.files.resources import CodingResources
from vqkit.quantizers import NO_TOKEN

__all__ = [
    "ADAPTIVE",
    "ARCHIVE",
    "CODERS",
    "FIXED_WIDTH",
    "LEARNED",
    "MODE_BYTES",
    "NEIGHBOURS",
    "TABLED",
    "TABLED_NEIGHBOURS",
    "TABLES",
    "check_coder",
    "coding_mode",
    "decode_chunk",
    "encode_chunk",
    "max_payload_bytes",
    "mode_name",
    "split_mode",
]

_UNKNOWN = 0x80
"""Bit of the mode's byte: every codebook has one more value, which stands for unknown."""

FIXED_WIDTH = FixedWidth()
ADAPTIVE = Adaptive()
NEIGHBOURS = Neighbours()
LEARNED = Learned()
ARCHIVE = Archive()
TABLED = Tabled()
TABLED_NEIGHBOURS = TabledNeighbours()

TABLES = 6
"""Mode of chunks that hold no tokens but tables, which later chunks name."""

CODERS: dict[str, tuple[CodingMode, ...]] = {
    "auto": (FIXED_WIDTH, TABLED, ADAPTIVE, NEIGHBOURS, ARCHIVE, LEARNED, TABLED_NEIGHBOURS),
    "archive": (FIXED_WIDTH, ADAPTIVE, ARCHIVE),
    "fixed": (FIXED_WIDTH,),
}
"""By name, the modes that a writer may choose from."""

_MODES: dict[int, CodingMode] = {mode.number: mode for modes in CODERS.values() for mode in modes}
# What these lend is made of known tokens.
_KNOWN_ONLY = (TABLED, LEARNED, TABLED_NEIGHBOURS)


MODE_BYTES = frozenset(
    {
        TABLES,
        *_MODES,
        *(number | _UNKNOWN for number in _MODES if _MODES[number] not in _KNOWN_ONLY),
    }
)
"""All bytes that may stand as the mode of a chunk."""


def coding_mode(byte: int) -> CodingMode:
    """The mode that a byte names, with unknown tokens marked or not.

    Raises:
        FormatError: if this version does not know it.
    """
    number, has_unknown = split_mode(byte)
    mode = _MODES.get(number)
    if mode is None or (has_unknown and mode in _KNOWN_ONLY):
        raise FormatError(f"expected a coding mode of {sorted(MODE_BYTES)}, got {byte}", fix=NEWER)
    return mode


def split_mode(byte: int) -> tuple[int, bool]:
    """Number of the mode, and whether tokens of the chunk may be unknown."""
    return byte & ~_UNKNOWN, bool(byte & _UNKNOWN)


def mode_name(number: int) -> str:
    """The mode's name; its number if this version does not know it."""
    return _MODES[number].name if number in _MODES else f"mode {number}"


def check_coder(coder: str) -> None:
    """Refuse a name that is none of `CODERS`.

    Raises:
        ConfigError: Names them all.
    """
    if coder not in CODERS:
        raise ConfigError(f"Wrong coder: expected one of {', '.join(CODERS)}, got {coder!r}.")


def max_payload_bytes(byte: int, layout: ChunkLayout) -> int:
    """The most bytes that a chunk's payload may have, whatever its mode: the size in mode 0."""
    return (layout.with_unknown() if split_mode(byte)[1] else layout).fixed_width_bytes


def encode_chunk(
    indices: Indices, layout: ChunkLayout, coder: str, resources: CodingResources
) -> tuple[int, bytes]:
    """Byte of the mode that makes the smallest payload, of those of the coder, and the payload.

    Of equal sizes the lowest mode is taken; fixed width is always one of them. Where tokens are
    unknown (-1) the byte says so.
    """
    modes, flag = CODERS[coder], 0
    if indices.size and indices.min() == NO_TOKEN:
        modes, flag = tuple(mode for mode in modes if mode not in _KNOWN_ONLY), _UNKNOWN
        indices = np.where(indices == NO_TOKEN, layout.codebook_sizes, indices)
        layout = layout.with_unknown()
    payloads = {
        mode.number: payload
        for mode in modes
        if (payload := mode.encode(indices, layout, resources)) is not None
    }
    if coder == "archive" and ARCHIVE.number in payloads:
        # What it is there for is speed, which a few bytes less do not buy.
        del payloads[ADAPTIVE.number]
    number, payload = min(payloads.items(), key=lambda item: (len(item[1]), item[0]))
    return number | flag, payload


def decode_chunk(
    byte: int,
    payload: bytes,
    layout: ChunkLayout,
    resources: CodingResources,
    num_codebooks: int | None = None,
) -> Indices:
    """The symbols of a chunk, ``[positions, codebooks]``, or of its first codebooks alone.

    Raises:
        FormatError: if no writer makes such a payload, or what it was coded with is missing.
    """
    mode = coding_mode(byte)
    if num_codebooks is None:
        num_codebooks = len(layout.codebook_sizes)
    if not split_mode(byte)[1]:
        return mode.decode(payload, layout, resources, num_codebooks)
    indices = mode.decode(payload, layout.with_unknown(), resources, num_codebooks)
    indices[indices == layout.codebook_sizes[:num_codebooks]] = NO_TOKEN
    return indices
