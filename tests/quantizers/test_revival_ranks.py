"""Two processes with parts of the batch revive the codes that one process with all of it does."""

import pytest
import torch
from torch import Tensor

from tests.spawn import Join, run_ranks
from vqkit.quantizers import EMA, Anchors, FromData, KMeans, RandomInit, Timeout, VectorQuantizer

DIM, NUM_STEPS, BATCH, POSITIONS = 4, 6, 8, 24


def dead(revive: Timeout | Anchors) -> VectorQuantizer:
    layer = VectorQuantizer(DIM, 12, update=EMA(0.8), init=RandomInit(), revive=revive)
    # Each elsewhere, and none of them near the data.
    layer.codebook += 50.0 + 3.0 * torch.arange(12)[:, None]
    return layer


CASES = {
    "timeout": (lambda: dead(Timeout(after=1.0)), 5),
    "timeout, empty rank": (lambda: dead(Timeout(after=1.0)), 0),
    "anchors": (lambda: dead(Anchors(window=1.0)), 3),
    "closest anchors": (lambda: dead(Anchors(window=1.0, choice="closest")), 5),
    "closest anchors, empty rank": (lambda: dead(Anchors(window=1.0, choice="closest")), 0),
    "reservoir": (
        lambda: VectorQuantizer(DIM, 12, init=KMeans(batches=4, max_samples=250)),
        3,
    ),
    "reservoir of samples": (
        lambda: VectorQuantizer(DIM, 12, init=FromData(batches=4, max_samples=100)),
        0,
    ),
}


def train(name: str, items: slice) -> dict[str, Tensor]:
    torch.manual_seed(0)
    layer = CASES[name][0]()
    torch.manual_seed(1)
    generator = torch.Generator().manual_seed(11)
    for batch in torch.randn(NUM_STEPS, BATCH, POSITIONS, DIM, generator=generator):
        layer(batch[items])
    return dict(layer.state_dict())


def work(rank: int, join: Join) -> dict:
    join()
    results = {}
    for name, (_, num_first) in CASES.items():
        items = slice(0, num_first) if rank == 0 else slice(num_first, BATCH)
        results[name] = train(name, items)
    # Empty on every rank: nothing to choose from, and nobody waits.
    for policy in (Timeout(after=0.1), Anchors(), Anchors(choice="closest")):
        dead(policy)(torch.zeros(0, POSITIONS, DIM))
    return results


@pytest.fixture(scope="module")
def ranks() -> list[dict]:
    return run_ranks(work)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_two_ranks_give_the_codebook_of_one_and_agree_bit_for_bit(ranks, name):
    whole = train(name, slice(None))
    for key, value in whole.items():
        assert torch.equal(ranks[0][name][key], ranks[1][name][key]), key
        torch.testing.assert_close(ranks[0][name][key], value, rtol=1e-4, atol=1e-5)
    if "reservoir" not in name:
        assert int(whole["num_revived"]) >= 8
