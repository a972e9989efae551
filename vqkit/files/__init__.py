"""Token files: the ``.vqt`` format, described byte by byte in ``docs/format.md``."""

from vqkit.files.codebooks import write_codebook, write_index_map
from vqkit.files.info import StreamInfo, TokenFileInfo
from vqkit.files.limits import Limits
from vqkit.files.resources import ChunkPrior, CodingResources
from vqkit.files.tables import Histogram, TableSet
from vqkit.files.token_file import (
    dumps,
    loads,
    read_info,
    read_tokens,
    verify,
    write_tokens,
)

__all__ = [
    "ChunkPrior",
    "CodingResources",
    "Histogram",
    "Limits",
    "StreamInfo",
    "TableSet",
    "TokenFileInfo",
    "dumps",
    "loads",
    "read_info",
    "read_tokens",
    "verify",
    "write_codebook",
    "write_index_map",
    "write_tokens",
]
