"""Tokens <-> token files (``.vqt``)."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from vqkit.errors import TokenFileError
from vqkit.files import container
from vqkit.files.atomic import write_atomically
from vqkit.files.format_error import FormatError
from vqkit.files.header import FileHeader, StreamHeader
from vqkit.files.info import TokenFileInfo
from vqkit.files.limits import Limits
from vqkit.files.reader import Readable
from vqkit.files.resources import CodingResources
from vqkit.files.sources import Source, Target, Writable, opened, stream_name, write_stream
from vqkit.tokenizers.tokens import Tokens, TokenStream

__all__ = [
    "as_tokens",
    "dumps",
    "loads",
    "read_info",
    "read_tokens",
    "verify",
    "write_tokens",
]


def write_tokens(
    tokens: Tokens,
    target: Target,
    *,
    overwrite: bool = False,
    chunk_rows: int | None = None,
    coder: str = "auto",
    resources: CodingResources | None = None,
    check: bool = True,
) -> TokenFileInfo:
    """Write the tokens of one item as a token file.

    A path gets its file whole or not at all; a stream is written straight.

    Args:
        tokens: one item; padding beyond its lengths is not written.
        target: path, or binary stream.
        overwrite: replace an existing file.
        chunk_rows: rows of the first axis (rows of an image, frames) that can be decoded on their
            own; None for chunks of a million tokens.
        coder: ``auto`` codes every chunk as what is smallest; ``archive`` as what is nearly as
            small and decodes ten times as fast, for chunks of 16,384 tokens on; ``fixed`` at fixed
            width: the size then depends on the shape alone.
        resources: what the model lends to coding; a reader needs the same.
        check: decode what was written and compare it before reporting success.

    Raises:
        ConfigError: if ``chunk_rows`` or ``coder`` make no sense.
        TokenFileError: if the file exists, cannot be written, or does not read back the same.
    """
    data = dumps(tokens, chunk_rows=chunk_rows, coder=coder, resources=resources)
    if isinstance(target, Writable):
        if check:
            _check_same(loads(data, resources=resources), tokens, stream_name(target))
        write_stream(target, data)
    else:
        path = Path(target)

        def check_written(written: Path) -> None:
            if check:
                _check_same(read_tokens(written, resources=resources), tokens, str(path))

        write_atomically(path, data, overwrite=overwrite, check=check_written)
    return read_info(data)


def read_tokens(
    source: Source, *, limits: Limits | None = None, resources: CodingResources | None = None
) -> Tokens:
    """Read the tokens of a file, checking every checksum on the way.

    Args:
        source: path, bytes, or binary stream, which may be a pipe and is read to its end.
        limits: what the file may ask for; None for the defaults of `Limits`.
        resources: what the model lends to coding, where the file was written with it.

    Raises:
        TokenFileError: on anything that is not a sound token file, naming what, where and the fix.
    """
    with opened(source) as reader:
        contents = container.read(reader, limits or Limits(), resources)
    return as_tokens(contents.header, contents.arrays)


def dumps(
    tokens: Tokens,
    *,
    chunk_rows: int | None = None,
    coder: str = "auto",
    resources: CodingResources | None = None,
) -> bytes:
    """The token file of one item as bytes; the same tokens give the same bytes everywhere.

    ``chunk_rows``, ``coder`` and ``resources`` are those of `write_tokens`.

    Raises:
        ConfigError: if they make no sense.
        TokenFileError: if there is more than one item, or more tokens than a file may hold.

    Example:
        >>> stream = TokenStream(torch.tensor([[[3], [0], [1]]]), (4,), ("time",))
        >>> tokens = Tokens({"tokens": stream}, ({"samples": 960},), "audio", "example", "0" * 32)
        >>> loads(dumps(tokens)).same_as(tokens)
        True
    """
    if len(tokens) != 1:
        raise TokenFileError(
            f"Cannot write tokens: expected one item for one file, got {len(tokens)}. "
            f"Write tokens.item(i) for each."
        )
    item = tokens.item(0)
    arrays = {
        name: np.ascontiguousarray(item.streams[name].indices[0].cpu().numpy())
        for name in sorted(item.streams)
    }
    header = FileHeader(
        modality=item.modality,
        media=item.media[0],
        tokenizer=item.tokenizer,
        fingerprint=item.fingerprint,
        streams=tuple(
            StreamHeader(
                name=name,
                axes=item.streams[name].axes,
                shape=array.shape[:-1],
                codebook_sizes=item.streams[name].codebook_sizes,
            )
            for name, array in arrays.items()
        ),
    )
    try:
        return container.encode(header, arrays, chunk_rows, coder, resources)
    except FormatError as error:
        raise TokenFileError(
            f"Cannot write tokens: {error.what}. "
            f"Choose other chunk_rows, or spread them over several files."
        ) from None


def loads(
    data: bytes | bytearray | memoryview,
    *,
    limits: Limits | None = None,
    resources: CodingResources | None = None,
) -> Tokens:
    """Read the tokens of a file given as bytes, as `read_tokens` does."""
    return read_tokens(data, limits=limits, resources=resources)


def read_info(source: Source, *, limits: Limits | None = None) -> TokenFileInfo:
    """Read what a file says of itself, without decoding its tokens.

    Of a file or bytes only header and footer are read, so damage in the tokens goes unseen
    (`verify` sees it); a stream is read to its end.

    Raises:
        TokenFileError: if header or footer are damaged, or this version cannot read the file.
    """
    with opened(source) as reader:
        if isinstance(source, Readable) or not reader.seekable():
            contents = container.read(reader, limits or Limits(), decode=False)
        else:
            contents = container.read_index(reader, limits or Limits())
    return TokenFileInfo.of(contents)


def verify(
    source: Source, *, limits: Limits | None = None, resources: CodingResources | None = None
) -> TokenFileInfo:
    """Decode a file, check every checksum and throw the tokens away.

    Raises:
        TokenFileError: if reading the file would raise it.
    """
    with opened(source) as reader:
        contents = container.read(reader, limits or Limits(), resources)
    return TokenFileInfo.of(contents)


def as_tokens(header: FileHeader, arrays: Mapping[str, npt.NDArray[np.int64]]) -> Tokens:
    """What a file holds, as tokens."""
    streams = {
        stream.name: TokenStream(
            indices=torch.from_numpy(arrays[stream.name])[None],
            codebook_sizes=stream.codebook_sizes,
            axes=stream.axes,
        )
        for stream in header.streams
    }
    media = (header.known_media,)
    return Tokens(streams, media, header.modality, header.tokenizer, header.fingerprint)


def _check_same(read: Tokens, written: Tokens, name: str) -> None:
    if not read.same_as(written):
        raise TokenFileError(
            f"Cannot write {name}: expected to read back the tokens written, got others. "
            f"Nothing was kept; check the disk and the memory of this machine."
        )
