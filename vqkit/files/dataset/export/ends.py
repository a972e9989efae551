"""Files of the places where sequences end, 64 bits each."""

from collections.abc import Iterable, Iterator
from typing import BinaryIO

from vqkit.files.format_error import FormatError

__all__ = ["read_ends", "write_end"]


def write_end(file: BinaryIO, end: int) -> None:
    """Write how many ids there are up to here."""
    file.write(end.to_bytes(8, "little"))


def read_ends(file: BinaryIO, lengths: Iterable[int]) -> Iterator[int]:
    """The lengths, each once the file says that the sequence ends where that makes it end.

    Raises:
        FormatError: The file has other ends, or more or fewer of them.
    """
    end = 0
    for length in lengths:
        end += length
        found = file.read(8)
        if found != end.to_bytes(8, "little"):
            raise FormatError(
                f"expected a sequence that ends at id {end}, got {int.from_bytes(found, 'little')}"
            )
        yield length
    if file.read(1):
        raise FormatError("expected no more ends of sequences, got some")
