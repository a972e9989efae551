"""Token files: the ``.vqt`` format, described byte by byte in ``docs/format.md``."""

from vqkit.files.accounting import LevelRate, level_rates
from vqkit.files.codebooks import write_codebook, write_index_map
from vqkit.files.header import BYTE_AXIS, FileHeader, StreamHeader
from vqkit.files.info import StreamInfo, TokenFileInfo
from vqkit.files.limits import Limits
from vqkit.files.parts import read_part
from vqkit.files.recovery import LostRows, RecoveredTokens, recover_tokens
from vqkit.files.resources import ChunkPrior, CodingResources
from vqkit.files.streaming import TokenReader, TokenRows, TokenWriter
from vqkit.files.tables import CodeCounts, TableSet
from vqkit.files.token_file import (
    dumps,
    loads,
    read_info,
    read_tokens,
    verify,
    write_tokens,
)

__all__ = [
    "BYTE_AXIS",
    "ChunkPrior",
    "CodeCounts",
    "CodingResources",
    "FileHeader",
    "LevelRate",
    "Limits",
    "LostRows",
    "RecoveredTokens",
    "StreamHeader",
    "StreamInfo",
    "TableSet",
    "TokenFileInfo",
    "TokenReader",
    "TokenRows",
    "TokenWriter",
    "dumps",
    "level_rates",
    "loads",
    "read_info",
    "read_part",
    "read_tokens",
    "recover_tokens",
    "verify",
    "write_codebook",
    "write_index_map",
    "write_tokens",
]
