"""One row of a data set: the tokens of one media item, or why there are none."""

from dataclasses import dataclass

from vqkit.errors import ShapeError
from vqkit.tokenizers.tokens import Tokens

__all__ = ["Sample"]

_MAX_TEXT_LENGTH = 4096
_LABELS = range(-(1 << 63), 1 << 63)


@dataclass(frozen=True, eq=False)
class Sample:
    """A media item of a data set: its key and either its tokens or the reason why it has none.

    Args:
        key: What it is called, once in the data set, such as its path below the folder of inputs.
        tokens: Of one item; None if it failed.
        source: Where the media came from.
        source_sha256: Of the media's bytes, 64 hex digits; empty if unknown.
        label: Its class, as a number or as a text.
        error: Why there are no tokens.

    Raises:
        ShapeError: Both or neither of ``tokens`` and ``error``, several items, no key, texts longer
            than 4,096 characters or without a UTF-8 form.
    """

    key: str
    tokens: Tokens | None = None
    source: str = ""
    source_sha256: str = ""
    label: int | str | None = None
    error: str = ""

    def __post_init__(self) -> None:
        if (self.tokens is None) == (not self.error):
            raise ShapeError(
                f"Sample {self.key!r}: expected either tokens or an error, got "
                f"{'neither' if self.tokens is None else 'both'}."
            )
        if self.tokens is not None and len(self.tokens) != 1:
            raise ShapeError(
                f"Sample {self.key!r}: expected the tokens of one item, got {len(self.tokens)}."
            )
        if not self.key:
            raise ShapeError("Sample: expected a key, got an empty text.")
        for name in ("key", "source", "source_sha256", "label", "error"):
            self._check_text(name)
        if isinstance(self.label, int) and self.label not in _LABELS:
            raise ShapeError(f"Sample {self.key!r}: expected a label of 64 bits, got {self.label}.")

    def _check_text(self, name: str) -> None:
        value = getattr(self, name)
        if not isinstance(value, str):
            return
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ShapeError(
                f"Sample {self.key!a}: expected a {name} with a UTF-8 form, got "
                f"{ascii(value)[:80]}."
            ) from None
        if len(value) > _MAX_TEXT_LENGTH:
            raise ShapeError(
                f"Sample {self.key[:80]!r}: expected a {name} of up to {_MAX_TEXT_LENGTH} "
                f"characters, got {len(value)}."
            )
