"""The chunks of a file so far, each checked against the header before its payload is touched."""

from vqkit.coding import MAX_TABLE_ENTRIES, max_tables_bytes, num_entries
from vqkit.files.container.layout import Chunk
from vqkit.files.format_error import FormatError
from vqkit.files.header import FileHeader, StreamHeader
from vqkit.files.limits import Limits
from vqkit.files.modes import TABLES, max_payload_bytes

__all__ = ["Tally"]


class Tally:
    """Counts the symbols of every stream.

    Args:
        header: Of the file.
        limits: What the file may ask for.
    """

    def __init__(self, header: FileHeader, limits: Limits) -> None:
        self.header = header
        self.limits = limits
        self.chunks: list[Chunk] = []
        self.num_symbols = [0] * len(header.streams)
        self._has_tables = [False] * len(header.streams)
        self._num_table_entries = 0
        self._index: list[bytes] = []

    @property
    def index(self) -> bytes:
        """The chunks' fields as the footer repeats them."""
        return b"".join(self._index)

    def add(self, chunk: Chunk) -> None:
        """Count a chunk.

        Raises:
            FormatError: It does not fit the header or those before it.
        """
        if not 0 <= chunk.stream < len(self.header.streams):
            raise FormatError(
                f"expected a stream of {len(self.header.streams)}, got number {chunk.stream}"
            )
        stream = self.header.streams[chunk.stream]
        if chunk.mode == TABLES:
            self._check_tables(chunk, stream)
            self._has_tables[chunk.stream] = True
            self._num_table_entries += sum(map(num_entries, stream.codebook_sizes))
            most = max_tables_bytes(stream.codebook_sizes)
        else:
            self._check_symbols(chunk, stream)
            most = max_payload_bytes(chunk.mode, stream.layout_of(chunk.num_symbols))
        if chunk.payload_bytes > most:
            raise FormatError(
                f"expected at most {most} bytes of payload, got {chunk.payload_bytes}"
            )
        self.limits.check("num_chunks", len(self.chunks) + 1, "chunks")
        self.num_symbols[chunk.stream] += chunk.num_symbols
        self.chunks.append(chunk)
        self._index.append(chunk.to_bytes())

    def can_hold_tables(self, stream: int) -> bool:
        """Whether a chunk of tables of a stream may come, which holds the first ones of it."""
        sizes = self.header.streams[stream].codebook_sizes
        num_entries_after = self._num_table_entries + sum(map(num_entries, sizes))
        return not self._has_tables[stream] and num_entries_after <= MAX_TABLE_ENTRIES

    def is_complete(self, stream: int) -> bool:
        """Whether all symbols are there that the header says of a stream."""
        header = self.header.streams[stream]
        return not header.is_open and self.num_symbols[stream] == header.num_symbols

    def finish(self) -> None:
        """Refuse a file in which symbols are missing.

        Raises:
            FormatError: Names the stream.
        """
        for stream, count in zip(self.header.streams, self.num_symbols, strict=True):
            if not stream.is_open and count != stream.num_symbols:
                raise FormatError(
                    f"expected {stream.num_symbols} symbols in stream {stream.name!r}, got {count}"
                )

    def _check_symbols(self, chunk: Chunk, stream: StreamHeader) -> None:
        missing = self._missing(chunk.stream, stream)
        if not 0 < chunk.num_symbols <= missing or chunk.num_symbols % stream.symbols_per_row:
            raise FormatError(
                f"expected whole rows of {stream.symbols_per_row} of the {missing} symbols that "
                f"stream {stream.name!r} has left, got {chunk.num_symbols}"
            )
        self.limits.check("chunk_symbols", chunk.num_symbols, "symbols in a chunk")
        if stream.is_open:
            self._check_growth(chunk, stream)

    def _missing(self, number: int, stream: StreamHeader) -> int:
        if stream.is_open:
            return self.limits.num_tokens if stream.symbols_per_row else 0
        return stream.num_symbols - self.num_symbols[number]

    def _check_growth(self, chunk: Chunk, stream: StreamHeader) -> None:
        """The header could not say how many there would be."""
        total = chunk.num_symbols + sum(
            count if s.is_open else s.num_symbols
            for s, count in zip(self.header.streams, self.num_symbols, strict=True)
        )
        self.limits.check("num_tokens", total, "tokens")
        num_free = stream.codebook_sizes.count(1)
        count = self.num_symbols[chunk.stream] + chunk.num_symbols
        num_free_tokens = count // len(stream.codebook_sizes) * num_free
        self.limits.check("num_free_tokens", num_free_tokens, "tokens of codebooks with one code")

    def _check_tables(self, chunk: Chunk, stream: StreamHeader) -> None:
        if chunk.num_symbols:
            raise FormatError(f"expected tables without symbols, got {chunk.num_symbols}")
        if not self.can_hold_tables(chunk.stream):
            raise FormatError(
                f"expected tables of stream {stream.name!r} at most once, and up to "
                f"{MAX_TABLE_ENTRIES} counts in all"
            )
