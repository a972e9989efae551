"""A part of a token file: some rows, a tile, the first codebooks."""

from collections.abc import Mapping

import torch

from vqkit.errors import ShapeError, TokenFileError
from vqkit.files import container
from vqkit.files.limits import Limits
from vqkit.files.resources import CodingResources
from vqkit.files.sources import Source, opened
from vqkit.tokenizers.tokens import TokenStream

__all__ = ["read_part"]


def read_part(
    source: Source,
    ranges: Mapping[str, tuple[int, int]] | None = None,
    *,
    codebooks: int | None = None,
    stream: str = "tokens",
    limits: Limits | None = None,
    resources: CodingResources | None = None,
) -> TokenStream:
    """Read a part of a stream: header, footer and the chunks that the part lies in.

    What is read is checked by its CRC-32, and nothing else is read. So damage elsewhere does not
    matter, and the token hash, which is over all tokens, cannot be checked (`verify` does).

    Args:
        source: Path, bytes, or a stream that can seek.
        ranges: By axis, the first position and the one after the last; other axes are whole. The
            first axis decides which chunks are read: write them small (``chunk_rows``) to read
            little.
        codebooks: The first so many alone; of chunks in modes 0 to 4 and 7 the others are not
            decoded.
        stream: Its name.
        limits: As for `read_tokens`.
        resources: As for `read_tokens`.

    Raises:
        ShapeError: There are no such axes or positions.
        TokenFileError: As for `read_tokens`, of what is read; or the source cannot seek.

    Example:
        >>> from vqkit.files import dumps
        >>> from vqkit.tokenizers import Tokens, TokenStream
        >>> grid = TokenStream(torch.arange(12).reshape(1, 3, 4, 1), (12,), ("height", "width"))
        >>> data = dumps(Tokens({"tokens": grid}, ({},), "image", "example", "0" * 32))
        >>> read_part(data, {"height": (1, 3), "width": (0, 2)}).indices[0, :, :, 0]
        tensor([[4, 5],
                [8, 9]])
    """
    ranges = dict(ranges or {})
    with opened(source) as reader:
        if not reader.seekable():
            raise TokenFileError(
                f"Cannot read a part of {reader.name}: expected a file, got a pipe. Read all of it "
                f"with read_tokens, or rows as they come with TokenReader."
            )
        header = container.read_index(reader, limits or Limits()).header
        found = next((s for s in header.streams if s.name == stream), None)
        if found is None:
            raise ShapeError(
                f"No stream {stream!r} in {reader.name}: expected one of "
                f"{[s.name for s in header.streams]}."
            )
        _check(ranges, found.axes, found.shape, reader.name)
        rows = range(*ranges[found.axes[0]]) if found.axes and found.axes[0] in ranges else None
        reader.seek("start", 0)
        _, symbols = container.read_rows(
            reader, limits or Limits(), resources or CodingResources(), stream, rows, codebooks
        )
    symbols = symbols if found.shape else symbols[0]
    tile = tuple(slice(*ranges.get(axis, (None, None))) for axis in found.axes[1:])
    indices = torch.from_numpy(symbols[(slice(None), *tile)] if found.axes else symbols)
    return TokenStream(
        indices[None].contiguous(), found.codebook_sizes[: symbols.shape[-1]], found.axes
    )


def _check(
    ranges: Mapping[str, tuple[int, int]],
    axes: tuple[str, ...],
    shape: tuple[int, ...],
    name: str,
) -> None:
    for axis, (start, stop) in ranges.items():
        if axis not in axes:
            raise ShapeError(f"No axis {axis!r} in {name}: expected one of {list(axes)}.")
        size = shape[axes.index(axis)]
        if not 0 <= start < stop <= size:
            raise ShapeError(
                f"Wrong range along {axis!r} of {name}: expected positions within 0 to {size}, "
                f"got {start} to {stop}."
            )
