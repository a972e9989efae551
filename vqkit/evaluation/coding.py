"""How an evaluation brings items through a tokenizer: whole, or clips block by block."""

import hashlib
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.evaluation.footage import Footage, footage_of
from vqkit.evaluation.quality import Medium, Reconstruction
from vqkit.media import Audio
from vqkit.tokenizers.tokens import Tokens

__all__ = ["ClipCoding", "ClipTokenizer", "Coding", "Encoded", "MediaTokenizer", "WholeCoding"]


@runtime_checkable
class MediaTokenizer(Protocol):
    """What an evaluation needs of a tokenizer; :class:`vqkit.tokenizers.Tokenizer` is one."""

    def encode(self, media: Sequence[Tensor], *, sample_rate_hz: int | None = None) -> Tokens:
        """Tokens of a list of media ``[channels, *size]``; only sounds come with their rate."""

    def decode(self, tokens: Tokens) -> list[Tensor]:
        """Media of their original size."""

    @property
    def spec(self) -> Any:
        """Description with ``modality``, ``codebook_sizes`` and ``to_dict()``."""


@runtime_checkable
class ClipTokenizer(MediaTokenizer, Protocol):
    """What it needs of one of clips, which do not have to fit into memory."""

    def encode_pieces(
        self, pieces: Iterable[Tensor], *, frame_rate: int | Fraction | None = None
    ) -> Tokens:
        """Tokens of one clip that comes in pieces ``[channels, frames, height, width]``."""

    def decode_pieces(self, tokens: Tokens) -> Iterator[Tensor]:
        """The clip of these tokens in pieces."""


@dataclass(frozen=True)
class Encoded:
    """An item as tokens.

    Attributes:
        tokens: Of the item.
        original: The item, where metrics compute.
        channels: Of the item.
        digest: SHA-256 of its values and its size, the first 16 hex digits.
        seconds: That encoding took; reading a file not counted.
    """

    tokens: Tokens
    original: Medium
    channels: int
    digest: str
    seconds: float


class _Timed:
    """An iterator that knows for how long it was waited for.

    Args:
        source: What is iterated over.
        now: The clock in seconds.
    """

    def __init__(
        self, source: Iterable[Tensor], now: Callable[[], float] = time.perf_counter
    ) -> None:
        self.seconds = 0.0
        self._source = iter(source)
        self._now = now

    def __iter__(self) -> Iterator[Tensor]:
        return self

    def __next__(self) -> Tensor:
        begin = self._now()
        try:
            return next(self._source)
        finally:
            self.seconds += self._now() - begin


class Coding(ABC):
    """Encodes and decodes items, with the time that it takes.

    Args:
        tokenizer: That is evaluated.
        device: Where it computes.
    """

    def __init__(self, tokenizer: MediaTokenizer, device: torch.device) -> None:
        self.tokenizer = tokenizer
        self.device = device

    @abstractmethod
    def warm_up(self, medium: Medium) -> None:
        """Have everything loaded that loads on first use: it is no part of the speed."""

    @abstractmethod
    def encode(self, medium: Medium) -> Encoded:
        """Tokens of an item."""

    @abstractmethod
    def decode(self, tokens: Tokens) -> "tuple[Reconstruction, Callable[[], float]]":
        """What is decoded, and the seconds it took, which are known when all of it is taken."""

    def now(self) -> float:
        """The time in seconds when all that was begun is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


class WholeCoding(Coding):
    """Images and sounds, each at once."""

    def warm_up(self, medium: Medium) -> None:
        """With the item itself."""
        values, options = self._values(medium)
        self.tokenizer.decode(self.tokenizer.encode([values], **options))

    def encode(self, medium: Medium) -> Encoded:
        """As the tokenizer encodes a list of one."""
        values, options = self._values(medium)
        begin = self.now()
        tokens = self.tokenizer.encode([values], **options)
        seconds = self.now() - begin
        # Metrics of images have weights and compute where the tokenizer does.
        original = values if isinstance(medium, Tensor) else medium
        channels = values.shape[0]
        size = {**tokens.media[0], "channels": channels}
        digest = _digest([values], size)
        return Encoded(tokens, original, channels, digest, seconds)

    def decode(self, tokens: Tokens) -> tuple[Reconstruction, Callable[[], float]]:
        """The whole item, where the tokenizer computes."""
        begin = self.now()
        decoded = self.tokenizer.decode(tokens)[0]
        seconds = self.now() - begin
        return decoded.to(self.device), lambda: seconds

    def _values(self, medium: Medium) -> tuple[Tensor, dict[str, Any]]:
        if isinstance(medium, Audio):
            rate = {"sample_rate_hz": medium.sample_rate_hz}
            return medium.samples.to(self.device), rate
        if isinstance(medium, Footage):
            raise ConfigError("Evaluating: expected images or sounds, got a clip.")
        return medium.to(self.device), {}


class ClipCoding(Coding):
    """Clips, in memory that does not grow with their length.

    Args:
        tokenizer: Of clips.
        device: Where it computes.

    Raises:
        ConfigError: The tokenizer does not code in pieces.
    """

    def __init__(self, tokenizer: MediaTokenizer, device: torch.device) -> None:
        super().__init__(tokenizer, device)
        if not isinstance(tokenizer, ClipTokenizer):
            raise ConfigError(
                "Evaluating a tokenizer of clips: expected encode_pieces and decode_pieces, got "
                f"{type(tokenizer).__name__} without them."
            )
        self._clips: ClipTokenizer = tokenizer

    def warm_up(self, medium: Medium) -> None:
        """With its first frames."""
        first = islice(_footage(medium).blocks(), 1)
        for _ in self._clips.decode_pieces(self._clips.encode_pieces(first)):
            pass

    def encode(self, medium: Medium) -> Encoded:
        """As the frames are read."""
        footage = _footage(medium)
        passed = _Passed(footage.blocks())
        reading = _Timed(passed)
        begin = self.now()
        tokens = self._clips.encode_pieces(reading, frame_rate=footage.frame_rate)
        seconds = self.now() - begin - reading.seconds
        size = {**tokens.media[0], "channels": passed.channels}
        return Encoded(tokens, footage, passed.channels, passed.digest(size), seconds)

    def decode(self, tokens: Tokens) -> tuple[Reconstruction, Callable[[], float]]:
        """Piece by piece."""
        pieces = _Timed(self._clips.decode_pieces(tokens), self.now)
        return pieces, lambda: pieces.seconds


class _Passed:
    """Blocks of frames on their way, of which a digest is made."""

    def __init__(self, blocks: Iterable[Tensor]) -> None:
        self.channels = 0
        self._blocks = iter(blocks)
        self._hash = hashlib.sha256()

    def __iter__(self) -> Iterator[Tensor]:
        return self

    def __next__(self) -> Tensor:
        block = next(self._blocks)
        self.channels = block.shape[0]
        # Frame by frame: however the blocks are cut, the digest is the same.
        _update(self._hash, block.movedim(1, 0))
        return block

    def digest(self, size: Mapping[str, int]) -> str:
        self._hash.update(json.dumps(size, sort_keys=True).encode())
        return self._hash.hexdigest()[:16]


def _footage(medium: Medium) -> Footage:
    if isinstance(medium, Audio):
        raise ConfigError("Evaluating: expected clips, got a sound.")
    return footage_of(medium)


def _digest(parts: Iterable[Tensor], size: Mapping[str, int]) -> str:
    digest = hashlib.sha256(json.dumps(size, sort_keys=True).encode())
    for part in parts:
        _update(digest, part)
    return digest.hexdigest()[:16]


def _update(digest: Any, values: Tensor) -> None:
    digest.update(values.detach().cpu().to(torch.float32).contiguous().numpy().tobytes())
