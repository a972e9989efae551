"""``vqkit codebook``: changes a codebook file or the codebook of a model."""

import argparse
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqkit.cli.console import Console, printable
from vqkit.cli.models import ModelLoader, resolve
from vqkit.cli.sources import Source, expand, find_token_files
from vqkit.cli.targets import Target
from vqkit.cli.tokens import read_token_file
from vqkit.cli.usage import UsageError
from vqkit.errors import ModelMismatchError, VqkitError
from vqkit.files import write_codebook, write_index_map, write_tokens
from vqkit.quantizers import (
    NO_TOKEN,
    IndexMap,
    export_codebook,
    grow,
    merge_twins,
    neighbour_distance,
    order_by_similarity,
    prune,
    reindex_to_used,
    shrink,
)
from vqkit.tokenizers import (
    Tokenizer,
    Tokens,
    codebook_of,
    map_tokens,
    read_codebook,
    read_index_map,
    with_codebook,
)

__all__ = ["describe", "edit", "export", "remap"]

_MAP_SUFFIX = ".map.safetensors"
_MAP_FILE = "index_map.safetensors"


@dataclass(frozen=True)
class _Book:
    """A codebook and where it is from; ``tokenizer`` is None for a file."""

    codes: Tensor
    source: str
    tokenizer: Tokenizer | None = None


def edit(
    action: str, source: str, arguments: argparse.Namespace, console: Console
) -> dict[str, Any]:
    """Write the changed codebook or model with its index map; give the facts."""
    output = Path(arguments.output)
    Target(output, arguments.force).refuse_existing()
    book = _read(source, arguments, console)
    if book.tokenizer is None:
        Target(_map_path(output), arguments.force).refuse_existing()
    if os.path.realpath(source) == os.path.realpath(output):
        raise UsageError(f"{str(output)!r} is the source: it will not be written over.")
    counts = None
    if arguments.tokens is not None:
        counts = _count(_token_sources(arguments), book, console)
    facts: dict[str, Any] = {"old_size": len(book.codes)}
    if action == "order":
        facts["distance_before"] = neighbour_distance(book.codes)
    codes, index_map = _change(action, book, counts, arguments)
    facts |= {"size": len(codes), "dim": codes.shape[1]}
    if action == "order":
        facts["distance_after"] = neighbour_distance(codes)
    if action in ("shrink", "prune", "merge"):
        moved = codes.float()[index_map.new_of_old] - book.codes.float()
        facts["mean_distance_moved"] = float(moved.norm(dim=1).mean())
    if counts is not None:
        facts["num_tokens"] = int(counts.sum())
        facts["num_tokens_lost"] = int(counts[index_map.new_of_old.cpu() < 0].sum())
    if book.tokenizer is None:
        described = f"{action} of {book.source or Path(source).name}"
        write_codebook(codes, output, source=described, overwrite=arguments.force)
        write_index_map(index_map, _map_path(output), source=book.source, overwrite=arguments.force)
    else:
        changed = with_codebook(book.tokenizer, codes, index_map, trusted=arguments.trust)
        _write_model(changed, index_map, book.tokenizer.fingerprint, output)
    return facts


def export(source: str, arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Write the table of a model's decoded codes."""
    output = Path(arguments.output)
    Target(output, arguments.force).refuse_existing()
    tokenizer = _load(source, arguments, console)
    number = arguments.codebook or 0
    table = export_codebook(tokenizer.quantizer, codebook=number)
    described = f"codebook {number} of {tokenizer.name} ({tokenizer.fingerprint})"
    write_codebook(table, output, source=described, overwrite=arguments.force)
    return {"size": len(table), "dim": table.shape[1]}


def describe(source: str, arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    """What a codebook is."""
    book = _read(source, arguments, console)
    codes = book.codes.double()
    length = codes.norm(dim=1)
    return {
        "kind": "codebook file" if book.tokenizer is None else "model",
        "size": len(codes),
        "dim": codes.shape[1],
        "made_of": book.source,
        "num_distinct": len(codes.unique(dim=0)),
        "mean": float(codes.mean()),
        "standard_deviation": float(codes.std(correction=0)),
        "least_length": float(length.min()),
        "greatest_length": float(length.max()),
        "neighbour_distance": neighbour_distance(codes),
    }


def remap(source: str, arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Write token files of the model before as token files of the model with the new codebook."""
    tokenizer = _load(source, arguments, console)
    index_map, old = read_index_map(Path(resolve(source)) / _MAP_FILE)
    sources = _token_sources(arguments)
    targets = [
        Target(Path(arguments.output) / item.relative, arguments.force, make_folder=True)
        for item in sources
    ]
    if len({target.name for target in targets}) != len(targets):
        raise UsageError("Token files: expected different names below the output, got one twice.")
    for target in targets:
        target.refuse_existing()
    num_tokens = 0
    for (item, tokens), target in zip(_read_tokens(sources), targets, strict=True):
        mapped = map_tokens(tokens, index_map, old, tokenizer)
        write_tokens(mapped, target.open(), overwrite=target.force)
        num_tokens += mapped.num_tokens
        console.detail(f"{printable(item.name)} -> {printable(target.name)}")
    return {"num_files": len(targets), "num_tokens": num_tokens}


def _change(
    action: str, book: _Book, counts: Tensor | None, arguments: argparse.Namespace
) -> tuple[Tensor, IndexMap]:
    if action == "shrink":
        return shrink(book.codes, arguments.size, counts)
    if action == "grow":
        return grow(book.codes, arguments.size, counts)
    if action == "merge":
        return merge_twins(book.codes, arguments.tolerance, counts)
    if action == "order":
        return order_by_similarity(book.codes)
    assert counts is not None
    if action == "prune":
        return prune(book.codes, counts, arguments.minimum or 1)
    index_map = reindex_to_used(counts)
    return book.codes[index_map.inverse().new_of_old], index_map


def _read(source: str, arguments: argparse.Namespace, console: Console) -> _Book:
    if Path(source).is_file():
        codes, info = read_codebook(source)
        return _Book(codes, info.source)
    tokenizer = _load(source, arguments, console)
    return _Book(codebook_of(tokenizer).codebook.detach().cpu(), tokenizer.name, tokenizer)


def _load(source: str, arguments: argparse.Namespace, console: Console) -> Tokenizer:
    settings = argparse.Namespace(**{**vars(arguments), "model": source})
    return ModelLoader(settings, console).named().cpu()


def _token_sources(arguments: argparse.Namespace) -> list[Source]:
    sources = expand(arguments.tokens, find_token_files, recursive=True, what="token files")
    for item in sources:
        if item.problem:
            raise VqkitError(item.problem)
    return sources


def _read_tokens(sources: list[Source]) -> Iterator[tuple[Source, Tokens]]:
    for item in sources:
        yield item, read_token_file(item)[0]


def _count(sources: list[Source], book: _Book, console: Console) -> Tensor:
    """How often the tokens use each code."""
    counts = torch.zeros(len(book.codes), dtype=torch.int64)
    for item, tokens in _read_tokens(sources):
        if tokens.codebook_sizes != (len(counts),) or (
            book.tokenizer is not None and tokens.fingerprint != book.tokenizer.fingerprint
        ):
            raise ModelMismatchError(
                f"Counting codes in {item.name!r}: expected tokens of {book.source!r} with "
                f"{len(counts)} codes, got tokens of {tokens.tokenizer!r} with codebooks "
                f"{list(tokens.codebook_sizes)}."
            )
        for index in range(len(tokens)):
            rows = tokens.item(index).indices.flatten()
            counts += rows[rows != NO_TOKEN].bincount(minlength=len(counts))
        console.detail(f"{printable(item.name)}: {tokens.num_tokens:,} tokens")
    return counts


def _map_path(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(".safetensors") + _MAP_SUFFIX)


def _write_model(tokenizer: Tokenizer, index_map: IndexMap, old: str, output: Path) -> None:
    """A new model folder, all of it or nothing; in an old one the files of a model are replaced."""
    if output.exists() and not output.is_dir():
        raise UsageError(f"-o {output}: expected a folder for the model, got a file.")
    if output.is_dir():
        write_index_map(index_map, output / _MAP_FILE, source=old, overwrite=True)
        tokenizer.save_pretrained(output)
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = output.with_name(f".vqkit-{secrets.token_hex(8)}.tmp")
    try:
        tokenizer.save_pretrained(temporary)
        write_index_map(index_map, temporary / _MAP_FILE, source=old)
        temporary.replace(output)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
