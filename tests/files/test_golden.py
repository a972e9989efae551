"""Files of format version 1 that every later vqkit must read, and write byte for byte.

``VQKIT_REGENERATE_GOLDEN=1 pytest tests/files/test_golden.py`` writes them anew: only for a sample
that is added, never for one that has been released.
"""

import os
from pathlib import Path

import pytest

from tests.files.samples import SAMPLES
from tests.files.specification import says_the_same
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


def test_every_golden_file_is_tested() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {f"v1_{name}.vqt" for name in SAMPLES}


def test_every_coding_mode_has_a_golden_file() -> None:
    modes = {mode for path in FOLDER.iterdir() for s in read_info(path).streams for mode in s.modes}
    assert modes == {0, 2, 3}
