"""Reading a token file together with what a batch says of it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqkit.cli.media import facts_of
from vqkit.cli.sources import Source
from vqkit.errors import TokenFileError

if TYPE_CHECKING:
    from vqkit.tokenizers import Tokens

__all__ = ["content_of", "read_token_file"]


def content_of(source: Source) -> Path | bytes:
    """What can be read more than once: the path of a file, or all that came out of a pipe."""
    if source.path is None:
        return sys.stdin.buffer.read()
    # What is no file is a pipe, or nothing at all.
    return source.path if source.path.is_file() else source.path.read_bytes()


def read_token_file(source: Source) -> "tuple[Tokens, dict[str, Any]]":
    """Read all of a token file, checking every checksum.

    Raises:
        TokenFileError: It is no token file, or a damaged one; a picture is called one.
    """
    from vqkit.files import read_info, read_tokens
    from vqkit.media import is_image

    content = content_of(source)
    try:
        return read_tokens(content), facts_of(read_info(content))
    except TokenFileError as error:
        if not is_image(content):
            raise
        raise TokenFileError(
            f"Cannot decode {source.name!r}: expected a token file, got an image. Turn it into a "
            "token file with vqkit encode."
        ) from error
