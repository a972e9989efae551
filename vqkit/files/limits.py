"""How much a token file may ask of the machine that reads it."""

from dataclasses import dataclass, fields

from vqkit.errors import ConfigError
from vqkit.files.format_error import FormatError

__all__ = ["Limits"]


@dataclass(frozen=True)
class Limits:
    """Bounds on what a file declares, checked before anything of that size is allocated.

    A file is small where its tokens need not be: a codebook of one code takes no bits at all, and
    a token that is always the same hardly any where it is range-coded, but every token takes 8
    bytes in memory. So it is ``num_tokens`` that bounds the memory, not the size of the file. Raise
    a bound for a file that you trust, lower it for a service that reads files of strangers.

    Args:
        header_bytes: length of the JSON header; the format itself has no room for more.
        grid_rank: axes of a stream's grid.
        num_tokens: integers in all streams together, and size of each axis; 8 bytes each.
        codebook_size: codes of a codebook.
        chunk_symbols: integers in one chunk.
        num_chunks: chunks of the file.
        num_free_tokens: integers that take no bits, because their codebook has one code.

    Example:
        >>> Limits(num_tokens=1 << 20).num_tokens
        1048576
    """

    header_bytes: int = (1 << 16) - 1
    grid_rank: int = 4
    num_tokens: int = 1 << 28
    codebook_size: int = 1 << 62
    chunk_symbols: int = 1 << 24
    num_chunks: int = 1 << 16
    num_free_tokens: int = 1 << 20

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if type(value) is not int or value < 0:
                raise ConfigError(
                    f"Wrong limit {field.name}: expected a whole number >= 0, got {value!r}."
                )

    def check(self, name: str, value: int, what: str) -> None:
        """Refuse a ``value`` above the limit ``name``; ``what`` says what has that value."""
        limit = getattr(self, name)
        if value > limit:
            raise FormatError(
                f"expected at most {limit} {what}, got {value}",
                fix=f"If you trust the file, read it with a larger Limits({name}=...).",
            )
