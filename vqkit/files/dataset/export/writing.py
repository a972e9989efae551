"""Exporting a data set of tokens for a trainer of language models."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from vqkit.errors import ConfigError
from vqkit.files.dataset.export.folder import new_folder
from vqkit.files.dataset.export.order import ORDERS
from vqkit.files.dataset.export.sidecar import (
    EXPORT_FORMATS,
    SAMPLES_NAME,
    SIDECAR_NAME,
    Export,
    FileFacts,
)
from vqkit.files.dataset.header import MAIN_STREAM
from vqkit.files.dataset.manifest import Manifest
from vqkit.files.dataset.map_style import storage_of
from vqkit.files.dataset.reader import ShardReader
from vqkit.files.dataset.sample import Sample
from vqkit.files.storage import Storage

__all__ = ["export_dataset", "file_facts"]


def export_dataset(
    location: Storage | str | os.PathLike[str],
    target: str | os.PathLike[str],
    format: str,
    *,
    order: str = "raster",
    level_offsets: bool = False,
    separator: str = "none",
    stream: str = MAIN_STREAM,
    overwrite: bool = False,
    progress: Callable[[], None] = lambda: None,
) -> Export:
    """Write the tokens of a data set in the format of a trainer, one sequence for each sample.

    Samples without tokens are left out. What is in memory is one row group, and 4 bytes for each
    sample with Megatron; the folder appears whole or not at all. `read_export` turns it back.

    Args:
        location: Folder or URL of the data set.
        target: Folder to write, on a disk.
        format: One of `EXPORT_FORMATS`: "megatron", "datatrove", "litdata", "memmap",
            "webdataset".
        order: One of `ORDERS`: "raster", "time-major", "level-major", "delay".
        level_offsets: Give each codebook ids of its own.
        separator: Ids around each sample: "none", "end", "both".
        stream: Which stream; the others are left out.
        overwrite: Replace an export that exists.
        progress: Called after every shard.

    Raises:
        ConfigError: There is no such format, order, separator or stream, the vocabulary has too
            many ids for the format, or the target exists.
        StorageError: The data set cannot be read, or the target cannot be written.
        TokenFileError: The data set is damaged.
    """
    storage = storage_of(location)
    manifest = Manifest.read(storage)
    export = _plan(manifest, format, order, level_offsets, separator, stream)
    num_samples = num_ids = 0
    with new_folder(Path(target), SIDECAR_NAME, overwrite=overwrite) as folder:
        sink = EXPORT_FORMATS[format].open(folder, export.dtype, export.header.tokenizer)
        sequencing = export.sequencing
        with (folder / SAMPLES_NAME).open("wb") as listing:
            try:
                for sample in _samples(storage, manifest, progress):
                    assert sample.tokens is not None
                    grid = sample.tokens.streams[stream].indices[0].numpy()
                    ids = sequencing.ids(grid)
                    sink.add(ids.astype(export.dtype))
                    listing.write(_line(sample, grid.shape))
                    num_samples += 1
                    num_ids += len(ids)
            finally:
                sink.close()
        files = {path.name: file_facts(path) for path in sorted(folder.iterdir())}
        export = replace(export, num_samples=num_samples, num_ids=num_ids, files=files)
        (folder / SIDECAR_NAME).write_bytes(export.to_bytes())
    return export


def file_facts(path: Path) -> FileFacts:
    """Length and SHA-256 of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileFacts(path.stat().st_size, digest)


def _plan(
    manifest: Manifest,
    format: str,
    order: str,
    level_offsets: bool,
    separator: str,
    stream: str,
) -> Export:
    header = manifest.header
    for what, value, choices in (
        ("format", format, [*EXPORT_FORMATS]),
        ("order", order, [*ORDERS]),
        ("stream", stream, [*header.streams]),
    ):
        if value not in choices:
            raise ConfigError(f"Export {what}: expected one of {choices}, got {value!r}.")
    export = Export(
        format=format,
        header=replace(header, streams={stream: header.streams[stream]}),
        order=order,
        level_offsets=level_offsets,
        separator=separator,
    )
    # Refuses a vocabulary that is too large before anything is written.
    assert export.dtype.itemsize
    return export


def _samples(
    storage: Storage, manifest: Manifest, progress: Callable[[], None]
) -> Iterator[Sample]:
    """All samples that have tokens."""
    for shard in manifest.shards:
        name = storage.describe(shard.name)
        with ShardReader(storage.open(shard.name), name) as reader:
            yield from (sample for sample in reader if sample.tokens is not None)
        progress()


def _line(sample: Sample, shape: tuple[int, ...]) -> bytes:
    """What a sample is beside its tokens, as a line of JSON."""
    assert sample.tokens is not None
    content: dict[str, Any] = {
        "key": sample.key,
        "shape": list(shape),
        "media": dict(sample.tokens.media[0]),
        "label": sample.label,
        "source": sample.source,
        "source_sha256": sample.source_sha256,
    }
    return json.dumps(content).encode() + b"\n"
