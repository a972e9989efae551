"""Token files as streams: rows are written and read as they come, in bounded memory."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import TracebackType

import numpy as np
import torch

from vqkit.errors import ConfigError, TokenFileError
from vqkit.files.container import ContainerReader, ContainerWriter
from vqkit.files.format_error import FormatError
from vqkit.files.header import FileHeader
from vqkit.files.info import TokenFileInfo
from vqkit.files.limits import Limits
from vqkit.files.resources import CodingResources
from vqkit.files.sources import Source, Writable, opened, write_stream
from vqkit.shapes import Int
from vqkit.tokenizers.tokens import TokenStream

__all__ = ["TokenReader", "TokenRows", "TokenWriter"]


class TokenWriter:
    """Writes a token file to a pipe, a socket or a file while its tokens are being made.

    A chunk is written as soon as its rows are there, and never touched again. What comes out is a
    token file like any other.

    Args:
        target: Binary stream; it stays open.
        header: What the file holds. A stream with ``is_open`` may grow along its first axis, and
            sizes of the media that are None are told at the end.
        chunk_rows: Rows of the first axis in a chunk: what is kept in memory, and what can be read
            on its own.
        coder: As for `write_tokens`.
        resources: As for `write_tokens`.

    Raises:
        ConfigError: ``chunk_rows`` or ``coder`` make no sense.
        TokenFileError: Such a file cannot be written.

    Example:
        >>> import io
        >>> from vqkit.files import StreamHeader, loads
        >>> stream = StreamHeader("tokens", ("time",), (0,), (1024,), is_open=True)
        >>> header = FileHeader("audio", {"samples": None}, "example", "0" * 32, (stream,))
        >>> target = io.BytesIO()
        >>> with TokenWriter(target, header, chunk_rows=50) as writer:
        ...     for second in range(3):
        ...         writer.append(torch.full((75, 1), second))
        ...     writer.close({"samples": 72_000})
        >>> tokens = loads(target.getvalue())
        >>> tokens.indices.shape, tokens.media[0]
        (torch.Size([1, 225, 1]), {'samples': 72000})
    """

    def __init__(
        self,
        target: Writable,
        header: FileHeader,
        *,
        chunk_rows: int,
        coder: str = "auto",
        resources: CodingResources | None = None,
    ) -> None:
        if chunk_rows < 1:
            raise ConfigError(f"Wrong chunk_rows: expected at least 1, got {chunk_rows}.")
        self.header = header
        self.chunk_rows = chunk_rows
        self._numbers = {stream.name: i for i, stream in enumerate(header.streams)}
        self._waiting: list[list[np.ndarray[tuple[int, ...], np.dtype[np.int64]]]]
        self._waiting = [[] for _ in header.streams]
        self._is_closed = False
        with _explained():
            self._writer = ContainerWriter(
                lambda data: write_stream(target, data),
                header,
                coder,
                resources or CodingResources(),
            )

    def append(
        self, rows: Int[torch.Tensor, "rows *grid codebooks"], stream: str = "tokens"
    ) -> None:
        """Take the next rows of a stream.

        Args:
            rows: int64, one step along the first axis each; one row for a stream without axes.
            stream: Its name.

        Raises:
            ShapeError: Rows that do not fit the stream, or indices out of range.
            TokenFileError: There is no such stream, it is full, or the target refuses.
        """
        if stream not in self._numbers or self._is_closed:
            raise TokenFileError(
                f"Cannot append to stream {stream!r}: expected one of {sorted(self._numbers)} of "
                f"an open writer. Name it in the header."
            )
        number = self._numbers[stream]
        header = self.header.streams[number]
        # Checks shape and range; a stream without axes is a single row.
        TokenStream(rows[None] if header.axes else rows, header.codebook_sizes, header.axes)
        if tuple(rows.shape[1:-1]) != header.shape[1:]:
            raise TokenFileError(
                f"Cannot append to stream {stream!r}: expected rows of {list(header.shape[1:])} "
                f"positions, got {list(rows.shape[1:-1])}. Cut or pad them to one size."
            )
        self._waiting[number].append(rows.cpu().numpy())
        while sum(map(len, self._waiting[number])) >= self.chunk_rows:
            self._write(number, self.chunk_rows)

    def close(self, media: Mapping[str, int] | None = None) -> None:
        """Write what is left, and the footer.

        Args:
            media: The sizes that the header left open.

        Raises:
            TokenFileError: Rows or sizes are missing, or the target refuses.
        """
        if self._is_closed:
            return
        media = media or {}
        if sorted(media) != self.header.open_media:
            raise TokenFileError(
                f"Cannot close the token file: expected the media sizes {self.header.open_media}, "
                f"got {sorted(media)}. Give those that the header left open."
            )
        for number, waiting in enumerate(self._waiting):
            if any(map(len, waiting)):
                self._write(number, sum(map(len, waiting)))
        with _explained():
            self.header.with_media(media)
            self._writer.finish(media)
        self._is_closed = True

    def __enter__(self) -> "TokenWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Of a writer that failed the file stays without a footer, as what it is: incomplete.
        if kind is None:
            self.close()

    def _write(self, number: int, count: int) -> None:
        rows = np.concatenate(self._waiting[number])
        self._waiting[number] = [rows[count:]]
        with _explained():
            self._writer.add(number, rows[:count].reshape(-1, rows.shape[-1]))


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except FormatError as error:
        raise TokenFileError(f"Cannot write tokens: {error.what}. {error.fix}") from None


@dataclass(frozen=True)
class TokenRows:
    """Rows of a stream that follow one another: ``indices [rows, *grid, codebooks]``."""

    stream: str
    start_row: int
    indices: Int[torch.Tensor, "rows *grid codebooks"]


class TokenReader:
    """Reads a token file chunk by chunk, as it comes out of a pipe.

    Every chunk is checked by its CRC-32 before it is given; the token hash is at the end of the
    file. Memory is that of a chunk; streams that are mixed with earlier ones wait in memory for
    their part of the hash.

    Args:
        source: Path, bytes, or binary stream.
        limits: What the file may ask for; None for the defaults of `Limits`.
        resources: As for `read_tokens`.

    Attributes:
        header: What the file holds, after entering; complete after the last chunk.

    Raises:
        TokenFileError: On entering or in between, on anything that is not sound.

    Example:
        >>> from vqkit.files import dumps
        >>> from vqkit.tokenizers import Tokens, TokenStream
        >>> data = dumps(Tokens({"tokens": TokenStream(torch.zeros(1, 5, 1, dtype=torch.int64),
        ...     (2,), ("time",))}, ({},), "audio", "example", "0" * 32), chunk_rows=2)
        >>> with TokenReader(data) as reader:
        ...     [(rows.start_row, len(rows.indices)) for rows in reader]
        [(0, 2), (2, 2), (4, 1)]
    """

    def __init__(
        self,
        source: Source,
        *,
        limits: Limits | None = None,
        resources: CodingResources | None = None,
    ) -> None:
        self.source = source
        self.limits = limits or Limits()
        self.resources = resources or CodingResources()
        self._open = ExitStack()

    @property
    def header(self) -> FileHeader:
        """What the file says it holds."""
        return self._container.header

    @property
    def info(self) -> TokenFileInfo:
        """Sizes, after the last chunk."""
        return TokenFileInfo.of(self._container.contents)

    def __enter__(self) -> "TokenReader":
        self._reader = self._open.enter_context(opened(self.source))
        try:
            with self._reader.explained():
                self._container = ContainerReader(self._reader, self.limits, self.resources)
        except TokenFileError:
            self._open.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def __iter__(self) -> Iterator[TokenRows]:
        next_row = [0] * len(self.header.streams)
        with self._reader.explained():
            for number, symbols in self._container.rows():
                stream = self.header.streams[number]
                grid = stream.layout_of(symbols.size).grid or (1,)
                shape = (*grid, symbols.shape[-1]) if stream.shape else (1, symbols.shape[-1])
                indices = torch.from_numpy(symbols).reshape(shape)
                yield TokenRows(stream.name, next_row[number], indices)
                next_row[number] += len(indices)
