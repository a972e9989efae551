"""Atheris target: every reader of token files, on bytes that coverage guides.

``python -m tests.fuzz.fuzz_token_file CORPUS -max_total_time=120`` goes on from the files in the
folder CORPUS, which ``--seed CORPUS`` fills from the golden files. Checksums are not checked, for
the fuzzer would never get past them: what they guard is fuzzed, not they. Needs atheris.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["vqkit.files", "vqkit.coding"]):
    from vqkit.errors import ShapeError, TokenFileError
    from vqkit.files import (
        CodingResources,
        Limits,
        TokenReader,
        read_info,
        read_part,
        read_tokens,
        recover_tokens,
    )
    from vqkit.files.reader import Reader

from tests.files.coded_samples import TABLES
from tests.files.fake_prior import RampPrior

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "token_files"
# Small, so that no input takes long.
LIMITS = Limits(num_tokens=1 << 16, num_free_tokens=1 << 12, num_chunks=1 << 8)
RESOURCES = CodingResources(tables=TABLES, prior=RampPrior())


def stream_rows(data: bytes) -> list[Any]:
    with TokenReader(data, limits=LIMITS, resources=RESOURCES) as reader:
        return list(reader)


READERS: tuple[Callable[[bytes], Any], ...] = (
    lambda data: read_tokens(data, limits=LIMITS, resources=RESOURCES),
    lambda data: read_info(data, limits=LIMITS),
    lambda data: read_part(data, codebooks=1, limits=LIMITS, resources=RESOURCES),
    lambda data: recover_tokens(data, limits=LIMITS, resources=RESOURCES),
    stream_rows,
)


def test_one_input(data: bytes) -> None:
    """Give the bytes to every reader, which may raise nothing but its own errors."""
    for read in READERS:
        try:
            read(data)
        except (TokenFileError, ShapeError):
            continue


def seed_corpus(folder: Path) -> int:
    """Copy the golden files into a corpus; return how many there are."""
    folder.mkdir(parents=True, exist_ok=True)
    files = sorted(GOLDEN.iterdir())
    for path in files:
        (folder / path.name).write_bytes(path.read_bytes())
    return len(files)


def _read_checksum(reader: Reader) -> None:
    reader.integer(4)


def main() -> None:
    if sys.argv[1:2] == ["--seed"]:
        print(f"{seed_corpus(Path(sys.argv[2]))} files in {sys.argv[2]}")
        return
    Reader.check_crc = _read_checksum  # type: ignore[method-assign]
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
