"""Damaged files give the right tokens or a `TokenFileError`, soon and in little memory."""

import random
import re
import subprocess
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.files.coded_samples import CODED_SAMPLES, TABLES, counts_by_digest
from tests.files.fake_prior import RampPrior
from tests.files.mutations import mutate, repair
from tests.files.samples import SAMPLES
from tests.files.specification import says_the_same
from vqkit.errors import ShapeError, TokenFileError
from vqkit.files import CodingResources, dumps, loads, read_info, read_part, recover_tokens
from vqkit.tokenizers.tokens import Tokens

MAX_SECONDS = 0.5
MAX_BYTES = 64 << 20
MUTANTS_PER_SEED = 1000


def outcome(read: Callable[[bytes], Any], data: bytes) -> tuple[Any, str]:
    """What was read, or the message of the only errors that are allowed."""
    try:
        return read(data), ""
    except (TokenFileError, ShapeError) as error:
        return None, str(error)


RESOURCES = CodingResources(tables=TABLES, prior=RampPrior())
COUNTS = counts_by_digest(TABLES)
READERS: dict[str, Callable[[bytes], Any]] = {
    "loads": lambda data: loads(data, resources=RESOURCES),
    "read_info": read_info,
    "read_part": lambda data: read_part(data, codebooks=1, resources=RESOURCES),
    "recover_tokens": lambda data: recover_tokens(data, resources=RESOURCES),
}


def originals() -> list[tuple[Tokens, bytes]]:
    """Files of every mode, with what they hold."""
    plain = [(tokens, dumps(tokens, chunk_rows=rows)) for tokens, rows in SAMPLES.values()]
    return plain + [(sample.tokens, sample.data) for sample in CODED_SAMPLES.values()]


def run_mutants(seed: int, num_mutants: int) -> Counter[str]:
    """Read mutants, half of them with repaired checksums; returns what became of them."""
    rng = random.Random(seed)
    sources = originals()
    files = [data for _, data in sources]
    # Large files take long, in the reader of the page above all.
    weights = [1 / (1000 + tokens.num_tokens) for tokens, _ in sources]
    fates: Counter[str] = Counter()
    for _ in range(num_mutants):
        original, source = rng.choices(sources, weights)[0]
        mutant = mutate(source, files, rng)
        repaired = rng.random() < 0.5
        if repaired:
            mutant = repair(mutant, rng, COUNTS)
        kind = "repaired" if repaired else "plain"
        tracemalloc.reset_peak()
        results = {}
        for name, read in READERS.items():
            start = time.process_time()
            results[name] = outcome(read, mutant)
            assert time.process_time() - start < MAX_SECONDS, (name, seed, mutant)
        if tracemalloc.is_tracing():
            assert tracemalloc.get_traced_memory()[1] < MAX_BYTES, (seed, mutant)
        for name, (_, text) in results.items():
            assert re.match("|Cannot read the bytes given: expected|No stream 'tokens'", text)
            fate = "checksum" if "CRC-32" in text else "parser" if text else "read"
            fates[f"{kind} {name} {fate}"] += 1
        tokens, recovered = results["loads"][0], results["recover_tokens"][0]
        if tokens is None:
            continue
        assert recovered is not None, (seed, mutant)
        assert recovered.tokens.same_as(tokens), (seed, mutant)
        if not repaired:
            assert mutant == source, (seed, mutant)
            assert tokens.same_as(original), (seed, mutant)
        elif 5 not in {mode for s in read_info(mutant).streams for mode in s.modes}:
            assert says_the_same(mutant, tokens, COUNTS), (seed, mutant)
    return fates


def check_seed(seed: int) -> None:
    fates = run_mutants(seed, MUTANTS_PER_SEED)
    # The mutants must reach what they are meant for: parser and decoder behind the checksums.
    assert fates["plain loads checksum"] > 0.1 * MUTANTS_PER_SEED
    assert fates["repaired loads parser"] > 0.1 * MUTANTS_PER_SEED
    assert fates["repaired loads read"] > 0.03 * MUTANTS_PER_SEED
    assert fates["repaired loads checksum"] < 0.1 * MUTANTS_PER_SEED


@pytest.mark.slow
def test_mutants_with_allocations_traced() -> None:
    tracemalloc.start()
    try:
        assert run_mutants(seed=100, num_mutants=100).total() == 100 * len(READERS)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "seeds", [(0, 1), pytest.param((1, 30), marks=pytest.mark.slow)], ids=["1000", "29000"]
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
