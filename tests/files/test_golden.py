"""Files of format version 1 that every later vqkit must read, and write byte for byte.

``VQKIT_REGENERATE_GOLDEN=1 pytest tests/files/test_golden.py`` writes them anew: only for a sample
that is added, never for one that has been released.
"""

import os
from pathlib import Path

import pytest

from tests.files.coded_samples import CODED_SAMPLES, TABLES, counts_by_digest
from tests.files.samples import SAMPLES
from tests.files.specification import read_vqt, says_the_same
from vqkit.files import dumps, loads, read_info, verify

FOLDER = Path(__file__).resolve().parents[1] / "golden" / "token_files"


@pytest.mark.parametrize("name", SAMPLES)
def test_golden_file(name: str) -> None:
    tokens, chunk_rows = SAMPLES[name]
    path = FOLDER / f"v1_{name}.vqt"
    written = dumps(tokens, chunk_rows=chunk_rows)
    if os.environ.get("VQKIT_REGENERATE_GOLDEN") == "1":
        path.write_bytes(written)
    golden = path.read_bytes()
    assert loads(golden).same_as(tokens)
    assert says_the_same(golden, tokens)
    assert verify(path).size_bytes == len(golden)
    assert written == golden


@pytest.mark.parametrize("name", CODED_SAMPLES)
def test_golden_file_coded_with_more(name: str) -> None:
    sample = CODED_SAMPLES[name]
    path = FOLDER / f"v1_{name}.vqt"
    if os.environ.get("VQKIT_REGENERATE_GOLDEN") == "1":
        path.write_bytes(sample.data)
    golden = path.read_bytes()
    assert loads(golden, resources=sample.resources).same_as(sample.tokens)
    assert verify(path, resources=sample.resources) == read_info(golden)
    assert sample.data == golden
    if name != "learned":  # the page says what a prior is, and knows none
        symbols = read_vqt(golden, counts_by_digest(TABLES))[1]
        assert symbols == {"tokens": sample.tokens.indices.flatten().tolist()}


def test_every_golden_file_is_tested() -> None:
    names = [*SAMPLES, *CODED_SAMPLES]
    assert {path.name for path in FOLDER.iterdir()} == {f"v1_{name}.vqt" for name in names}


def test_every_coding_mode_has_a_golden_file() -> None:
    infos = [stream for path in FOLDER.iterdir() for stream in read_info(path).streams]
    assert {mode for stream in infos for mode in stream.modes} == {0, 1, 2, 3, 4, 5, 7}
    assert any(stream.table_bytes for stream in infos)
    assert any(stream.has_unknown for stream in infos)
