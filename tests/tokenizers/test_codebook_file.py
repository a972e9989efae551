"""Codebook files: what is written is read, and nothing else is."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save
from torch import Tensor

from vqkit.errors import ConfigError, ShapeError, TokenFileError
from vqkit.files import write_codebook, write_index_map
from vqkit.quantizers import FromTable, IndexMap, ProjectedVQ, VectorQuantizer
from vqkit.tokenizers import CodebookFile, build, describe, read_codebook, read_index_map
from vqkit.tokenizers.codebook_file import dump_codebook, dump_index_map

GOOD = {"format": "vqkit codebook", "version": "1", "size": "3", "dim": "2", "source": "a test"}


def test_round_trip(tmp_path: Path):
    path, codebook = tmp_path / "book.safetensors", torch.randn(20, 3)
    write_codebook(codebook, path, source="photos \N{SNOWMAN}")
    codes, info = read_codebook(path)
    assert torch.equal(codes, codebook)
    assert (info.size, info.dim, info.source) == (20, 3, "photos \N{SNOWMAN}")
    assert torch.equal(CodebookFile(str(path))(20, 3), codebook)
    with pytest.raises(TokenFileError, match="the file exists"):
        write_codebook(codebook + 1, path)
    assert torch.equal(read_codebook(path)[0], codebook)
    write_codebook(codebook.half(), path, overwrite=True)
    assert torch.equal(read_codebook(path)[0], codebook.half().float())
    assert [entry.name for entry in tmp_path.iterdir()] == ["book.safetensors"]


def test_index_map_round_trip(tmp_path: Path):
    path, index_map = tmp_path / "map.safetensors", IndexMap(torch.tensor([1, -1, 0]), 5)
    write_index_map(index_map, path, source="0" * 32)
    found, source = read_index_map(path)
    assert torch.equal(found.new_of_old, index_map.new_of_old)
    assert (found.new_size, source) == (5, "0" * 32)


@pytest.mark.parametrize(
    "codebook",
    [torch.zeros(3), torch.zeros(0, 3), torch.tensor([[torch.nan]]), torch.tensor([[torch.inf]])],
)
@pytest.mark.usefixtures("unchecked_shapes")
def test_what_is_no_codebook_is_not_written(codebook: Tensor):
    with pytest.raises(ShapeError, match="expected finite values"):
        dump_codebook(codebook)


@pytest.mark.parametrize(
    ("tensors", "metadata"),
    [
        ({"codebook": torch.zeros(3, 2)}, None),
        ({"codebook": torch.zeros(3, 2)}, {}),
        ({"codebook": torch.zeros(3, 2)}, {**GOOD, "format": "pt"}),
        ({"codebook": torch.zeros(3, 2)}, {**GOOD, "version": "2"}),
        ({"codebook": torch.zeros(3, 2)}, {**GOOD, "size": "4"}),
        ({"codebook": torch.zeros(3, 2)}, {k: v for k, v in GOOD.items() if k != "dim"}),
        ({"codebook": torch.zeros(3, 2, dtype=torch.int64)}, GOOD),
        ({"codebook": torch.zeros(3, 2).double()}, GOOD),
        ({"codebook": torch.zeros(6)}, GOOD),
        ({"codebook": torch.zeros(0, 2)}, {**GOOD, "size": "0"}),
        ({"codebook": torch.full((3, 2), torch.nan)}, GOOD),
        ({"codebook": torch.full((3, 2), torch.inf)}, GOOD),
        ({"codes": torch.zeros(3, 2)}, GOOD),
        ({"codebook": torch.zeros(3, 2), "more": torch.zeros(1)}, GOOD),
        ({}, GOOD),
    ],
)
def test_files_of_another_kind_are_refused(tensors, metadata, tmp_path: Path):
    path = tmp_path / "book.safetensors"
    path.write_bytes(save(tensors, metadata))
    with pytest.raises(ConfigError, match=r"expected .* got"):
        read_codebook(path)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not safetensors at all",
        b"\xff" * 8 + b"{}",
        (1 << 40).to_bytes(8, "little") + b"{}",
        dump_codebook(torch.zeros(3, 2))[:-1],
        dump_codebook(torch.zeros(3, 2))[:40],
        dump_codebook(torch.zeros(3, 2)) + b"x",
    ],
    ids=["empty", "text", "long header", "huge header", "cut", "cut early", "longer"],
)
def test_damaged_files_are_refused(data: bytes, tmp_path: Path):
    path = tmp_path / "book.safetensors"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match="cannot be read as one"):
        read_codebook(path)


def test_what_is_no_file_is_refused(tmp_path: Path):
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ConfigError, match="found none there"):
            read_codebook(path)
        with pytest.raises(ConfigError, match="found none there"):
            read_index_map(path)


@pytest.mark.parametrize(
    ("table", "size"),
    [([[0]], "1"), ([0], "-1"), ([0], "x"), ([5], "2"), ([-2], "2")],
)
def test_hostile_index_maps_are_refused(table: list, size: str, tmp_path: Path):
    path = tmp_path / "map.safetensors"
    metadata = {"format": "vqkit index map", "version": "1", "new_size": size}
    path.write_bytes(save({"new_of_old": torch.tensor(table)}, metadata))
    with pytest.raises(ConfigError, match="expected"):
        read_index_map(path)
    path.write_bytes(dump_codebook(torch.zeros(1, 1)))
    with pytest.raises(ConfigError, match="expected a vqkit index map"):
        read_index_map(path)
    assert dump_index_map(IndexMap(torch.tensor([0]), 1))[8:9] == b"{"


def test_a_configuration_names_the_file(tmp_path: Path):
    path, codes = tmp_path / "book.safetensors", torch.randn(8, 4)
    write_codebook(codes, path)
    quantizer = VectorQuantizer(4, 8, init=FromTable(CodebookFile(str(path))))
    config = json.loads(json.dumps(describe(quantizer)))
    again = build(config)
    assert again.init == quantizer.init
    path.unlink()
    build(config)  # a trained model is loaded without it
    write_codebook(codes, path)
    again(codes[None])
    torch.testing.assert_close(again.codebook, codes)


def test_a_projected_codebook_reads_the_file_once(tmp_path: Path):
    path, codes = tmp_path / "book.safetensors", torch.randn(8, 4)
    write_codebook(codes, path)
    quantizer = ProjectedVQ(2, 8, 4, table=CodebookFile(str(path)))
    assert torch.equal(quantizer.features, codes)
    with pytest.raises(ConfigError, match="expected 9 codes of 4 features"):
        ProjectedVQ(2, 9, 4, table=CodebookFile(str(path)))
