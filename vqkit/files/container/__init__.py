"""The container of token files: bytes <-> a header and named arrays of integers.

The layout is written down byte by byte in ``docs/format.md``:
magic and header, chunks, a footer that repeats what every chunk says of itself.
"""

from vqkit.files.container.layout import FORMAT_VERSION, Chunk, Contents
from vqkit.files.container.part import read_rows
from vqkit.files.container.reading import ContainerReader, read, read_index
from vqkit.files.container.recovery import LostRows, recover
from vqkit.files.container.writing import ContainerWriter, encode

__all__ = [
    "FORMAT_VERSION",
    "Chunk",
    "ContainerReader",
    "ContainerWriter",
    "Contents",
    "LostRows",
    "encode",
    "read",
    "read_index",
    "read_rows",
    "recover",
]
