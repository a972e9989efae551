"""Tokens of damaged files: what is intact, and what was lost."""

from dataclasses import dataclass

from vqkit.files import container
from vqkit.files.container import LostRows
from vqkit.files.limits import Limits
from vqkit.files.resources import CodingResources
from vqkit.files.sources import Source, opened
from vqkit.files.token_file import as_tokens
from vqkit.tokenizers.tokens import Tokens

__all__ = ["LostRows", "RecoveredTokens", "recover_tokens"]


@dataclass(frozen=True)
class RecoveredTokens:
    """What is left of a token file.

    Attributes:
        tokens: Lost ones are -1. Of a file that was written as a stream and has no end any more
            they are as many as are left, and sizes of the media that the end tells are absent.
        losses: Which rows of the streams are lost, and why.
        notes: What else is wrong with the file.
    """

    tokens: Tokens
    losses: tuple[LostRows, ...]
    notes: tuple[str, ...]

    @property
    def is_sound(self) -> bool:
        """Whether nothing was wrong at all."""
        return not self.losses and not self.notes

    @property
    def num_lost(self) -> int:
        """Tokens that are lost, as far as their number is known."""
        return sum(loss.num_tokens for loss in self.losses)


def recover_tokens(
    source: Source, *, limits: Limits | None = None, resources: CodingResources | None = None
) -> RecoveredTokens:
    """Read what is intact of a token file, whatever happened to it behind its header.

    Truncated files, chunks that were changed, bytes that went missing or came in between, a lost
    footer: every chunk whose checksum fits is read. Chunks are what is lost, so write them small
    (``chunk_rows``) where files may suffer.

    Args:
        source: Path, bytes, or binary stream, which is read to its end and kept in memory.
        limits: As for `read_tokens`. Lost tokens take memory too: as many as the header declares.
        resources: As for `read_tokens`; what is coded with others counts as lost.

    Raises:
        TokenFileError: The header is damaged, or not one chunk is intact.

    Example:
        >>> import torch
        >>> from vqkit.files import dumps
        >>> from vqkit.tokenizers import Tokens, TokenStream
        >>> grid = TokenStream(torch.arange(12).reshape(1, 6, 2, 1), (12,), ("height", "width"))
        >>> data = dumps(Tokens({"tokens": grid}, ({},), "image", "m", "0" * 32), chunk_rows=2)
        >>> damaged = bytearray(data)
        >>> damaged[-42] ^= 1  # in the last chunk
        >>> recovered = recover_tokens(damaged)
        >>> recovered.num_lost, recovered.tokens.num_unknown
        (4, 4)
    """
    with opened(source) as reader:
        remains = container.recover(reader, limits or Limits(), resources or CodingResources())
    return RecoveredTokens(as_tokens(remains.header, remains.arrays), remains.losses, remains.notes)
