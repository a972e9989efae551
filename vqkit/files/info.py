"""What a token file holds and what it costs, without its tokens."""

from collections.abc import Mapping
from dataclasses import dataclass

from vqkit.files.container import FORMAT_VERSION, Contents
from vqkit.files.modes import LEARNED, TABLED, TABLED_NEIGHBOURS, TABLES, mode_name, split_mode

__all__ = ["StreamInfo", "TokenFileInfo"]


@dataclass(frozen=True)
class StreamInfo:
    """One stream of a token file.

    ``nominal_bits`` is ``log2`` of the codebook's size over all its tokens, ``payload_bytes`` what
    they take in the file, ``table_bytes`` what tables take that it holds for them, ``modes`` the
    numbers of the coding modes of its chunks, ``has_unknown`` whether any of them marks tokens as
    unknown.
    """

    name: str
    axes: tuple[str, ...]
    shape: tuple[int, ...]
    codebook_sizes: tuple[int, ...]
    num_tokens: int
    nominal_bits: float
    payload_bytes: int
    table_bytes: int
    num_chunks: int
    modes: tuple[int, ...]
    has_unknown: bool

    @property
    def coding(self) -> str:
        """The coding modes by name, or by number where this version does not know them."""
        names = [mode_name(number) for number in self.modes]
        if self.has_unknown:
            names.append("with unknown tokens")
        return ", ".join(names) or "no chunks"


@dataclass(frozen=True)
class TokenFileInfo:
    """A token file's header and sizes.

    ``size_bytes`` is the length of the file; of it ``header_bytes`` go to magic and header,
    ``payload_bytes`` to coded tokens, ``table_bytes`` to tables, ``chunk_bytes`` to fields and
    checksums of chunks, ``footer_bytes`` to the index, the token hash and what is around them.
    ``token_hash`` (32 hex digits) is equal for equal tokens.
    """

    format_version: int
    modality: str
    media: Mapping[str, int]
    tokenizer: str
    fingerprint: str
    streams: tuple[StreamInfo, ...]
    size_bytes: int
    header_bytes: int
    chunk_bytes: int
    footer_bytes: int
    token_hash: str

    @property
    def num_tokens(self) -> int:
        """Integers of all streams."""
        return sum(stream.num_tokens for stream in self.streams)

    @property
    def nominal_bits(self) -> float:
        """``log2`` of the codebook's size over all tokens of all streams."""
        return sum(stream.nominal_bits for stream in self.streams)

    @property
    def needs_resources(self) -> bool:
        """Whether decoding takes something of the model's folder: its tables or its prior."""
        return any(
            LEARNED.number in stream.modes
            or (
                not stream.table_bytes
                and {TABLED.number, TABLED_NEIGHBOURS.number} & {*stream.modes}
            )
            for stream in self.streams
        )

    @property
    def payload_bytes(self) -> int:
        """Bytes of coded tokens."""
        return sum(stream.payload_bytes for stream in self.streams)

    @property
    def table_bytes(self) -> int:
        """Bytes of tables that the file holds for its own tokens."""
        return sum(stream.table_bytes for stream in self.streams)

    @property
    def overhead_bytes(self) -> int:
        """Everything that is not coded tokens: header, tables, fields, checksums, index, hash."""
        return self.size_bytes - self.payload_bytes

    @property
    def num_chunks(self) -> int:
        """Chunks of all streams."""
        return sum(stream.num_chunks for stream in self.streams)

    @staticmethod
    def of(contents: Contents) -> "TokenFileInfo":
        """Sum up what was read."""
        header = contents.header
        streams = []
        for number, stream in enumerate(header.streams):
            chunks = [chunk for chunk in contents.chunks if chunk.stream == number]
            coded = [chunk for chunk in chunks if chunk.mode != TABLES]
            modes = [split_mode(chunk.mode) for chunk in coded]
            streams.append(
                StreamInfo(
                    name=stream.name,
                    axes=stream.axes,
                    shape=stream.shape,
                    codebook_sizes=stream.codebook_sizes,
                    num_tokens=stream.num_symbols,
                    nominal_bits=stream.nominal_bits,
                    payload_bytes=sum(chunk.payload_bytes for chunk in coded),
                    table_bytes=sum(
                        chunk.payload_bytes for chunk in chunks if chunk.mode == TABLES
                    ),
                    num_chunks=len(coded),
                    modes=tuple(sorted({number for number, _ in modes})),
                    has_unknown=any(has_unknown for _, has_unknown in modes),
                )
            )
        return TokenFileInfo(
            format_version=FORMAT_VERSION,
            modality=header.modality,
            media=header.known_media,
            tokenizer=header.tokenizer,
            fingerprint=header.fingerprint,
            streams=tuple(streams),
            size_bytes=contents.size_bytes,
            header_bytes=contents.header_bytes,
            chunk_bytes=sum(c.size_bytes - c.payload_bytes for c in contents.chunks),
            footer_bytes=contents.footer_bytes + 4,
            token_hash=contents.token_hash.hex(),
        )
