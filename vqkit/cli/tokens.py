"""Reading a token file together with what a batch says of it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqkit.cli.console import Console
from vqkit.cli.media import facts_of
from vqkit.cli.model_search import find_fingerprint
from vqkit.cli.sources import Source
from vqkit.errors import TokenFileError

if TYPE_CHECKING:
    from vqkit.cli.models import ModelLoader
    from vqkit.files import CodingResources, TokenFileInfo
    from vqkit.tokenizers import Tokens

__all__ = ["conceal", "content_of", "read_token_file"]


def content_of(source: Source) -> Path | bytes:
    """What can be read more than once: the path of a file, or all that came out of a pipe."""
    if source.path is None:
        return sys.stdin.buffer.read()
    # What is no file is a pipe, or nothing at all.
    return source.path if source.path.is_file() else source.path.read_bytes()


def read_token_file(
    source: Source, models: "ModelLoader | None" = None
) -> "tuple[Tokens, dict[str, Any]]":
    """Read all of a token file, checking every checksum.

    Args:
        source: The file.
        models: Finds the model whose folder has what the coding needs; without it only local
            folders are looked at.

    Raises:
        TokenFileError: It is no token file, or a damaged one; a picture is called one.
    """
    from vqkit.files import read_info, read_tokens
    from vqkit.media import is_image

    content = content_of(source)
    try:
        info = read_info(content)
        return read_tokens(content, resources=_resources(info, models)), facts_of(info)
    except TokenFileError as error:
        if not is_image(content):
            raise
        raise TokenFileError(
            f"Cannot decode {source.name!r}: expected a token file, got an image. Turn it into a "
            "token file with vqkit encode."
        ) from error


def conceal(tokens: "Tokens", models: "ModelLoader", console: Console, name: str) -> "Tokens":
    """Fill in unknown tokens by the prior of the model that made them, if it has one; say so."""
    from vqkit.priors import Prior

    if not tokens.num_unknown:
        return tokens
    what = f"{name}: {tokens.num_unknown:,} of {tokens.num_tokens:,} tokens are unknown"
    prior = models.resources_of(models.maker_of(tokens)).prior
    if not isinstance(prior, Prior):
        console.note(f"{what}; the model has no prior to fill them in (vqkit prior).")
        return tokens
    console.note(f"{what}; filled in by the model's prior.")
    return prior.fill_tokens(tokens)


def _resources(info: "TokenFileInfo", models: "ModelLoader | None") -> "CodingResources":
    """What the coding of the file needs, from the folder of its model if that is here."""
    from vqkit.files import CodingResources

    if not info.needs_resources:
        return CodingResources()
    if models is not None:
        return models.resources_of(models.maker_of(info))
    folder = find_fingerprint(info.tokenizer, info.fingerprint)
    return CodingResources() if folder is None else CodingResources.of_model(folder)
