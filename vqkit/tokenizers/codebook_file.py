"""Codebooks and index maps as ``.safetensors`` files; ``vqkit.files`` writes them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from vqkit.errors import ConfigError, ShapeError
from vqkit.quantizers import IndexMap, Table
from vqkit.shapes import Float

__all__ = [
    "CodebookFile",
    "CodebookInfo",
    "dump_codebook",
    "dump_index_map",
    "read_codebook",
    "read_index_map",
]

_CODEBOOK = "vqkit codebook"
_INDEX_MAP = "vqkit index map"
_VERSION = "1"


@dataclass(frozen=True)
class CodebookInfo:
    """What a codebook file says of itself.

    Attributes:
        size: Number of codes.
        dim: Features of each.
        source: What it was made of, in words.
    """

    size: int
    dim: int
    source: str


@dataclass(frozen=True)
class CodebookFile(Table):
    """A codebook in a file, as a table that configurations can name.

    >>> import tempfile
    >>> from vqkit.quantizers import FromTable, VectorQuantizer
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = folder + "/book.safetensors"
    ...     _ = Path(path).write_bytes(dump_codebook(torch.randn(16, 4), source="noise"))
    ...     quantizer = VectorQuantizer(4, 16, init=FromTable(CodebookFile(path)))
    ...     quantizer(torch.randn(1, 5, 4)).indices.shape
    torch.Size([1, 5, 1])

    Attributes:
        path: The file.
    """

    path: str

    def __call__(self, num_codes: int, dim: int) -> Tensor:
        """Read the codes ``[size, dim]``, fp32, on the CPU; the sizes are compared by who asks.

        Raises:
            ConfigError: No codebook file, or a damaged one.
        """
        return read_codebook(self.path)[0]


def dump_codebook(codebook: Float[Tensor, "codes dim"], *, source: str = "") -> bytes:
    """The content of a codebook file.

    Args:
        codebook: Codes, finite; kept in fp32.
        source: What it was made of, in words.

    Raises:
        ShapeError: No matrix, or a value that is not finite.
    """
    if codebook.ndim != 2 or codebook.numel() == 0 or not bool(codebook.isfinite().all()):
        raise ShapeError(
            "Writing a codebook: expected finite values [codes, dim], got "
            f"{codebook.dtype} {list(codebook.shape)} or values that are not finite."
        )
    codes = codebook.detach().cpu().float().contiguous()
    size, dim = codes.shape
    return save({"codebook": codes}, _metadata(_CODEBOOK, size=size, dim=dim, source=source))


def read_codebook(path: str | os.PathLike[str]) -> tuple[Tensor, CodebookInfo]:
    """Read a codebook file.

    Raises:
        ConfigError: There is none, or a damaged, hostile or newer one.
    """
    codes, metadata = _read(Path(path), _CODEBOOK, "codebook")
    if codes.ndim != 2 or codes.dtype != torch.float32 or codes.numel() == 0:
        raise ConfigError(
            f"Codebook {path}: expected float32 [codes, dim], got {codes.dtype} "
            f"{list(codes.shape)}. Write it with vqkit."
        )
    size, dim = codes.shape
    if (metadata.get("size"), metadata.get("dim")) != (str(size), str(dim)):
        raise ConfigError(
            f"Codebook {path}: expected {metadata.get('size')} codes of {metadata.get('dim')} "
            f"features, as it says itself, got {size} of {dim}. It was changed or damaged."
        )
    if not bool(codes.isfinite().all()):
        raise ConfigError(f"Codebook {path}: expected finite values, got a NaN or an infinity.")
    return codes, CodebookInfo(size, dim, metadata.get("source", ""))


def dump_index_map(index_map: IndexMap, *, source: str = "") -> bytes:
    """The content of an index map's file.

    Args:
        index_map: From old indices to new ones.
        source: What the old indices are of: the fingerprint of a model, or words.
    """
    table = index_map.new_of_old.cpu().contiguous()
    size = index_map.new_size
    return save({"new_of_old": table}, _metadata(_INDEX_MAP, new_size=size, source=source))


def read_index_map(path: str | os.PathLike[str]) -> tuple[IndexMap, str]:
    """Read an index map, and what its old indices are of.

    Raises:
        ConfigError: There is none, or a damaged, hostile or newer one.
    """
    table, metadata = _read(Path(path), _INDEX_MAP, "new_of_old")
    size = metadata.get("new_size", "")
    if table.ndim != 1 or not size.isdecimal():
        raise ConfigError(
            f"Index map {path}: expected [old_size] and a new size, got {list(table.shape)} and "
            f"{size!r}."
        )
    return IndexMap(table, int(size)), metadata.get("source", "")


def _metadata(kind: str, **facts: object) -> dict[str, str]:
    named = {name: str(fact) for name, fact in facts.items()}
    return {"format": kind, "version": _VERSION, **named}


def _read(path: Path, kind: str, name: str) -> tuple[Tensor, Mapping[str, str]]:
    if not path.is_file():
        raise ConfigError(f"Reading {path}: expected a {kind} file, found none there.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata: Mapping[str, str] = file.metadata() or {}
            found = (metadata.get("format"), metadata.get("version"), [*file.keys()])
            if found != (kind, _VERSION, [name]):
                raise ConfigError(
                    f"Reading {path}: expected a {kind} of version {_VERSION}, got format "
                    f"{found[0]!r}, version {found[1]!r} with {found[2][:5]}. Make one with "
                    "vqkit codebook; a newer vqkit may read it."
                )
            return file.get_tensor(name), metadata
    except (SafetensorError, OSError) as error:
        raise ConfigError(
            f"Reading {path}: expected a {kind} (.safetensors), got a file that cannot be read as "
            f"one ({error}). Make it anew with vqkit codebook."
        ) from error
