"""A prior and a file coded with it, which every later vqkit must read; plain arithmetic does too.

``VQKIT_REGENERATE_GOLDEN=1 pytest -n0 tests/priors/test_golden.py`` writes them anew: only before
they have been released.
"""

import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file

from tests.files.specification import RangeDecoder
from tests.priors.networks import random_network
from tests.priors.reference import ReferenceNetwork
from vqkit.coding import RangeDecoder as FastDecoder
from vqkit.files import CodingResources, dumps, loads, read_info
from vqkit.files.modes import LEARNED
from vqkit.priors import PRIOR_FILE, Prior, PriorSpec, read_prior, write_prior
from vqkit.tokenizers import Tokens, TokenStream

FOLDER = Path(__file__).resolve().parents[1] / "golden" / "prior"
FINGERPRINT = "0123456789abcdef" * 2
SIZES, GRID = (40, 9000), (9, 13)
DEPTH = 1


def test_golden_file() -> None:
    prior = _prior()
    tokens = _tokens(prior)
    written = dumps(tokens, resources=CodingResources(prior=prior))
    path = FOLDER / "v1.vqt"
    if os.environ.get("VQKIT_REGENERATE_GOLDEN") == "1":
        FOLDER.mkdir(exist_ok=True)
        write_prior(prior, FOLDER)
        path.write_bytes(written)
    golden = path.read_bytes()
    stored = read_prior(FOLDER, FINGERPRINT)
    assert stored is not None
    assert stored.digest == prior.digest
    assert loads(golden, resources=CodingResources(prior=stored)).same_as(tokens)
    assert read_info(golden).streams[0].modes == (LEARNED.number,)
    assert written == golden


def test_plain_arithmetic_decodes_the_same() -> None:
    stored = read_prior(FOLDER, FINGERPRINT)
    assert stored is not None
    tokens = loads((FOLDER / "v1.vqt").read_bytes(), resources=CodingResources(prior=stored))
    payload = stored.encode("tokens", tokens.indices.flatten(0, -2).numpy(), GRID, SIZES)
    assert payload is not None
    decoded = _decoded(payload, load_file(FOLDER / PRIOR_FILE))
    assert np.array_equal(decoded, tokens.indices.flatten(0, -2).numpy())


def _prior() -> Prior:
    spec = PriorSpec("tokens", 2, SIZES, FINGERPRINT)
    network = random_network(spec.levels.sizes, 2, depth=DEPTH, seed=7)
    with torch.no_grad():  # else it is sure of itself and draws the same token everywhere
        for head in network.heads:
            head.parametrizations.weight.original.mul_(0.1)
    return Prior(spec, network)


def _tokens(prior: Prior) -> Tokens:
    """Drawn from the prior: what random bytes decode to."""
    decoder = FastDecoder(np.random.Generator(np.random.PCG64(3)).bytes(4000))
    symbols = torch.full((GRID[0] * GRID[1], len(prior.spec.levels.sizes)), -1)
    for level, places, weights in prior._predictions(symbols, GRID):
        symbols[places, level] = torch.from_numpy(decoder.decode_each(weights))
    largest = torch.tensor(SIZES) - 1
    indices = torch.minimum(prior.spec.levels.join(symbols), largest).view(1, *GRID, len(SIZES))
    stream = TokenStream(indices, SIZES, ("height", "width"))
    media = ({"height": 72, "width": 104},)
    return Tokens({"tokens": stream}, media, "image", "image/example", FINGERPRINT)


def _decoded(payload: bytes, integers: dict[str, np.ndarray]) -> np.ndarray:
    """As ``docs/priors.md`` has it: levels, steps, one symbol at a time."""
    bits = 7  # 9,000 codes take 14 bits: two digits of 7
    level_sizes = (40, ((SIZES[1] - 1) >> bits) + 1, 1 << bits)
    network = ReferenceNetwork(integers, len(level_sizes), DEPTH)
    ranks = [
        (i * 3242174889 + j * 2447445414) % 2**32 for i in range(GRID[0]) for j in range(GRID[1])
    ]
    count = len(ranks)
    order = sorted(range(count), key=lambda position: (ranks[position], position))
    known = [-(-count * k * k // 64) for k in range(9)]
    levels = np.full((count, len(level_sizes)), -1)
    decoder = RangeDecoder(payload)
    for level in range(len(level_sizes)):
        for first, last in pairwise(known):
            places = order[first:last]
            features = network.features(levels, GRID)[places]
            weights = network.weights(features, level)
            symbols = [decoder.decode(1, row.tolist())[0] for row in weights]
            levels[places, level] = symbols
    return np.stack([levels[:, 0], levels[:, 1] << bits | levels[:, 2]], axis=1)
