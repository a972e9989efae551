"""All coding modes, and the choice among them."""

from vqkit.errors import ConfigError
from vqkit.files.format_error import NEWER, FormatError
from vqkit.files.modes.base import ChunkLayout, CodingMode, Indices
from vqkit.files.modes.fixed_width import FixedWidth
from vqkit.files.modes.learned import Learned
from vqkit.files.modes.range_coded import Adaptive, Neighbours
from vqkit.files.resources import CodingResources

__all__ = [
    "ADAPTIVE",
    "CODERS",
    "FIXED_WIDTH",
    "LEARNED",
    "NEIGHBOURS",
    "check_coder",
    "coding_mode",
    "decode_chunk",
    "encode_chunk",
    "mode_name",
]

FIXED_WIDTH = FixedWidth()
ADAPTIVE = Adaptive()
NEIGHBOURS = Neighbours()
LEARNED = Learned()

CODERS: dict[str, tuple[CodingMode, ...]] = {
    "auto": (FIXED_WIDTH, ADAPTIVE, NEIGHBOURS, LEARNED),
    "fixed": (FIXED_WIDTH,),
}
"""By name, the modes that a writer may choose from."""

_MODES: dict[int, CodingMode] = {mode.number: mode for mode in CODERS["auto"]}


def coding_mode(number: int) -> CodingMode:
    """The mode of that number.

    Raises:
        FormatError: if this version does not know it.
    """
    if number not in _MODES:
        raise FormatError(f"expected a coding mode of {sorted(_MODES)}, got {number}", fix=NEWER)
    return _MODES[number]


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


def encode_chunk(
    indices: Indices, layout: ChunkLayout, coder: str, resources: CodingResources
) -> tuple[int, bytes]:
    """Number of the mode that makes the smallest payload, of those of the coder, and the payload.

    Of equal sizes the lowest mode is taken; fixed width is always one of them.
    """
    payloads = {
        mode.number: payload
        for mode in CODERS[coder]
        if (payload := mode.encode(indices, layout, resources)) is not None
    }
    return min(payloads.items(), key=lambda item: (len(item[1]), item[0]))


def decode_chunk(
    mode: int,
    payload: bytes,
    layout: ChunkLayout,
    resources: CodingResources,
    num_codebooks: int | None = None,
) -> Indices:
    """The symbols of a chunk, ``[positions, codebooks]``, or of its first codebooks alone.

    Raises:
        FormatError: if no writer makes such a payload, or what it was coded with is missing.
    """
    if num_codebooks is None:
        num_codebooks = len(layout.codebook_sizes)
    return coding_mode(mode).decode(payload, layout, resources, num_codebooks)
