"""The container of token files: bytes <-> a header and named arrays of integers.

The layout is written down byte by byte in ``docs/format.md``:
magic and header, chunks, a footer that repeats what every chunk says of itself.
"""

from vqkit.files.container.layout import FORMAT_VERSION, Chunk, Contents
from vqkit.files.container.reading import ContainerReader, read, read_index
from vqkit.files.container.writing import ContainerWriter, encode

__all__ = [
    "FORMAT_VERSION",
    "Chunk",
    "ContainerReader",
    "ContainerWriter",
    "Contents",
    "encode",
    "read",
    "read_index",
]
