"""Damaged files give the right tokens or a `TokenFileError`, soon and in little memory."""

import random
import subprocess
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.files.mutations import mutate, repair
from tests.files.samples import SAMPLES
from tests.files.specification import says_the_same
from vqkit.errors import TokenFileError
from vqkit.files import dumps, loads, read_info

MAX_SECONDS = 0.5
MAX_BYTES = 64 << 20
MUTANTS_PER_SEED = 1000


def outcome(read: Callable[[bytes], Any], data: bytes) -> tuple[Any, str]:
    """What was read, or the message of the only error that is allowed."""
    try:
        return read(data), ""
    except TokenFileError as error:
        return None, str(error)


def run_mutants(seed: int, num_mutants: int) -> Counter[str]:
    """Read mutants, half of them with repaired checksums; returns what became of them."""
    rng = random.Random(seed)
    files = [dumps(tokens, chunk_rows=rows) for tokens, rows in SAMPLES.values()]
    originals = [tokens for tokens, _ in SAMPLES.values()]
    fates: Counter[str] = Counter()
    for _ in range(num_mutants):
        number = rng.randrange(len(files))
        mutant = mutate(files[number], files, rng)
        repaired = rng.random() < 0.5
        if repaired:
            mutant = repair(mutant, rng)
        kind = "repaired" if repaired else "plain"
        tracemalloc.reset_peak()
        start = time.process_time()
        tokens, message = outcome(loads, mutant)
        _, message_of_info = outcome(read_info, mutant)
        assert time.process_time() - start < MAX_SECONDS, (seed, mutant)
        if tracemalloc.is_tracing():
            assert tracemalloc.get_traced_memory()[1] < MAX_BYTES, (seed, mutant)
        for name, text in [("loads", message), ("read_info", message_of_info)]:
            assert text == "" or text.startswith("Cannot read the bytes given: expected")
            fate = "checksum" if "CRC-32" in text else "parser" if text else "read"
            fates[f"{kind} {name} {fate}"] += 1
        if tokens is None:
            continue
        if repaired:
            assert says_the_same(mutant, tokens), (seed, mutant)
        else:
            assert mutant == files[number], (seed, mutant)
            assert tokens.same_as(originals[number]), (seed, mutant)
    return fates


def check_seed(seed: int) -> None:
    fates = run_mutants(seed, MUTANTS_PER_SEED)
    # The mutants must reach what they are meant for: parser and decoder behind the checksums.
    assert fates["plain loads checksum"] > 0.1 * MUTANTS_PER_SEED
    assert fates["repaired loads parser"] > 0.1 * MUTANTS_PER_SEED
    assert fates["repaired loads read"] > 0.03 * MUTANTS_PER_SEED
    assert fates["repaired loads checksum"] < 0.1 * MUTANTS_PER_SEED


def test_mutants_with_allocations_traced() -> None:
    tracemalloc.start()
    try:
        assert run_mutants(seed=100, num_mutants=100).total() == 200
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "seeds", [(0, 2), pytest.param((2, 20), marks=pytest.mark.slow)], ids=["2000", "18000"]
)
def test_mutants_in_a_process_with_little_memory(seeds: tuple[int, int]) -> None:
    """The kernel sees what no hook of Python does; and a crash would not go unnoticed."""
    program = f"""
import resource, sys
from pathlib import Path

from tests.files.test_mutations import check_seed, run_mutants

run_mutants(seed=100, num_mutants=5)  # so that everything is loaded
if sys.platform == "linux":
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + {MAX_BYTES},) * 2)
for seed in range(*{seeds}):
    check_seed(seed)
print("done")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=290
    )
    assert (done.stdout, done.stderr) == ("done\n", "")
