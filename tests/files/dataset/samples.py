"""Data sets that the tests of data sets share."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from vqkit.files.dataset import (
    DatasetHeader,
    Manifest,
    Provenance,
    Sample,
    ShardRecord,
    ShardWriter,
    StreamLayout,
    record_name,
)
from vqkit.files.storage import Storage
from vqkit.tokenizers.tokens import Tokens, TokenStream

FINGERPRINT = "0123456789abcdef" * 2

PHOTOS = DatasetHeader(
    modality="image",
    tokenizer="image/example",
    fingerprint=FINGERPRINT,
    streams={"tokens": StreamLayout(("height", "width"), (512,))},
    media=("height", "width"),
    strides=(8, 8),
    provenance=Provenance(
        plan_id="plan-1",
        preprocessing={"alpha": "white", "scale": 0.5, "crop": 256, "flip": False},
        vqkit_version="0.1.0",
        torch_version="2.11.0",
    ),
)

SPEECH = replace(
    PHOTOS,
    modality="audio",
    tokenizer="audio/beispiel-ä",
    streams={
        "tokens": StreamLayout(("time",), (1024, 1024, 70_000, 1)),
        "gain": StreamLayout(("time",), (64,)),
        "speaker": StreamLayout((), (1 << 40,)),
    },
    media=("samples", "sample_rate_hz"),
    strides=(320,),
    rates={"sample_rate_hz": 24_000.0, "frame_rate_hz": 37.5},
    special_ids={"padding": 1024},
)


def random_tokens(header: DatasetHeader, random: np.random.Generator, **grids: Any) -> Tokens:
    """One item with random indices; grids by stream, of random sizes where none is given."""
    streams = {}
    for name, layout in header.streams.items():
        grid = grids.get(name, tuple(random.integers(0, 6, len(layout.axes))))
        columns = [random.integers(0, size, grid, dtype=np.int64) for size in layout.codebook_sizes]
        indices = torch.from_numpy(np.stack(columns, axis=-1))[None]
        streams[name] = TokenStream(indices, layout.codebook_sizes, layout.axes)
    media = {name: int(random.integers(0, 1000)) for name in header.media}
    return Tokens(streams, (media,), header.modality, header.tokenizer, header.fingerprint)


def random_samples(
    header: DatasetHeader, count: int, seed: int = 0, start: int = 0, **grids: Any
) -> list[Sample]:
    """Samples of which every seventh failed."""
    random = np.random.Generator(np.random.PCG64(seed))
    labels = [None, 3, "cat", -(1 << 63), "größe"]
    return [
        Sample(
            key=f"folder/{i:04d}.png",
            tokens=None if i % 7 == 5 else random_tokens(header, random, **grids),
            source=f"file:///photos/{i}.png" if i % 2 else "",
            source_sha256=f"{i:064x}" if i % 3 else "",
            label=labels[i % 5],
            error="cannot identify image" if i % 7 == 5 else "",
        )
        for i in range(start, start + count)
    ]


def write_shard(
    header: DatasetHeader, samples: list[Sample], number: int = 0, num_shards: int = 1, **words: Any
) -> tuple[bytes, ShardRecord]:
    writer = ShardWriter(header, number, num_shards, **words)
    for sample in samples:
        writer.add(sample)
    return writer.finish()


def write_dataset(
    storage: Storage,
    header: DatasetHeader = PHOTOS,
    sizes: tuple[int, ...] = (20, 0, 13),
    **words: Any,
) -> list[Sample]:
    """A finished data set with shards of these sizes; gives its samples as they stand there."""
    records, written, start = [], [], 0
    rows_per_group = words.pop("rows_per_group", 6)
    for number, size in enumerate(sizes):
        samples = random_samples(header, size, seed=number, start=start, **words)
        start += size
        data, record = write_shard(
            header, samples, number, len(sizes), rows_per_group=rows_per_group
        )
        storage.write(record.name, data)
        storage.write(record_name(record.name), record.to_bytes())
        records.append(record)
        written += in_order(samples)
    storage.write("manifest.json", Manifest.of(header, records).to_bytes())
    return written


def in_order(samples: list[Sample]) -> list[Sample]:
    """As a shard holds them: those that failed last."""
    return sorted(samples, key=lambda sample: sample.tokens is None)


def same(one: Sample, other: Sample) -> bool:
    facts = [(s.key, s.source, s.source_sha256, s.label, s.error) for s in (one, other)]
    if facts[0] != facts[1] or (one.tokens is None) != (other.tokens is None):
        return False
    return one.tokens is None or other.tokens is None or one.tokens.same_as(other.tokens)
