"""Two processes with parts of the batch give the codebook of one process with all of it."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from tests.spawn import Join, run_ranks
from vqkit.quantizers import (
    EMA,
    FSQ,
    Cosine,
    Factorized,
    FromData,
    GradientUpdate,
    KMeans,
    Quantizer,
    RandomInit,
    ReplaceUnused,
    Residual,
    VectorQuantizer,
)

DIM, NUM_STEPS, BATCH, POSITIONS = 4, 6, 8, 24


@dataclass(frozen=True)
class Case:
    """A quantizer, and how many of the items of each batch rank 0 gets."""

    build: Callable[[], Quantizer]
    num_first: int = BATCH // 2
    bad_step: int | None = None  # the first item of this batch holds a NaN


def far_codes() -> VectorQuantizer:
    """All codes dead from the start, and forgotten quickly."""
    layer = VectorQuantizer(
        DIM, 12, update=EMA(decay=0.8), init=RandomInit(), revive=ReplaceUnused(window=2.0)
    )
    layer.codebook += 50.0
    return layer


CASES = {
    "k-means and EMA": Case(lambda: VectorQuantizer(DIM, 12, update=EMA(decay=0.8))),
    "unequal": Case(lambda: VectorQuantizer(DIM, 12, update=EMA(decay=0.8)), num_first=3),
    "empty rank": Case(lambda: VectorQuantizer(DIM, 12, revive=ReplaceUnused()), num_first=0),
    "revival": Case(far_codes, num_first=5),
    "revival from the other rank": Case(far_codes, num_first=0),
    "NaN on one rank": Case(lambda: VectorQuantizer(DIM, 12, update=EMA(decay=0.8)), bad_step=2),
    "NaN before initialisation": Case(
        lambda: VectorQuantizer(DIM, 12, init=FromData()), bad_step=0
    ),
    "several batches": Case(lambda: VectorQuantizer(DIM, 12, init=KMeans(batches=3)), num_first=2),
    "cosine": Case(lambda: VectorQuantizer(DIM, 12, metric=Cosine(), update=EMA(decay=0.8))),
    "residual": Case(
        lambda: Residual(VectorQuantizer(DIM, 6, update=EMA(0.8), revive=ReplaceUnused()), 3),
        num_first=3,
    ),
    "projected": Case(lambda: Factorized(VectorQuantizer(2, 6), DIM)),
}


def batches(bad_step: int | None) -> Tensor:
    generator = torch.Generator().manual_seed(11)
    z = torch.randn(NUM_STEPS, BATCH, POSITIONS, DIM, generator=generator)
    if bad_step is not None:
        z[bad_step, 0, 0, 0] = math.nan
    return z


def train(case: Case, items: slice, layer: Quantizer | None = None) -> dict[str, Tensor]:
    """State after all steps on this rank's items, and the state after the first."""
    torch.manual_seed(0)
    layer = layer or case.build()
    torch.manual_seed(1)
    states = {}
    for step, batch in enumerate(batches(case.bad_step)):
        layer(batch[items])
        if step in (0, NUM_STEPS - 1):
            name = "first" if step == 0 else "last"
            states |= {f"{name}.{k}": v.clone() for k, v in layer.state_dict().items()}
    return states


def train_by_gradient(items: slice) -> Tensor:
    """A gradient codebook, its gradients averaged over the ranks as DDP does."""
    torch.manual_seed(0)
    layer = VectorQuantizer(DIM, 12, update=GradientUpdate(), revive=ReplaceUnused())
    for batch in batches(None):
        (gradient,) = torch.autograd.grad(layer(batch[items]).loss, layer.codebook)
        if dist.is_initialized():
            dist.all_reduce(gradient)
            gradient /= dist.get_world_size()
        with torch.no_grad():
            layer.codebook -= 5.0 * gradient
    return layer.codebook.detach()


def items_of(rank: int, num_first: int) -> slice:
    return slice(0, num_first) if rank == 0 else slice(num_first, BATCH)


def work(rank: int, join: Join) -> dict:
    # Trap 6: built before the group exists, and not told of it.
    torch.manual_seed(0)
    early = CASES["k-means and EMA"].build()
    early.eval()(torch.randn(1, 2, DIM))
    early.train()
    join()
    results: dict = {
        name: train(case, items_of(rank, case.num_first)) for name, case in CASES.items()
    }
    case = CASES["k-means and EMA"]
    results["early"] = train(case, items_of(rank, case.num_first), early)
    results["gradient"] = train_by_gradient(items_of(rank, BATCH // 2))
    results["alone"] = evaluate_alone(rank, early)
    # All ranks empty at once, before and after initialisation.
    fresh = VectorQuantizer(DIM, 12)
    for layer in (fresh, early):
        before = copy.deepcopy(layer.state_dict())
        layer(torch.zeros(0, POSITIONS, DIM))
        same = all(torch.equal(before[k], v) for k, v in layer.state_dict().items())
        results[f"empty, initialised {layer.initialized}"] = same
    return results


def evaluate_alone(rank: int, layer: Quantizer) -> bool:
    """Rank 0 evaluates, encodes and runs without gradient while rank 1 does nothing."""
    if rank == 0:
        z = torch.randn(2, 3, DIM)
        for quantizer in (layer, Residual(VectorQuantizer(DIM, 6), 2), FSQ([4] * DIM)):
            quantizer.train()
            with torch.no_grad():
                quantizer(z)
            quantizer.decode(quantizer.encode(z))
            quantizer.eval()(z)
            quantizer.train()
    # A collective of rank 0 that rank 1 did not take part in would meet this one.
    value = torch.tensor([float(rank)])
    dist.all_reduce(value)
    return value.item() == 1.0


@pytest.fixture(scope="module")
def ranks() -> list[dict]:
    return run_ranks(work)


def assert_same_state(result: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert result.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(
            result[name], value, rtol=1e-4, atol=1e-5, msg=lambda m, name=name: f"{name}: {m}"
        )


@pytest.mark.parametrize("name", CASES)
def test_two_ranks_give_the_codebook_of_one(ranks, name):
    whole = train(CASES[name], slice(None))
    for result in ranks:
        assert_same_state(result[name], whole)


@pytest.mark.parametrize("name", CASES)
def test_the_ranks_agree_bit_for_bit(ranks, name):
    for key, value in ranks[0][name].items():
        assert torch.equal(value, ranks[1][name][key]), key


def test_the_cases_are_what_they_say():
    for name in ("revival", "revival from the other rank"):
        assert int(train(CASES[name], slice(None))["last.num_revived"]) >= 10
    for name in ("NaN on one rank", "NaN before initialisation"):
        assert int(train(CASES[name], slice(None))["last.skipped_batches"]) == 1
    half = train(CASES["k-means and EMA"], slice(0, BATCH // 2))
    whole = train(CASES["k-means and EMA"], slice(None))
    assert not torch.allclose(half["last.codebook"], whole["last.codebook"], atol=1e-2)


def test_trap_6_a_module_built_before_the_group_follows_it(ranks):
    whole = train(CASES["k-means and EMA"], slice(None))
    for result in ranks:
        assert_same_state(result["early"], whole)


def test_a_gradient_codebook_with_averaged_gradients(ranks):
    whole = train_by_gradient(slice(None))
    for result in ranks:
        torch.testing.assert_close(result["gradient"], whole, rtol=1e-4, atol=1e-5)


def test_trap_7_evaluation_on_one_rank_neither_hangs_nor_disturbs(ranks):
    assert all(result["alone"] for result in ranks)


def test_trap_7_a_batch_that_is_empty_on_every_rank_changes_nothing(ranks):
    for result in ranks:
        assert result["empty, initialised False"]
        assert result["empty, initialised True"]
