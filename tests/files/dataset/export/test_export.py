"""Exports, by their own reader and by those of the trainers."""

import json
import shutil
import struct
import tracemalloc
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.files.dataset.samples import PHOTOS, SPEECH, same, write_dataset
from vqkit.errors import ConfigError, ShapeError, StorageError, TokenFileError, VqkitError
from vqkit.files.dataset import DatasetHeader, Sample, StreamLayout
from vqkit.files.dataset.export import (
    EXPORT_FORMATS,
    Export,
    export_dataset,
    litdata,
    read_export,
    webdataset,
)
from vqkit.files.storage import Storage

LEVELS = replace(PHOTOS, streams={"tokens": StreamLayout(("height", "width"), (512, 300, 1000))})
WIDE = replace(PHOTOS, streams={"tokens": StreamLayout(("height", "width"), (70_000, 300))})

CASES = [
    ("raster", False, "none"), ("time-major", True, "end"), ("level-major", True, "both"),
    ("delay", False, "both"),
]  # fmt: skip


def good(samples: list[Sample]) -> list[Sample]:
    return [sample for sample in samples if sample.tokens is not None]


def sequences(export: Export, samples: list[Sample]) -> list[list[int]]:
    return [
        export.sequencing.ids(s.tokens.streams[export.stream].indices[0].numpy()).tolist()
        for s in good(samples)
        if s.tokens is not None
    ]


@pytest.fixture
def location() -> Storage:
    storage = Storage.at("memory://exports")
    for name in storage.names():
        storage.remove(name)
    return storage


@pytest.mark.parametrize(
    ("format", "header"),
    [*((name, LEVELS) for name in EXPORT_FORMATS), ("megatron", WIDE), ("litdata", WIDE)],
    ids=lambda x: x if isinstance(x, str) else f"{len(x.streams['tokens'].codebook_sizes)} levels",
)
def test_every_export_gives_back_the_samples(
    location: Storage, tmp_path: Path, format: str, header: DatasetHeader,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(litdata, "_CHUNK_BYTES", 300)
    monkeypatch.setattr(webdataset, "_SAMPLES_PER_SHARD", 5)
    samples = good(write_dataset(location, header))
    for order, offsets, separator in CASES:
        target = tmp_path / order
        export = export_dataset(
            location, target, format, order=order, level_offsets=offsets, separator=separator
        )
        assert export.dtype.itemsize == (2 if header is LEVELS else 4)
        assert Export.read(target) == export
        read = list(read_export(target))
        assert len(read) == len(samples) == export.num_samples
        assert all(map(same, read, samples))


@pytest.mark.parametrize("stream", SPEECH.streams)
def test_one_stream_of_several(location: Storage, tmp_path: Path, stream: str) -> None:
    samples = good(write_dataset(location, SPEECH))
    if stream == "speaker":
        with pytest.raises(ConfigError, match="expected up to 4294967296 ids, got 1099511627776"):
            export_dataset(location, tmp_path / "e", "memmap", stream=stream)
        return
    export_dataset(location, tmp_path / "e", "memmap", stream=stream)
    for read, sample in zip(read_export(tmp_path / "e"), samples, strict=True):
        assert read.tokens is not None
        assert sample.tokens is not None
        assert [*read.tokens.streams] == [stream]
        assert read.tokens.streams[stream].same_as(sample.tokens.streams[stream])


def megatron(folder: Path) -> list[list[int]]:
    """By Megatron-Core's documented layout, independently."""
    with (folder / "tokens.idx").open("rb") as index:
        assert index.read(9) == b"MMIDIDX\x00\x00"
        (version,) = struct.unpack("<Q", index.read(8))
        assert version == 1
        (code,) = struct.unpack("<B", index.read(1))
        dtype = {1: np.uint8, 2: np.int8, 3: np.int16, 4: np.int32, 5: np.int64, 8: np.uint16}[code]
        (num_sequences,) = struct.unpack("<Q", index.read(8))
        (num_documents,) = struct.unpack("<Q", index.read(8))
        lengths = np.frombuffer(index.read(4 * num_sequences), np.int32)
        pointers = np.frombuffer(index.read(8 * num_sequences), np.int64)
        documents = np.frombuffer(index.read(8 * num_documents), np.int64)
        assert index.read() == b""
    assert documents.tolist() == [*range(num_sequences + 1)]
    data = (folder / "tokens.bin").read_bytes()
    return [
        np.frombuffer(data, dtype, length, pointer).tolist()
        for length, pointer in zip(lengths, pointers, strict=True)
    ]


def datatrove(folder: Path) -> list[list[int]]:
    """As nanotron's data sets read them."""
    name, count, _ = (folder / "tokens.ds.metadata").read_text().split("\n")
    token_size = int(name.rsplit("|", 1)[1])
    ends = np.fromfile(folder / "tokens.ds.index", np.uint64).astype(int)
    ids = np.fromfile(folder / "tokens.ds", {2: np.uint16, 4: np.uint32}[token_size])
    assert len(ids) == int(count) == ends[-1]
    return [part.tolist() for part in np.split(ids, ends[:-1])]


def memmap(folder: Path) -> list[list[int]]:
    offsets = np.load(folder / "offsets.npy", allow_pickle=False)
    assert offsets.dtype == np.int64
    size = (folder / "tokens.bin").stat().st_size // offsets[-1]
    ids = np.memmap(folder / "tokens.bin", {2: np.uint16, 4: np.uint32}[size], "r")
    return [ids[a:b].tolist() for a, b in pairwise(offsets)]


def webdataset_reader(folder: Path) -> list[list[int]]:
    reader = pytest.importorskip("webdataset")
    urls = [str(path) for path in sorted(folder.glob("*.tar"))]
    found = list(reader.WebDataset(urls, shardshuffle=False, empty_check=False).decode())
    assert [item["json"]["number"] for item in found] == [*range(len(found))]
    return [item["npy"].tolist() for item in found]


READERS = {
    "megatron": megatron, "datatrove": datatrove, "memmap": memmap, "webdataset": webdataset_reader
}  # fmt: skip


# WebDataset leaves its files to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("format", READERS)
@pytest.mark.parametrize("header", [LEVELS, WIDE], ids=["16 bits", "32 bits"])
def test_other_readers(
    location: Storage, tmp_path: Path, format: str, header: DatasetHeader
) -> None:
    samples = write_dataset(location, header)
    export = export_dataset(location, tmp_path / "e", format, order="delay", separator="end")
    assert READERS[format](tmp_path / "e") == sequences(export, samples)


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
@pytest.mark.parametrize("header", [LEVELS, WIDE], ids=["16 bits", "32 bits"])
def test_litdata_itself(
    location: Storage, tmp_path: Path, header: DatasetHeader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks of each chunk, whatever the samples: here as long as samples are."""
    reader = pytest.importorskip("litdata")
    monkeypatch.setattr(litdata, "_CHUNK_BYTES", 200)
    monkeypatch.setenv("LITDATA_CACHE_DIR", str(tmp_path / "cache"))
    samples = write_dataset(location, header, tokens=(2, 3))
    export = export_dataset(location, tmp_path / "e", "litdata", separator="both")
    expected = sequences(export, samples)
    loader = reader.TokensLoader(block_size=len(expected[0]))
    dataset = reader.StreamingDataset(str(tmp_path / "e"), item_loader=loader, shuffle=False)
    assert [np.asarray(dataset[i]).tolist() for i in range(len(dataset))] == expected


def test_small_vocabularies_are_those_of_megatron(location: Storage, tmp_path: Path) -> None:
    for size, dtype in ((65_499, "uint16"), (65_500, "int32")):
        header = replace(PHOTOS, streams={"tokens": StreamLayout(("height", "width"), (size,))})
        write_dataset(location, header)
        assert export_dataset(location, tmp_path / dtype, "megatron").dtype == np.dtype(dtype)
    huge = replace(PHOTOS, streams={"tokens": StreamLayout(("height", "width"), ((1 << 31) + 1,))})
    write_dataset(location, huge)
    with pytest.raises(ConfigError, match="Megatron: expected up to 2147483648 ids"):
        export_dataset(location, tmp_path / "huge", "megatron")


def test_tokens_that_a_model_wrote(location: Storage, tmp_path: Path) -> None:
    samples = good(write_dataset(location, LEVELS, tokens=(2, 3)))
    export = export_dataset(
        location, tmp_path / "e", "memmap", level_offsets=True, separator="both"
    )
    tokens = samples[0].tokens
    assert tokens is not None
    ids = torch.tensor(sequences(export, samples)[0])
    assert export.tokens(ids, (2, 3), tokens.media[0]).same_as(tokens)
    assert export.tokens(ids[1:-1], (2, 3), tokens.media[0]).same_as(tokens)
    with pytest.raises(ShapeError, match="Cannot turn ids into tokens: expected ids of 512 codes"):
        export.tokens(ids[1:-1].flip(0), (2, 3), tokens.media[0])


@pytest.mark.parametrize("format", EXPORT_FORMATS)
def test_a_data_set_of_nothing(location: Storage, tmp_path: Path, format: str) -> None:
    write_dataset(location, sizes=(0,))
    export_dataset(location, tmp_path / "e", format)
    assert list(read_export(tmp_path / "e")) == []


def test_refuses_what_there_is_not(location: Storage, tmp_path: Path) -> None:
    write_dataset(location)
    for words, match in (
        ({"format": "other"}, "Export format: expected one of"),
        ({"order": "other"}, "Export order"),
        ({"stream": "other"}, "Export stream: expected one of"),
        ({"separator": "other"}, "Separator: expected one of none, end, both"),
    ):
        settings: dict[str, Any] = {"format": "memmap", **words}
        with pytest.raises(ConfigError, match=match):
            export_dataset(location, tmp_path / "e", **settings)
    assert not (tmp_path / "e").exists()


def test_overwrites_exports_alone_and_when_told(location: Storage, tmp_path: Path) -> None:
    write_dataset(location)
    target = tmp_path / "e"
    export_dataset(location, target, "memmap")
    with pytest.raises(ConfigError, match=r"it exists.*overwrite=True \(-f on"):
        export_dataset(location, target, "megatron")
    export_dataset(location, target, "megatron", overwrite=True)
    assert Export.read(target).format == "megatron"
    assert not (target / "offsets.npy").exists()
    (tmp_path / "photos").mkdir()
    with pytest.raises(ConfigError, match=r"photos: it exists and holds no export.json\. Choose"):
        export_dataset(location, tmp_path / "photos", "memmap", overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["e", "photos"]


def test_what_fails_leaves_nothing(location: Storage, tmp_path: Path) -> None:
    write_dataset(location)
    data = bytearray(location.read("part-00002-of-00003.parquet"))
    data[200] ^= 1
    location.write("part-00002-of-00003.parquet", bytes(data))
    for format in EXPORT_FORMATS:
        with pytest.raises(TokenFileError):
            export_dataset(location, tmp_path / "e", format)
    assert list(tmp_path.iterdir()) == []
    write_dataset(location)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="Cannot write"):
        export_dataset(location, tmp_path / "file" / "e", "memmap")


def test_memory_does_not_grow_with_the_data_set(location: Storage, tmp_path: Path) -> None:
    peaks = []
    for count in (1, 4):
        write_dataset(location, sizes=(20,) * count, tokens=(64, 64), rows_per_group=10)
        tracemalloc.start()
        export_dataset(location, tmp_path / f"{count}", "memmap")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] + 100_000


def reseal(folder: Path, change: dict[str, Any]) -> None:
    """Change a field of the sidecar, with a checksum that fits."""
    from vqkit.files.dataset.document import dump_document

    content = json.loads((folder / "export.json").read_bytes())
    for name, value in change.items():
        content[name] = value
    (folder / "export.json").write_bytes(dump_document(content))


@pytest.mark.parametrize("format", EXPORT_FORMATS)
def test_damage_of_any_file_is_noticed(location: Storage, tmp_path: Path, format: str) -> None:
    write_dataset(location, LEVELS, tokens=(2, 2))
    whole = tmp_path / "whole"
    export_dataset(location, whole, format)
    names = sorted(path.name for path in whole.iterdir())
    for name in names:
        data = (whole / name).read_bytes()
        for damaged in (data[:-1], data + b"\0", data[:-9] + b"x" + data[-8:], None):
            folder = tmp_path / "damaged"
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(whole, folder)
            (folder / name).unlink()
            if damaged is not None:
                (folder / name).write_bytes(damaged)
            with pytest.raises(TokenFileError, match="Cannot read"):
                list(read_export(folder))


@pytest.mark.parametrize(
    "change",
    [
        {"order": "other"}, {"order": "delay"}, {"separator": "both"}, {"level_offsets": True},
        {"layout": "megatron"}, {"layout": 3}, {"offsets": [1]}, {"vocabulary_size": 3},
        {"dtype": "uint32"}, {"special_ids": {"end": 3}}, {"num_samples": 3}, {"num_ids": 3},
        {"files": []}, {"files": {"../x": {}}}, {"files": {"a": {"size_bytes": 1}}}, {"extra": 1},
        {"header": {}}, {"format_version": 2}, {"level_offsets": 1},
    ],
    ids=str,
)  # fmt: skip
def test_every_field_of_the_sidecar_is_checked(
    location: Storage, tmp_path: Path, change: dict[str, Any]
) -> None:
    write_dataset(location, LEVELS)
    export_dataset(location, tmp_path / "e", "memmap")
    reseal(tmp_path / "e", change)
    with pytest.raises(TokenFileError, match=r"Cannot read .*: (expected|No such)"):
        list(read_export(tmp_path / "e", check=False))


@pytest.mark.parametrize(
    "line",
    [
        b"{}", b"[]", b'{"key":"a","key":"b"}',
        b'{"key":"a","shape":[1,1],"media":{},"label":null,"source":"","source_sha256":""}',
        b'{"key":"a","shape":[1,1,3],"media":{},"label":1.5,"source":"","source_sha256":""}',
        b'{"key":"","shape":[1,1,3],"media":{},"label":1,"source":"","source_sha256":""}',
        b'{"key":"a","shape":[1,1,3],"media":{"A":1},"label":1,"source":"","source_sha256":""}',
        b'{"key":"a","shape":[99999999,99999999,3],"media":{},"label":1,"source":"",'
        b'"source_sha256":""}',
        b'{"key":"a","shape":[1,1,3],"media":{},"label":1,"source":3,"source_sha256":""}',
    ],
)  # fmt: skip
def test_lines_of_samples_are_checked(location: Storage, tmp_path: Path, line: bytes) -> None:
    write_dataset(location, LEVELS, sizes=(1,), tokens=(1, 1))
    export_dataset(location, tmp_path / "e", "memmap")
    (tmp_path / "e" / "samples.jsonl").write_bytes(line + b"\n")
    reseal(tmp_path / "e", {"files": {}})
    with pytest.raises(VqkitError, match="Cannot read"):
        list(read_export(tmp_path / "e"))
