"""What is left of a damaged file: chunks whose checksum fits, and where their rows belong.

The footer tells where every chunk lies and what rows it holds, so with it only damaged chunks are
lost. Without, chunks are followed from the first on; where one is damaged in a way that hides its
length, the next whose checksum fits is searched for. What then lies between is not known, so rows
after such a gap are placed from the end backwards, and rows between two gaps cannot be placed.
"""

import io
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from vqkit.files.container.layout import (
    CRC_BYTES,
    END_OF_CHUNKS,
    Chunk,
    Contents,
    Indices,
    TokenHash,
)
from vqkit.files.container.placing import FoundChunk, Gap, Placed, Placement, place
from vqkit.files.container.reading import decode_tables, read_footer, read_header
from vqkit.files.container.tally import Tally
from vqkit.files.format_error import FormatError
from vqkit.files.header import FileHeader, StreamHeader
from vqkit.files.limits import Limits
from vqkit.files.modes import MODE_BYTES, TABLES, decode_chunk
from vqkit.files.reader import Reader
from vqkit.files.resources import CodingResources
from vqkit.quantizers import NO_TOKEN

__all__ = ["LostRows", "Remains", "recover"]

_MAX_SCAN_FACTOR = 8  # times the file's length: what checksums of a search may read

# The length of a chunk's fields: three varints of up to nine bytes, and the mode.
_MAX_FIELDS_BYTES = 28
# So many tokens for each one found are filled in as lost, and so many in any case.
_WORTH, _ALWAYS_WORTH = 64, 1 << 20
_Decoded = tuple[StreamHeader, int, list[tuple[Placed, Indices]]]  # stream, rows in all, chunks
_MAX_ONE_BYTE_VARINT = 127


@dataclass(frozen=True)
class LostRows:
    """Rows of a stream that are lost, and why; ``stop_row`` None where nobody knows how many."""

    stream: str
    start_row: int
    stop_row: int | None
    num_tokens: int
    reason: str


@dataclass(frozen=True)
class Remains:
    """What was found; lost symbols are -1 in ``arrays``."""

    header: FileHeader
    arrays: dict[str, Indices]
    losses: tuple[LostRows, ...]
    notes: tuple[str, ...]


@dataclass
class _Walk:
    """Chunks and gaps in the order of the file."""

    pieces: list[FoundChunk | Gap] = field(default_factory=list)
    reached_end: bool = False


def recover(reader: Reader, limits: Limits, resources: CodingResources) -> Remains:
    """Read what can be read of a file whose header is sound.

    Raises:
        FormatError: The header is damaged, or no chunk is left.
    """
    header = read_header(reader, limits)
    reader.begin("chunks")
    return _Recovery(reader.rest(), header, limits, resources).run()


class _Recovery:
    """Of ``data``, the bytes after the header."""

    def __init__(
        self, data: bytes, header: FileHeader, limits: Limits, resources: CodingResources
    ) -> None:
        self.data = data
        self.header = header
        self.limits = limits
        self.resources = resources
        self.notes: list[str] = []
        self._tables = Tally(header, limits)
        self._num_scanned = 0

    def run(self) -> Remains:
        footer = self._last_footer()
        walk = self._walk() if footer is None else self._follow(footer)
        return self._read(walk, footer)

    # Where the chunks are.

    def _last_footer(self) -> Contents | None:
        """The footer at the end of the file, if it is intact."""
        size = int.from_bytes(self.data[-4:], "little")
        return self._footer(len(self.data) - 4 - size)

    def _footer(self, start: int) -> Contents | None:
        if not 0 <= start < len(self.data) or self.data[start] != END_OF_CHUNKS:
            return None
        reader = Reader(io.BytesIO(self.data), "")
        reader.seek("footer", start)
        tally = Tally(self.header, self.limits)
        try:
            header, token_hash = read_footer(reader, tally)
            tally.finish()
        except FormatError:
            return None
        size = reader.offset - start
        return Contents(header, 0, tuple(tally.chunks), size, token_hash, start)

    def _follow(self, footer: Contents) -> _Walk:
        """The chunks of an index, each found from the front or from the back of the file."""
        walk, position = _Walk(reached_end=True), 0
        footer_start = footer.size_bytes
        from_back = footer_start - sum(chunk.size_bytes for chunk in footer.chunks)
        if from_back != 0:
            self.notes.append("bytes are missing or too many before the footer")
        for chunk in footer.chunks:
            fields = chunk.to_bytes()
            problem = "its checksum does not fit"
            for start in (position, from_back):
                if start >= 0 and self._fits(start, fields, chunk):
                    position, problem = start, ""
                    break
            walk.pieces.append(FoundChunk(chunk, position + len(fields), problem))
            position += chunk.size_bytes
            from_back += chunk.size_bytes
        return walk

    def _walk(self) -> _Walk:
        """The chunks one after the other, without any index."""
        walk, position = _Walk(), 0
        self.notes.append("the footer is damaged or missing")
        while position < len(self.data) and len(walk.pieces) < self.limits.num_chunks:
            found = self._chunk_at(position)
            if found is None:
                following = self._next_chunk(position)
                # A zero is the end of the chunks, or what became of a chunk's first byte.
                if self.data[position] == END_OF_CHUNKS and following == len(self.data):
                    walk.reached_end = True
                    return walk
                walk.pieces.append(Gap(position, following))
                position = following
                continue
            walk.pieces.append(found)
            position += found.chunk.size_bytes
        return walk

    def _chunk_at(self, start: int) -> FoundChunk | None:
        """A chunk whose checksum fits, or one of known length whose payload alone is damaged."""
        chunk = self._fields_at(start)
        if chunk is None:
            return None
        fields = chunk.to_bytes()
        if self._fits(start, fields, chunk):
            return FoundChunk(chunk, start + len(fields))
        after = start + chunk.size_bytes
        following = self._fields_at(after)
        if following is not None and self._fits(after, following.to_bytes(), following):
            return FoundChunk(chunk, start + len(fields), "its checksum does not fit")
        return None

    def _fields_at(self, start: int) -> Chunk | None:
        """What a chunk there would say, if a file of this header could hold it."""
        piece = self.data[start : start + _MAX_FIELDS_BYTES]
        reader = Reader(io.BytesIO(piece), "")
        try:
            chunk = Chunk(reader.varint() - 1, reader.integer(1), reader.varint(), reader.varint())
            Tally(self.header, self.limits).add(chunk)
        except FormatError:
            return None
        is_known = chunk.mode in MODE_BYTES
        return chunk if is_known and start + chunk.size_bytes <= len(self.data) else None

    def _next_chunk(self, start: int) -> int:
        """Where the next chunk begins whose checksum fits; the end of the data if there is none."""
        for position in self._candidates(start + 1):
            chunk = self._fields_at(position)
            if chunk is None:
                continue
            self._num_scanned += chunk.size_bytes
            if self._num_scanned > _MAX_SCAN_FACTOR * len(self.data):
                self.notes.append("the search for more chunks was given up")
                break
            if self._fits(position, chunk.to_bytes(), chunk):
                return position
        return len(self.data)

    def _candidates(self, start: int) -> Iterator[int]:
        """Places where a stream and a mode of this file stand beside each other."""
        data = np.frombuffer(self.data, np.uint8)[start:]
        num_streams = min(len(self.header.streams), _MAX_ONE_BYTE_VARINT)
        is_stream = (data[:-1] >= 1) & (data[:-1] <= num_streams)
        places = np.flatnonzero(is_stream)
        is_mode = np.zeros(256, bool)
        is_mode[list(MODE_BYTES)] = True
        yield from (start + places[is_mode[data[places + 1]]]).tolist()

    def _fits(self, start: int, fields: bytes, chunk: Chunk) -> bool:
        stop = start + chunk.size_bytes - CRC_BYTES
        if not self.data.startswith(fields, start) or stop + CRC_BYTES > len(self.data):
            return False
        stored = int.from_bytes(self.data[stop : stop + CRC_BYTES], "little")
        return zlib.crc32(memoryview(self.data)[start:stop]) == stored

    # What they hold.

    def _read(self, walk: _Walk, footer: Contents | None) -> Remains:
        header = self.header if footer is None else footer.header
        losses, decoded = [], []
        for number, stream in enumerate(header.streams):
            pieces = [
                piece
                for piece in walk.pieces
                if isinstance(piece, Gap) or piece.chunk.stream == number
            ]
            tables = [p for p in pieces if isinstance(p, FoundChunk) and p.chunk.mode == TABLES]
            resources = self._with_tables(stream, tables)
            placement = place(
                [piece for piece in pieces if not _is_tables(piece)],
                stream,
                reached_end=walk.reached_end,
            )
            parts, lost = self._decode(stream, placement, resources)
            decoded.append((stream, placement.num_rows, parts))
            losses += lost
        if losses:
            self._check_worth(decoded, losses[0].reason)
        arrays = {stream.name: _filled(stream, rows, parts) for stream, rows, parts in decoded}
        if footer is not None and not losses:
            self._check_hash(arrays, footer)
        if footer is None:
            header = header.with_symbols([array.size for array in arrays.values()])
        return Remains(header, arrays, tuple(losses), tuple(self.notes))

    def _check_worth(self, decoded: Sequence[_Decoded], reason: str) -> None:
        """Refuse to allocate what a damaged or hostile header declares and hardly a chunk fills."""
        num_found = sum(
            part.found.chunk.num_symbols for _, _, parts in decoded for part, _ in parts
        )
        if not num_found:
            raise FormatError(f"expected at least one intact chunk, got none ({reason})")
        num_declared = sum(rows * stream.symbols_per_row for stream, rows, _ in decoded)
        if num_declared > max(_ALWAYS_WORTH, _WORTH * num_found):
            raise FormatError(
                f"expected intact chunks of a {_WORTH}th of {num_declared} tokens or more, got "
                f"{num_found} tokens"
            )

    def _with_tables(self, stream: StreamHeader, found: Sequence[FoundChunk]) -> CodingResources:
        resources = self.resources
        for piece in found:
            try:
                if piece.problem:
                    raise FormatError(piece.problem)
                self._tables.add(piece.chunk)  # no more of them than a file may hold
                tables = decode_tables(self._payload(piece), stream)
            except FormatError as error:
                self.notes.append(f"the tables of stream {stream.name!r} are lost: {error.what}")
            else:
                resources = resources.with_embedded(stream.name, tables)
        return resources

    def _decode(
        self, stream: StreamHeader, placement: Placement, resources: CodingResources
    ) -> tuple[list[tuple[Placed, Indices]], list[LostRows]]:
        """The symbols of a stream's chunks, and which of its rows are lost."""
        decoded: list[tuple[Placed, Indices]] = []
        losses, next_row = _Losses(stream), 0
        for part in placement.placed:
            losses.add(next_row, part.start_row, "no chunk was found that holds them")
            next_row = part.start_row + part.num_rows
            problem = part.found.problem
            if not problem:
                layout = stream.layout_of(part.found.chunk.num_symbols)
                mode, payload = part.found.chunk.mode, self._payload(part.found)
                try:
                    decoded.append((part, decode_chunk(mode, payload, layout, resources)))
                except FormatError as error:
                    problem = error.what
            if problem:
                losses.add(part.start_row, next_row, problem)
        losses.add(next_row, placement.num_rows, "no chunk was found that holds them")
        if not placement.is_whole:
            losses.add_end(placement)
        if placement.unplaced:
            self.notes.append(
                f"{len(placement.unplaced)} chunks of stream {stream.name!r} lie between damaged "
                f"ones, and which rows they are is not known"
            )
        return decoded, losses.found

    def _check_hash(self, arrays: dict[str, Indices], footer: Contents) -> None:
        token_hash = TokenHash(len(arrays))
        for number, array in enumerate(arrays.values()):
            token_hash.add(number, array)
        if token_hash.digest() != footer.token_hash:
            self.notes.append("the tokens are not those that the token hash is of")

    def _payload(self, found: FoundChunk) -> bytes:
        return self.data[found.payload_start : found.payload_start + found.chunk.payload_bytes]


def _filled(
    stream: StreamHeader, num_rows: int, decoded: Sequence[tuple[Placed, Indices]]
) -> Indices:
    """All rows of a stream, lost ones -1."""
    grid = (num_rows, *stream.shape[1:]) if stream.shape else ()
    array = np.full((*grid, len(stream.codebook_sizes)), NO_TOKEN, np.int64)
    by_row = array if stream.shape else array[None]
    for part, symbols in decoded:
        rows = by_row[part.start_row : part.start_row + part.num_rows]
        rows[...] = symbols.reshape(rows.shape)
    return array


def _is_tables(piece: FoundChunk | Gap) -> bool:
    return isinstance(piece, FoundChunk) and piece.chunk.mode == TABLES


class _Losses:
    """Lost rows of a stream, those for one reason together."""

    def __init__(self, stream: StreamHeader) -> None:
        self._stream = stream
        self.found: list[LostRows] = []

    def add(self, start: int, stop: int, reason: str) -> None:
        """Rows that are lost; none where ``start`` is ``stop``."""
        if start == stop:
            return
        if self.found and (self.found[-1].stop_row, self.found[-1].reason) == (start, reason):
            start = self.found.pop().start_row
        num_tokens = (stop - start) * self._stream.symbols_per_row
        self.found.append(LostRows(self._stream.name, start, stop, num_tokens, reason))

    def add_end(self, placement: Placement) -> None:
        """Rows that nobody knows the number of."""
        num_tokens = sum(found.chunk.num_symbols for found in placement.unplaced)
        reason = "the end of the stream is missing"
        self.found.append(LostRows(self._stream.name, placement.num_rows, None, num_tokens, reason))
