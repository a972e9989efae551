"""Tokens and what codes them: tables, a prior, ranks, a stream of unknown length."""

import io
from dataclasses import dataclass

import numpy as np
import torch

from tests.files.fake_prior import RampPrior
from vqkit.files import (
    CodeCounts,
    CodingResources,
    FileHeader,
    StreamHeader,
    TableSet,
    TokenWriter,
    dumps,
)
from vqkit.tokenizers.tokens import Tokens, TokenStream


def skewed(seed: int, shape: tuple[int, int] = (20, 30)) -> Tokens:
    """Two levels, of whose codes some are frequent in every picture; no two neighbours equal."""
    random = np.random.Generator(np.random.PCG64(seed))
    parity = np.add.outer(np.arange(shape[0]), np.arange(shape[1])) % 2
    first = (random.random(shape) ** 4 * 200).astype(np.int64) * 2 + parity
    second = (random.random(shape) ** 2 * 100).astype(np.int64)
    levels = torch.from_numpy(np.stack([first, second], axis=-1))[None]
    return Tokens(
        {"tokens": TokenStream(levels, (400, 100), ("height", "width"))},
        ({"height": 8 * shape[0], "width": 8 * shape[1]},),
        "image",
        "image/example",
        "0" * 32,
    )


def counted(num_items: int = 50) -> TableSet:
    """Tables of other pictures than seeds below 1,000 make."""
    items = [skewed(1000 + seed).indices[0].reshape(-1, 2).numpy() for seed in range(num_items)]
    columns = np.concatenate(items).T
    return TableSet.from_counts(
        {
            "tokens": [
                CodeCounts(size, *np.unique(column, return_counts=True))
                for size, column in zip((400, 100), columns, strict=True)
            ]
        }
    )


TABLES = counted()
RESOURCES = CodingResources(tables=TABLES)


def counts_by_digest(tables: TableSet) -> dict[bytes, list[list[int]]]:
    """As the reader of the page takes them."""
    return {
        stream.digest: [table.counts.tolist() for table in stream.codebooks]
        for stream in tables.streams.values()
    }


def ramp() -> Tokens:
    """Indices that go up by one but for a few, in two levels: cheap for the prior alone."""
    level = np.arange(600) * 1 % 500
    level[100] = 7
    indices = torch.from_numpy(np.stack([level, (level + 3) % 300], axis=-1)).reshape(1, 20, 30, 2)
    levels = TokenStream(indices, (500, 300), ("height", "width"))
    media = {"height": 160, "width": 240}
    return Tokens({"tokens": levels}, (media,), "image", "image/example", "0" * 32)


def smooth() -> Tokens:
    """Areas of the codes that the tables expect."""
    tokens = skewed(0)
    wide = tokens.indices.repeat_interleave(2, dim=1).repeat_interleave(3, dim=2)
    stream = TokenStream(wide, (400, 100), ("height", "width"))
    return Tokens({"tokens": stream}, tokens.media, "image", "image/example", "0" * 32)


def many() -> Tokens:
    """Enough tokens for ranks, in two levels, of which some are not known."""
    random = np.random.Generator(np.random.PCG64(3))
    grid = (96, 100)
    columns = [(random.random(grid) ** 3 * size).astype(np.int64) for size in (40, 9)]
    indices = np.stack(columns, axis=-1)
    indices[90:, 50:] = -1
    stream = TokenStream(torch.from_numpy(indices)[None], (40, 9), ("time", "band"))
    media = {"samples": 30_720, "sample_rate_hz": 16_000}
    return Tokens({"tokens": stream}, (media,), "audio", "audio/example", "0" * 32)


def streamed() -> bytes:
    """A file written without knowing how long it would be."""
    tokens = many()
    target = io.BytesIO()
    stream = StreamHeader("tokens", ("time", "band"), (0, 100), (40, 9), is_open=True)
    sizes = {"samples": None, "sample_rate_hz": 16_000}
    header = FileHeader("audio", sizes, tokens.tokenizer, tokens.fingerprint, (stream,))
    with TokenWriter(target, header, chunk_rows=40) as writer:
        writer.append(tokens.indices[0])
        writer.close({"samples": 30_720})
    return target.getvalue()


@dataclass(frozen=True)
class CodedSample:
    """Tokens, a file of them, and what is needed to read it."""

    tokens: Tokens
    data: bytes
    resources: CodingResources | None = None


PRIOR = CodingResources(prior=RampPrior())
SPREAD = skewed(1, (100, 30))

CODED_SAMPLES = {
    "table": CodedSample(skewed(0), dumps(skewed(0), resources=RESOURCES), RESOURCES),
    "table_neighbours": CodedSample(smooth(), dumps(smooth(), resources=RESOURCES), RESOURCES),
    "own_table": CodedSample(SPREAD, dumps(SPREAD, chunk_rows=4)),
    "learned": CodedSample(ramp(), dumps(ramp(), resources=PRIOR), PRIOR),
    "archive": CodedSample(many(), dumps(many(), coder="archive")),
    "streamed": CodedSample(many(), streamed()),
}
