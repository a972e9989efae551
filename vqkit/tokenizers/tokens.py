"""What a tokenizer makes of media: named arrays of integers with everything decoding needs."""

import math
import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from vqkit.errors import ModelMismatchError, ShapeError
from vqkit.quantizers import NO_TOKEN
from vqkit.shapes import Int

__all__ = ["TokenStream", "Tokens"]

# Names and sizes go into files and onto terminals: short, plain, and exact in every JSON reader.
_IDENTIFIER = re.compile(r"[a-z][a-z0-9_.-]{0,31}", re.ASCII)
_FINGERPRINT = re.compile(r"[0-9a-f]{32}", re.ASCII)
_MAX_TOKENIZER_LENGTH = 200
_MAX_CODEBOOK_SIZE = 1 << 63
_MAX_MEDIA_SIZE = 1 << 53


@dataclass(frozen=True, eq=False)
class TokenStream:
    """One named array of token indices, with its codebooks and the names of its axes.

    Args:
        indices: int64 ``[batch, *grid, codebooks]``, each in ``[0, codebook_sizes[codebook])``, or
            -1 where the token is not known, because it was lost or not sent.
        codebook_sizes: number of codes of each codebook.
        axes: names of the grid's axes, e.g. ``("height", "width")``; empty if an item has no grid.
        lengths: int64 ``[batch, axes]``, valid extent of each item where items of different size
            are padded to one grid; None if the whole grid is valid.

    Raises:
        ShapeError: if the parts do not fit one another or an index is out of range.

    Example:
        >>> stream = TokenStream(torch.tensor([[[3], [0], [1]]]), (4,), ("time",))
        >>> stream.grid, stream.num_tokens, stream.bits
        ((3,), 3, 6.0)
    """

    indices: Int[Tensor, "batch *grid codebooks"]
    codebook_sizes: tuple[int, ...]
    axes: tuple[str, ...]
    lengths: Int[Tensor, "batch axes"] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "codebook_sizes", _codebook_sizes(self.codebook_sizes))
        object.__setattr__(self, "axes", _axes(self.axes))
        self._check_indices()
        self._check_lengths()

    @property
    def batch_size(self) -> int:
        """Number of items."""
        return self.indices.shape[0]

    @property
    def grid(self) -> tuple[int, ...]:
        """Size of the grid that all items share, padding included."""
        return tuple(self.indices.shape[1:-1])

    @property
    def num_tokens(self) -> int:
        """Number of valid integers: positions of all items, times the codebooks."""
        if self.lengths is None:
            return self.indices.numel()
        return len(self.codebook_sizes) * int(self.lengths.prod(dim=1).sum())

    @property
    def num_unknown(self) -> int:
        """Number of valid tokens that are -1."""
        items = [self.item(i).indices for i in range(self.batch_size)]
        return sum(int((indices == NO_TOKEN).sum()) for indices in items)

    @property
    def bits(self) -> float:
        """Nominal size in bits: ``log2`` of the codebook's size for every valid token."""
        num_positions = self.num_tokens // len(self.codebook_sizes)
        return num_positions * sum(math.log2(size) for size in self.codebook_sizes)

    def item(self, index: int) -> "TokenStream":
        """One item as a batch of one, cropped to its valid extent (a view)."""
        indices = self.indices[index : index + 1]
        if self.lengths is not None:
            extent = self.lengths[index].tolist()
            indices = indices[(slice(None), *(slice(length) for length in extent))]
        return replace(self, indices=indices, lengths=None)

    def to(self, device: torch.device | str) -> "TokenStream":
        """The same stream on another device."""
        lengths = None if self.lengths is None else self.lengths.to(device)
        return replace(self, indices=self.indices.to(device), lengths=lengths)

    def same_as(self, other: "TokenStream") -> bool:
        """Whether both hold the same items; padding and device do not count."""
        return (
            self.codebook_sizes == other.codebook_sizes
            and self.axes == other.axes
            and self.batch_size == other.batch_size
            and all(
                torch.equal(self.item(i).indices.cpu(), other.item(i).indices.cpu())
                for i in range(self.batch_size)
            )
        )

    def _check_indices(self) -> None:
        indices = self.indices
        if not isinstance(indices, Tensor) or indices.dtype != torch.int64:
            got = indices.dtype if isinstance(indices, Tensor) else type(indices).__name__
            raise ShapeError(f"Wrong token indices: expected an int64 tensor, got {got}.")
        shape = list(indices.shape)
        if len(shape) != 2 + len(self.axes) or shape[-1] != len(self.codebook_sizes):
            raise ShapeError(
                f"Wrong token indices: expected [batch, {''.join(f'{a}, ' for a in self.axes)}"
                f"{len(self.codebook_sizes)}] for axes {self.axes} and "
                f"{len(self.codebook_sizes)} codebook(s), got {shape}."
            )
        if shape[0] == 0:
            raise ShapeError(f"Wrong token indices: expected at least one item, got {shape}.")
        if indices.numel() == 0:
            return
        rows = indices.flatten(0, -2)
        extremes = zip(rows.amin(0).tolist(), rows.amax(0).tolist(), strict=True)
        for codebook, (size, (lowest, highest)) in enumerate(
            zip(self.codebook_sizes, extremes, strict=True)
        ):
            if lowest < NO_TOKEN or highest >= size:
                raise ShapeError(
                    f"Wrong token indices: expected 0 to {size - 1} for codebook {codebook} of "
                    f"{size} codes, or {NO_TOKEN} for an unknown one, got {lowest} to {highest}."
                )

    def _check_lengths(self) -> None:
        lengths = self.lengths
        if lengths is None:
            return
        if not isinstance(lengths, Tensor) or lengths.dtype != torch.int64:
            got = lengths.dtype if isinstance(lengths, Tensor) else type(lengths).__name__
            raise ShapeError(f"Wrong token lengths: expected an int64 tensor, got {got}.")
        if list(lengths.shape) != [self.batch_size, len(self.axes)]:
            raise ShapeError(
                f"Wrong token lengths: expected [batch, axes] = "
                f"{[self.batch_size, len(self.axes)]}, got {list(lengths.shape)}."
            )
        if lengths.device != self.indices.device:
            raise ShapeError(
                f"Wrong token lengths: expected them on {self.indices.device} like the indices, "
                f"got {lengths.device}."
            )
        for extent in lengths.tolist():
            if not all(0 <= length <= size for length, size in zip(extent, self.grid, strict=True)):
                raise ShapeError(
                    f"Wrong token lengths: expected extents within the grid {list(self.grid)}, "
                    f"got {extent}."
                )


@dataclass(frozen=True, eq=False)
class Tokens:
    """The tokens of one or more media items: named streams and what decoding them needs.

    Args:
        streams: the media's own grid is ``"tokens"``; side information stands beside it.
        media: per item the sizes of the original, e.g. ``{"height": 300, "width": 451}``. Rates
            have a place here too, as whole numbers with their unit in the name
            (``sample_rate_hz``).
        modality: ``"image"``, ``"audio"``, ``"video"``.
        tokenizer: id of the model that made the tokens.
        fingerprint: 32 hex digits over that model's configuration and weights.

    Raises:
        ShapeError: if the parts do not fit one another.

    Example:
        >>> stream = TokenStream(torch.tensor([[[[3]], [[1]]]]), (4,), ("height", "width"))
        >>> tokens = Tokens({"tokens": stream}, ({"height": 16, "width": 8},), "image",
        ...                 "image/example", "0" * 32)
        >>> len(tokens), tokens.num_tokens, tokens.bits
        (1, 2, 4.0)
        >>> Tokens.stack([tokens, tokens]).item(1).same_as(tokens)
        True
    """

    streams: Mapping[str, TokenStream]
    media: tuple[Mapping[str, int], ...]
    modality: str
    tokenizer: str
    fingerprint: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "streams", _streams(self.streams))
        object.__setattr__(self, "media", _media(self.media))
        for name, stream in self.streams.items():
            if stream.batch_size != len(self.media):
                raise ShapeError(
                    f"Wrong tokens: expected {len(self.media)} item(s) in stream {name!r}, as "
                    f"many as media sizes, got {stream.batch_size}."
                )
        _check_identifier(self.modality, "modality")
        if (
            not isinstance(self.tokenizer, str)
            or len(self.tokenizer) > _MAX_TOKENIZER_LENGTH
            or not self.tokenizer.isprintable()
        ):
            raise ShapeError(
                f"Wrong tokenizer id: expected up to {_MAX_TOKENIZER_LENGTH} printable characters, "
                f"got {_quoted(self.tokenizer)}."
            )
        if not isinstance(self.fingerprint, str) or not _FINGERPRINT.fullmatch(self.fingerprint):
            raise ShapeError(
                f"Wrong fingerprint: expected 32 lower-case hex digits, "
                f"got {_quoted(self.fingerprint)}."
            )

    def __len__(self) -> int:
        """Number of items."""
        return len(self.media)

    @property
    def indices(self) -> Int[Tensor, "batch *grid codebooks"]:
        """Indices of the stream ``"tokens"``."""
        return self._main_stream.indices

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Codebook sizes of the stream ``"tokens"``."""
        return self._main_stream.codebook_sizes

    @property
    def axes(self) -> tuple[str, ...]:
        """Axes of the stream ``"tokens"``."""
        return self._main_stream.axes

    @property
    def num_tokens(self) -> int:
        """Number of valid integers in all streams of all items."""
        return sum(stream.num_tokens for stream in self.streams.values())

    @property
    def num_unknown(self) -> int:
        """Number of valid integers that are -1, in all streams of all items."""
        return sum(stream.num_unknown for stream in self.streams.values())

    @property
    def bits(self) -> float:
        """Nominal size in bits of all streams of all items, side information included."""
        return sum(stream.bits for stream in self.streams.values())

    def item(self, index: int) -> "Tokens":
        """One item as a batch of one, each stream cropped to its valid extent (views).

        Raises:
            ShapeError: if there is no such item; negative indices count from the end.
        """
        if not -len(self) <= index < len(self):
            raise ShapeError(f"No item {index}: expected {-len(self)} to {len(self) - 1}.")
        index %= len(self)
        return replace(
            self,
            streams={name: stream.item(index) for name, stream in self.streams.items()},
            media=(self.media[index],),
        )

    def with_indices(self, name: str, indices: Int[Tensor, "batch *grid codebooks"]) -> "Tokens":
        """The same tokens with other indices in one stream."""
        stream = replace(self.streams[name], indices=indices)
        return replace(self, streams={**self.streams, name: stream})

    def first_codebooks(self, count: int | None) -> "Tokens":
        """The same items with the first codebooks of the stream ``"tokens"`` alone.

        A residual quantizer decodes from a prefix of its levels: fewer bits, coarser media. All are
        kept if there are no more, or ``count`` is None.
        """
        if count is None:
            return self
        stream = self._main_stream
        cut = replace(
            stream,
            indices=stream.indices[..., :count].contiguous(),
            codebook_sizes=stream.codebook_sizes[:count],
        )
        return replace(self, streams={**self.streams, "tokens": cut})

    @staticmethod
    def stack(tokens: "Sequence[Tokens]") -> "Tokens":
        """Join batches into one, item after item.

        Grids of different size are padded with index 0 to the largest, and ``lengths`` then tells
        the valid extents.

        Raises:
            ModelMismatchError: if they come from different tokenizers.
            ShapeError: if their streams differ in name, axes or codebooks, or there are none.
        """
        if not tokens:
            raise ShapeError("Cannot stack tokens: expected at least one, got none.")
        first = tokens[0]
        for other in tokens[1:]:
            _check_stackable(first, other)
        items = [batch.item(i) for batch in tokens for i in range(len(batch))]
        return replace(
            first,
            streams={
                name: _stack_streams([item.streams[name] for item in items])
                for name in first.streams
            },
            media=tuple(item.media[0] for item in items),
        )

    def to(self, device: torch.device | str) -> "Tokens":
        """The same tokens on another device."""
        streams = {name: stream.to(device) for name, stream in self.streams.items()}
        return replace(self, streams=streams)

    def same_as(self, other: "Tokens") -> bool:
        """Whether both hold the same items of the same tokenizer; padding does not count."""
        return (
            (self.modality, self.tokenizer, self.fingerprint, self.media)
            == (other.modality, other.tokenizer, other.fingerprint, other.media)
            and self.streams.keys() == other.streams.keys()
            and all(stream.same_as(other.streams[name]) for name, stream in self.streams.items())
        )

    @property
    def _main_stream(self) -> TokenStream:
        if "tokens" not in self.streams:
            raise ShapeError(
                f"No main stream: expected one named 'tokens', got {sorted(self.streams)}. "
                f"Take the stream by its name from tokens.streams."
            )
        return self.streams["tokens"]


def _check_stackable(first: Tokens, other: Tokens) -> None:
    if (first.tokenizer, first.fingerprint) != (other.tokenizer, other.fingerprint):
        raise ModelMismatchError(
            f"Cannot stack tokens of different tokenizers: {first.tokenizer!r} "
            f"({first.fingerprint}) and {other.tokenizer!r} ({other.fingerprint})."
        )

    def layout(tokens: Tokens) -> object:
        streams = {name: (s.axes, s.codebook_sizes) for name, s in tokens.streams.items()}
        return tokens.modality, streams

    if layout(first) != layout(other):
        raise ShapeError(
            f"Cannot stack tokens of different layout: {layout(first)} and {layout(other)}."
        )


def _stack_streams(streams: Sequence[TokenStream]) -> TokenStream:
    """Join single cropped items."""
    grids = [stream.grid for stream in streams]
    if len(set(grids)) == 1:
        return replace(streams[0], indices=torch.cat([stream.indices for stream in streams]))
    grid = [max(sizes) for sizes in zip(*grids, strict=True)]
    first = streams[0].indices
    indices = first.new_zeros(len(streams), *grid, first.shape[-1])
    for row, stream in zip(indices, streams, strict=True):
        row[tuple(slice(size) for size in stream.grid)] = stream.indices[0]
    return replace(streams[0], indices=indices, lengths=torch.tensor(grids, device=first.device))


def _streams(value: Any) -> dict[str, TokenStream]:
    if not isinstance(value, Mapping) or not value:
        raise ShapeError(f"Wrong tokens: expected a mapping of streams, got {_quoted(value)}.")
    for name, stream in value.items():
        _check_identifier(name, "stream name")
        if not isinstance(stream, TokenStream):
            raise ShapeError(
                f"Wrong tokens: expected a TokenStream as {name!r}, got {type(stream).__name__}."
            )
    return dict(value)


def _codebook_sizes(value: Any) -> tuple[int, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise ShapeError(f"Wrong codebook sizes: expected a tuple of sizes, got {_quoted(value)}.")
    return tuple(_integer(size, "codebook size", 1, _MAX_CODEBOOK_SIZE) for size in value)


def _axes(value: Any) -> tuple[str, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ShapeError(f"Wrong axes: expected a tuple of names, got {_quoted(value)}.")
    axes = tuple(value)
    for axis in axes:
        _check_identifier(axis, "axis name")
    if len(set(axes)) != len(axes):
        raise ShapeError(f"Wrong axes: expected different names, got {axes}.")
    return axes


def _media(value: Any) -> tuple[dict[str, int], ...]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ShapeError(f"Wrong media sizes: expected one mapping per item, got {_quoted(value)}.")
    return tuple(_media_sizes(sizes) for sizes in value)


def _media_sizes(value: Any) -> dict[str, int]:
    if not isinstance(value, Mapping):
        raise ShapeError(f"Wrong media sizes: expected a mapping per item, got {_quoted(value)}.")
    for name in value:
        _check_identifier(name, "media size name")
    return {
        name: _integer(size, f"media size {name}", 0, _MAX_MEDIA_SIZE)
        for name, size in value.items()
    }


def _integer(value: Any, what: str, lowest: int, highest: int) -> int:
    """A Python int from anything that is one, NumPy's included; booleans and floats are not."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):
        raise ShapeError(f"Wrong {what}: expected a whole number, got {_quoted(value)}.")
    if not lowest <= number <= highest:
        raise ShapeError(f"Wrong {what}: expected {lowest} to {highest}, got {number}.")
    return number


def _check_identifier(value: Any, what: str) -> None:
    if not isinstance(value, str) or not _IDENTIFIER.fullmatch(value):
        raise ShapeError(
            f"Wrong {what}: expected up to 32 characters of a-z, 0-9, '_', '.' and '-', beginning "
            f"with a letter, got {_quoted(value)}."
        )


def _quoted(value: Any) -> str:
    """A value for a message: short, and harmless on a terminal."""
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
