"""Files of every coding mode, written in this process and read in others with other threads."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.cli.tiny import tiny_tokenizer
from tests.files.other_process import digest
from tests.priors.networks import random_network
from vqkit.files import CodeCounts, CodingResources, TableSet, read_info, write_tokens
from vqkit.priors import Prior, PriorSpec, write_prior
from vqkit.tokenizers import Tokens, TokenStream

ROOT = Path(__file__).resolve().parents[2]
K = 512
COUNTS = np.arange(1, K + 1) ** 4
ALL_MODES = {0, 1, 2, 3, 4, 5, 7}


def make_model(folder: Path) -> CodingResources:
    """A model with tables and a prior of few parameters, neither of which need fit the tokens."""
    tokenizer = tiny_tokenizer()
    tokenizer.save_pretrained(folder)
    tables = TableSet.from_counts({"tokens": [CodeCounts(K, np.arange(K), COUNTS)]})
    tables.save(folder)
    network = random_network((K,), 2, depth=1)
    with torch.no_grad():  # as sure of itself as trained ones are
        network.heads[0].parametrizations.weight.original.mul_(0.1)
    write_prior(Prior(PriorSpec("tokens", 2, (K,), tokenizer.fingerprint), network), folder)
    return CodingResources.of_model(folder)


def make_tokens(number: int, prior: Prior) -> Tokens:
    """Tokens that one of the modes codes best, of sizes that vary."""
    random = np.random.default_rng(number)
    height, width = random.integers(1, 24, 2)
    kind = number % 7 if number % 50 else "archive"
    if kind == 0:
        grid = random.integers(0, K, (height, width))
    elif kind == 1:
        grid = np.minimum(random.geometric(0.2, (height, width)) - 1, K - 1)
    elif kind == 2:
        grid = np.repeat(random.integers(0, K, (height, 1)), width, axis=1)
    elif kind == 3:
        grid = (K - 1) - np.minimum(random.geometric(0.01, (height, width)), K - 1)
    elif kind == 4:
        grid = _drawn(prior, (int(height), int(width)), number)
    elif kind == 5:
        areas = random.choice(K, (12, 12), p=COUNTS / COUNTS.sum())
        grid = areas.repeat(2, axis=0).repeat(2, axis=1)[:, : 12 + width]
    elif kind == "archive":
        grid = random.permutation(K)[np.minimum(random.geometric(0.02, (140, 140)), K) - 1]
    else:
        grid = np.where(random.random((height, width)) < 0.2, -1, random.integers(0, 9))
    stream = TokenStream(torch.from_numpy(grid)[None, ..., None], (K,), ("height", "width"))
    media = ({"height": 8 * grid.shape[0], "width": 8 * grid.shape[1]},)
    return Tokens({"tokens": stream}, media, "image", "image/tiny", prior.spec.fingerprint)


def _drawn(prior: Prior, grid: tuple[int, int], seed: int) -> np.ndarray:
    """Tokens drawn from the prior."""
    random = np.random.default_rng(seed)
    symbols = torch.full((grid[0] * grid[1], 1), -1)
    for level, places, weights in prior._predictions(symbols, grid):
        shares = weights / weights.sum(1, keepdims=True)
        drawn = [random.choice(K, p=row) for row in shares]
        symbols[places, level] = torch.tensor(drawn)
    return symbols.view(grid).numpy()


def check(folder: Path, num_files: int, threads: tuple[int, ...]) -> set[int]:
    """Write files, read them elsewhere, compare; return the modes of their chunks."""
    resources = make_model(folder / "model")
    assert isinstance(resources.prior, Prior)
    written, modes = {}, set()
    for number in range(num_files):
        tokens = make_tokens(number, resources.prior)
        file = folder / f"{number:04}.vqt"
        coder = "archive" if number % 50 == 0 else "auto"
        if number % 11 == 3:
            coder = "fixed"
        write_tokens(
            tokens,
            file,
            coder=coder,
            chunk_rows=5 if number % 13 == 0 and number % 50 else None,
            resources=CodingResources() if number % 5 == 1 else resources,
        )
        written[file.name] = digest(tokens)
        modes |= {mode for stream in read_info(file).streams for mode in stream.modes}
    for num_threads in threads:
        environment = {**os.environ, "OMP_NUM_THREADS": str(num_threads)}
        command = [sys.executable, "-m", "tests.files.other_process", folder, str(num_threads)]
        ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True)
        assert json.loads(ran.stdout) == written
    return modes


@pytest.mark.slow
def test_files_decode_in_another_process(tmp_path: Path) -> None:
    modes = check(tmp_path, 60, threads=(3,))
    assert modes == ALL_MODES


@pytest.mark.slow
def test_a_thousand_files_decode_in_other_processes(tmp_path: Path) -> None:
    modes = check(tmp_path, 1000, threads=(1, 2, 3))
    assert modes == ALL_MODES
