"""How the symbols of a chunk become bytes: coding modes, by the number in the file.

A mode never expands: a chunk for which it needs more bytes than fixed-width packing is written in
mode 0. So the size of any payload is bounded before it is read.
"""

from vqkit.files.modes.base import ChunkLayout, CodingMode
from vqkit.files.modes.registry import (
    ADAPTIVE,
    ARCHIVE,
    CODERS,
    FIXED_WIDTH,
    LEARNED,
    MODE_BYTES,
    NEIGHBOURS,
    TABLED,
    TABLED_NEIGHBOURS,
    TABLES,
    check_coder,
    coding_mode,
    decode_chunk,
    encode_chunk,
    max_payload_bytes,
    mode_name,
    split_mode,
)

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
    "ChunkLayout",
    "CodingMode",
    "check_coder",
    "coding_mode",
    "decode_chunk",
    "encode_chunk",
    "max_payload_bytes",
    "mode_name",
    "split_mode",
]
