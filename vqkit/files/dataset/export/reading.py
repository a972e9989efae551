"""Turning an export back into the samples that it was made of."""

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch

from vqkit.errors import ShapeError, TokenFileError
from vqkit.files.dataset.document import MAX_COUNT, Fields, explained, parse_object, quoted
from vqkit.files.dataset.export.sidecar import EXPORT_FORMATS, SAMPLES_NAME, Export
from vqkit.files.dataset.export.writing import file_facts
from vqkit.files.dataset.sample import Sample
from vqkit.files.format_error import FormatError
from vqkit.files.limits import Limits

__all__ = ["read_export"]

_MAX_LINE_BYTES = 1 << 18


def read_export(
    path: str | os.PathLike[str], *, check: bool = True, limits: Limits | None = None
) -> Iterator[Sample]:
    """The samples of an export, with the stream that was exported.

    Args:
        path: The folder.
        check: Compare the hashes of all files first.
        limits: What a sample may ask for.

    Raises:
        TokenFileError: It is no export, or it is damaged.
    """
    folder = Path(path)
    export = Export.read(folder)
    with explained(str(folder)):
        try:
            _check_files(folder, export, check)
            yield from _samples(folder, export, limits or Limits())
        except OSError as error:
            raise TokenFileError(
                f"Cannot read {folder}: {error.strerror or error} ({error.filename}). "
                f"Fetch the export again."
            ) from error


@dataclass(frozen=True)
class _Listed:
    """A line of the list of samples."""

    key: str
    shape: tuple[int, ...]
    media: dict[str, int]
    label: int | str | None
    source: str
    source_sha256: str


def _check_files(folder: Path, export: Export, check: bool) -> None:
    for name, facts in export.files.items():
        size = (folder / name).stat().st_size
        if size != facts.size_bytes:
            raise FormatError(f"expected {facts.size_bytes} bytes in {name}, got {size}")
        if check and file_facts(folder / name) != facts:
            raise FormatError(f"expected {name} with SHA-256 {facts.sha256}, got another")


def _samples(folder: Path, export: Export, limits: Limits) -> Iterator[Sample]:
    sequencing = export.sequencing
    with (folder / SAMPLES_NAME).open("rb") as listing, (folder / SAMPLES_NAME).open("rb") as again:
        lengths = (sequencing.length(x.shape) for x in _listed(again, export, limits))
        sequences = EXPORT_FORMATS[export.format].read(folder, export.dtype, lengths)
        listed = _listed(listing, export, limits)
        num_ids = 0
        # Not just as many as the shorter has: each says at its end if something is left over.
        for line, ids in itertools.zip_longest(listed, sequences):
            num_ids += len(ids)
            try:
                tokens = export.tokens(
                    torch.from_numpy(ids.astype("int64")), line.shape[:-1], line.media
                )
                yield Sample(line.key, tokens, line.source, line.source_sha256, line.label)
            except ShapeError as error:
                raise FormatError(f"expected a sound sample, got: {error}") from None
        if num_ids != export.num_ids:
            raise FormatError(f"expected {export.num_ids} ids, got {num_ids}")


def _listed(file: BinaryIO, export: Export, limits: Limits) -> Iterator[_Listed]:
    """The lines of the list of samples, as many as the sidecar says."""
    rank, num_codebooks = len(export.layout.axes) + 1, len(export.layout.codebook_sizes)
    count = 0
    while line := file.readline(_MAX_LINE_BYTES):
        listed = _parse_line(line)
        if len(listed.shape) != rank or listed.shape[-1] != num_codebooks:
            raise FormatError(f"expected a grid of {rank - 1} axes, got {quoted(listed.shape)}")
        num_tokens = 1
        for size in listed.shape:
            num_tokens *= max(size, 1)
        limits.check("num_tokens", num_tokens, "tokens in a sample")
        count += 1
        yield listed
    if count != export.num_samples:
        raise FormatError(f"expected {export.num_samples} samples in {SAMPLES_NAME}, got {count}")


def _parse_line(line: bytes) -> _Listed:
    fields = parse_object(line, "a sample")
    media = Fields(fields.mapping("media", 16), "the media sizes")
    label = fields.take("label")
    if label is not None and type(label) not in (int, str):
        raise FormatError(f"expected a number or a text as label, got {quoted(label)}")
    texts = [fields.take(name) for name in ("key", "source", "source_sha256")]
    if not all(type(text) is str for text in texts):
        raise FormatError(f"expected texts as key and source of a sample, got {quoted(texts)}")
    listed = _Listed(
        key=texts[0],
        shape=fields.integers("shape", 8, highest=MAX_COUNT),
        media={name: media.integer(name) for name in media.names()},
        label=label,
        source=texts[1],
        source_sha256=texts[2],
    )
    fields.end()
    return listed
