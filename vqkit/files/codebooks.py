"""Writing codebooks and index maps, whole or not at all."""

import os
from pathlib import Path

from torch import Tensor

from vqkit.files.atomic import write_atomically
from vqkit.quantizers import IndexMap
from vqkit.shapes import Float
from vqkit.tokenizers.codebook_file import (
    dump_codebook,
    dump_index_map,
    read_codebook,
    read_index_map,
)

__all__ = ["write_codebook", "write_index_map"]


def write_codebook(
    codebook: Float[Tensor, "codes dim"],
    path: str | os.PathLike[str],
    *,
    source: str = "",
    overwrite: bool = False,
) -> None:
    """Write a codebook file, which ``vqkit.tokenizers.CodebookFile`` reads.

    Args:
        codebook: Codes, finite; kept in fp32.
        path: The file.
        source: What it was made of, in words.
        overwrite: Replace an existing file.

    Raises:
        ShapeError: No matrix, or a value that is not finite.
        TokenFileError: The file exists, or the file system refuses.
    """
    data = dump_codebook(codebook, source=source)
    write_atomically(Path(path), data, overwrite=overwrite, check=_check_codebook)


def write_index_map(
    index_map: IndexMap,
    path: str | os.PathLike[str],
    *,
    source: str = "",
    overwrite: bool = False,
) -> None:
    """Write what became of the indices of a codebook.

    Args:
        index_map: From old indices to new ones.
        path: The file.
        source: What the old indices are of: the fingerprint of a model, or words.
        overwrite: Replace an existing file.

    Raises:
        TokenFileError: The file exists, or the file system refuses.
    """
    data = dump_index_map(index_map, source=source)
    write_atomically(Path(path), data, overwrite=overwrite, check=_check_index_map)


def _check_codebook(path: Path) -> None:
    read_codebook(path)


def _check_index_map(path: Path) -> None:
    read_index_map(path)
