"""Shards: what is written is read, and what no writer writes is refused."""

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.files.dataset.samples import (
    PHOTOS,
    SPEECH,
    in_order,
    random_samples,
    random_tokens,
    same,
    write_shard,
)
from vqkit.errors import ConfigError, ModelMismatchError, ShapeError
from vqkit.files.dataset import (
    DatasetHeader,
    Sample,
    ShardReader,
    ShardWriter,
    StreamLayout,
    read_shard,
)
from vqkit.files.storage import Storage
from vqkit.tokenizers import TokenizerSpec


def read_all(data: bytes) -> list[Sample]:
    with ShardReader(io.BytesIO(data), "the shard") as reader:
        return list(reader)


@pytest.mark.parametrize("header", [PHOTOS, SPEECH], ids=["photos", "speech"])
def test_gives_back_every_sample(header: DatasetHeader) -> None:
    samples = random_samples(header, 30)
    data, record = write_shard(header, samples, 3, 10, rows_per_group=4)
    read = read_all(data)
    assert len(read) == 30
    assert all(map(same, read, in_order(samples)))
    assert record.name == "part-00003-of-00010.parquet"
    assert record.num_rows == 30
    assert record.num_samples == 26
    assert record.row_groups == (4, 4, 4, 4, 4, 4, 2, 0)
    assert record.failed == tuple((s.key, s.error) for s in samples if s.error)
    assert record.num_tokens == sum(s.tokens.num_tokens for s in samples if s.tokens is not None)
    assert record.size_bytes == len(data)


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_round_trips_of_anything(data: st.DataObject) -> None:
    """Any streams, codebooks of 1 to 2^63 codes, any grids, empty ones too."""
    sizes = st.integers(0, 63).map(lambda bits: 1 << bits) | st.integers(1, 70_000)
    layouts = st.tuples(
        st.lists(st.sampled_from(["time", "height", "width"]), max_size=3, unique=True),
        st.lists(sizes, min_size=1, max_size=4),
    )
    names = st.from_regex(r"\A[a-z][a-z0-9_.-]{0,6}\Z")
    streams = data.draw(st.dictionaries(names, layouts, min_size=1, max_size=3))
    header = replace(
        PHOTOS,
        streams={
            name: StreamLayout(tuple(axes), tuple(books)) for name, (axes, books) in streams.items()
        },
    )
    samples = random_samples(header, data.draw(st.integers(0, 20)), data.draw(st.integers(0, 99)))
    shard, record = write_shard(header, samples, rows_per_group=data.draw(st.integers(1, 9)))
    with ShardReader(io.BytesIO(shard), "the shard") as reader:
        assert reader.header.dataset == header
        assert all(map(same, list(reader), in_order(samples)))
    for name, layout in header.streams.items():
        for codebook in range(len(layout.codebook_sizes)):
            columns = [
                s.tokens.streams[name].indices[0, ..., codebook].flatten().numpy()
                for s in samples
                if s.tokens is not None
            ]
            expected = np.unique(
                np.concatenate([np.zeros(0, np.int64), *columns]), return_counts=True
            )
            histogram = record.histograms[name][codebook]
            assert histogram is not None
            assert histogram.indices.tolist() == expected[0].tolist()
            assert histogram.counts.tolist() == expected[1].tolist()


def test_is_the_parquet_that_is_described() -> None:
    """Checked with pyarrow alone."""
    samples = random_samples(PHOTOS, 10, tokens=(3, 4))
    file = pq.ParquetFile(
        io.BytesIO(write_shard(PHOTOS, samples)[0]), page_checksum_verification=True
    )
    columns = file.read().to_pydict()
    first = samples[0]
    assert first.tokens is not None
    assert columns["key"][0] == first.key
    assert columns["shape"][0] == [3, 4, 1]
    assert columns["codes"][0] == first.tokens.indices.flatten().tolist()
    assert [columns["media_height"][0], columns["media_width"][0]] == [
        *first.tokens.media[0].values()
    ]
    assert columns["codes"][-1] is columns["shape"][-1] is columns["media_height"][-1] is None
    assert columns["error"] == [None] * 9 + ["cannot identify image"]
    assert columns["label"] == [None, 3, None, -(1 << 63), None, 3, None, -(1 << 63), None, None]
    assert str(file.schema_arrow.field("codes").type) == "list<element: uint16>"
    chunk = file.metadata.row_group(0).column(1)
    assert chunk.path_in_schema == "codes.list.element"
    assert chunk.compression == "ZSTD"
    assert "RLE_DICTIONARY" in chunk.encodings
    assert file.metadata.metadata[b"vqkit"].startswith(b'{"checksum":"')


def test_row_groups_hold_256_samples_or_fewer_large_ones() -> None:
    small = random_samples(PHOTOS, 600, tokens=(1, 1))
    assert write_shard(PHOTOS, small)[1].row_groups == (256, 256, 3)
    large = [s for s in random_samples(PHOTOS, 4, tokens=(2000, 1000)) if s.tokens is not None]
    assert write_shard(PHOTOS, large)[1].row_groups == (2, 2)


def test_from_a_tokenizer() -> None:
    spec = TokenizerSpec("t", "image", 3, ("height", "width"), (8, 16), (512, 8), "a" * 32)
    header = DatasetHeader.of(
        spec, plan_id="p", precision="bfloat16", device="cuda", media=["height"]
    )
    assert header.streams == {"tokens": StreamLayout(("height", "width"), (512, 8))}
    assert header.streams["tokens"].nominal_bits == 12
    assert (header.media, header.strides, header.plan_id) == (("height",), (8, 16), "p")
    assert header.provenance.torch_version == torch.__version__
    fixed = replace(spec, latent_grid=(2, 2), num_positions=5)
    assert DatasetHeader.of(fixed, plan_id="p").streams["tokens"].axes == ("token",)


def refused(samples: list[Sample], error: type[Exception], match: str) -> None:
    writer = ShardWriter(PHOTOS, 0, 1)
    for sample in samples[:-1]:
        writer.add(sample)
    with pytest.raises(error, match=match):
        writer.add(samples[-1])
    # What was refused left nothing behind.
    assert len(read_all(writer.finish()[0])) == len(samples) - 1


def test_refuses_what_does_not_belong(unchecked_shapes: None) -> None:
    one = random_samples(PHOTOS, 1)[0]
    assert one.tokens is not None
    tokens = one.tokens
    refused([one, one], ShapeError, r"expected every key once, got 'folder/0000.png' again")
    refused(
        [Sample("k", replace(tokens, fingerprint="f" * 32))], ModelMismatchError, "expected its"
    )
    speech = random_tokens(replace(SPEECH, tokenizer="image/example"), np.random.default_rng(0))
    refused([Sample("k", speech)], ShapeError, "expected image with the streams")
    wide = replace(tokens, media=({"height": 1, "width": 2, "depth": 3},))
    refused([Sample("k", wide)], ShapeError, r"among \['height', 'width'\], got \['depth'\]")
    unknown = random_tokens(PHOTOS, np.random.default_rng(0), tokens=(2, 2))
    unknown.indices[0, 0, 0, 0] = -1
    refused([Sample("k", unknown)], ShapeError, r"expected known tokens, got unknown ones \(-1\)")


def test_samples_have_tokens_or_an_error() -> None:
    tokens = random_tokens(PHOTOS, np.random.default_rng(0))
    wrong: list[dict[str, Any]] = [
        {"key": "k"},
        {"key": "k", "tokens": tokens, "error": "e"},
        {"key": "", "error": "e"},
        {"key": "k", "error": "e" * 4097},
        {"key": "\udce4", "error": "e"},
        {"key": "k", "error": "e", "label": 1 << 63},
        {"key": "k", "tokens": type(tokens).stack([tokens, tokens])},
    ]
    for words in wrong:
        with pytest.raises(ShapeError, match=r"^Sample.*expected"):
            Sample(**words)


def test_too_many_tokens_in_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    from vqkit.files.dataset import writer

    monkeypatch.setattr(writer, "MAX_GROUP_TOKENS", 100)
    sample = Sample("k", random_tokens(PHOTOS, np.random.default_rng(0), tokens=(101, 1)))
    refused([sample], ShapeError, "expected up to 100 tokens, got 101")


@pytest.mark.parametrize("words", [(1, 1), (-1, 1), (0, 0), (0, 1 << 21), (0, 1, 0), (0, 1, 5000)])
def test_refuses_impossible_shards(words: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"^Shard: expected"):
        ShardWriter(PHOTOS, *words)


def test_reads_from_any_storage(bucket: str) -> None:
    samples = random_samples(SPEECH, 9)
    data, record = write_shard(SPEECH, samples)
    for storage in (Storage.at("memory://shards"), Storage.at(bucket)):
        storage.write(record.name, data)
        assert all(map(same, list(read_shard(storage, record.name)), in_order(samples)))
