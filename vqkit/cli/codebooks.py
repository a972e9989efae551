"""The first codebooks of a residual quantizer: fewer bits for coarser media."""

from typing import TYPE_CHECKING

from vqkit.cli.usage_error import UsageError
from vqkit.errors import ShapeError

if TYPE_CHECKING:
    from vqkit.tokenizers import Tokenizer

__all__ = ["check_codebooks"]


def check_codebooks(tokenizer: "Tokenizer", count: int | None) -> None:
    """Refuse a number of codebooks that the tokenizer cannot decode from.

    Raises:
        UsageError: There are not as many, or the quantizer needs all of its codebooks.
    """
    if count is None:
        return
    import torch

    positions = (1,) * len(tokenizer.stride)
    try:
        tokenizer.quantizer.decode(
            torch.zeros(1, *positions, count, dtype=torch.int64, device=tokenizer.device)
        )
    except ShapeError as error:
        sizes = tokenizer.quantizer.codebook_sizes
        raise UsageError(
            f"--codebooks {count}: {tokenizer.name} has {len(sizes)} codebook(s) and cannot decode "
            f"from the first {count}."
        ) from error
