"""A range coder: integers and the tables that predict them <-> bytes.

The arithmetic is that of `constriction`, behind an interface of our own; ``docs/format.md``
writes it down, and a decoder in plain Python in the tests reads what it writes. Tables are whole
numbers held in float64, so that every sum is exact and the same on every machine.
"""

import constriction  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt

from vqkit.errors import CodingError, ShapeError

__all__ = ["MAX_ALPHABET", "RangeDecoder", "RangeEncoder"]

MAX_ALPHABET = 1 << 18
"""Largest number of symbols in a table: each takes at least 2^-24 of the probability."""

_WORD = np.dtype("<u4")
# One model for each symbol; not "perfect", as in `_model`.
_FAMILY = constriction.stream.model.Categorical(perfect=False)

Weights = npt.NDArray[np.float64]


class RangeEncoder:
    """Codes symbols one after the other, to be decoded in the same order.

    Example:
        >>> encoder = RangeEncoder()
        >>> encoder.encode(np.array([2, 0, 2]), np.array([1.0, 1.0, 6.0]))
        >>> RangeDecoder(encoder.to_bytes()).decode(3, np.array([1.0, 1.0, 6.0]))
        array([2, 0, 2])
    """

    def __init__(self) -> None:
        self._coder = constriction.stream.queue.RangeEncoder()

    def encode(self, symbols: npt.NDArray[np.int64], weights: Weights) -> None:
        """Append symbols whose probabilities are in proportion to the weights.

        Args:
            symbols: ``[count]``, each in ``[0, len(weights))``.
            weights: Whole numbers in float64, 1 to ``MAX_ALPHABET`` of them, none negative, their
                sum in ``(0, 2^53]``. A single one costs nothing.
        """
        _check_symbols(symbols, weights.size)
        if weights.size > 1:
            self._coder.encode(symbols.astype(np.int32), _model(weights))

    def encode_each(self, symbols: npt.NDArray[np.int64], weights: Weights) -> None:
        """Append symbols with weights ``[count, alphabet]`` of their own; else as `encode`."""
        _check_symbols(symbols, weights.shape[1])
        if weights.shape[1] > 1:
            self._coder.encode(symbols.astype(np.int32), _FAMILY, weights)

    def to_bytes(self) -> bytes:
        """All that was coded so far, in words of four bytes."""
        words: npt.NDArray[np.uint32] = self._coder.get_compressed()
        return words.astype(_WORD, copy=False).tobytes()


class RangeDecoder:
    """Decodes what `RangeEncoder` has written.

    Of other bytes it makes other symbols in range, or raises: a checksum has to tell.

    Raises:
        CodingError: Bytes that are not whole words.
    """

    def __init__(self, data: bytes) -> None:
        if len(data) % _WORD.itemsize:
            raise CodingError(f"expected words of 4 bytes, got {len(data)} bytes")
        words = np.frombuffer(data, _WORD).astype(np.uint32)
        self._coder = constriction.stream.queue.RangeDecoder(words)

    def decode(self, count: int, weights: Weights) -> npt.NDArray[np.int64]:
        """The next ``count`` symbols; the weights are those of the encoder.

        Raises:
            CodingError: Bytes that no encoder writes.
        """
        symbols = np.empty(count, np.int64)
        self.decode_into(symbols, weights)
        return symbols

    def decode_into(self, symbols: npt.NDArray[np.int64], weights: Weights) -> None:
        """Fill ``symbols [count]`` with the next ones; else as `decode`."""
        symbols[:] = self._decoded(_model(weights), symbols.size) if weights.size > 1 else 0

    def decode_each(self, weights: Weights) -> npt.NDArray[np.int64]:
        """The next symbols, one for each row of ``weights [count, alphabet]``.

        Raises:
            CodingError: Bytes that no encoder writes.
        """
        if weights.shape[1] == 1:
            return np.zeros(len(weights), np.int64)
        return self._decoded(_FAMILY, weights).astype(np.int64)

    def finish(self) -> None:
        """Say that all symbols have been decoded.

        Raises:
            CodingError: There are more bytes than these symbols need.
        """
        if not self._coder.maybe_exhausted():
            raise CodingError("expected the end of the range-coded symbols, got more bytes")

    def _decoded(self, *arguments: object) -> npt.NDArray[np.int32]:
        try:
            symbols: npt.NDArray[np.int32] = self._coder.decode(*arguments)
        except AssertionError:  # this is how constriction says that data are invalid
            raise CodingError("expected range-coded symbols, got bytes that code none") from None
        return symbols


def _check_symbols(symbols: npt.NDArray[np.int64], alphabet: int) -> None:
    # In one pass: as an unsigned number a negative one is larger than every alphabet.
    if symbols.size and symbols.view(np.uint64).max() >= alphabet:
        raise ShapeError(
            f"Cannot code symbols: expected 0 to {alphabet - 1}, got {symbols.min()} to "
            f"{symbols.max()}."
        )


def _model(weights: Weights) -> object:
    # Not "perfect", whose search needs logarithms and much time; without "perfect" or "lazy" it
    # would be chosen.
    return constriction.stream.model.Categorical(weights, perfect=False)
