"""Wrappers with state: two ranks with parts of each batch move as one process with all of it."""

import pytest
import torch
from torch import Tensor

from tests.spawn import Join, run_ranks
from vqkit.quantizers import (
    EMA,
    Affine,
    DualCodebook,
    Factorized,
    Grouped,
    MultiScaleResidual,
    Quantizer,
    ReplaceUnused,
    Residual,
    Rotated,
    Split,
    VectorQuantizer,
)

pytestmark = pytest.mark.slow

DIM, NUM_STEPS, BATCH = 4, 6, 8


def vq(dim: int = DIM, size: int = 8) -> VectorQuantizer:
    return VectorQuantizer(dim, size, update=EMA(decay=0.8), revive=ReplaceUnused())


BUILD = {
    "grouped": lambda: Grouped(vq(2), 2),
    "grouped, shared": lambda: Grouped(vq(2), 2, shared=True),
    "grouped residual": lambda: Residual(Grouped(vq(2), 2), 2),
    "rotated": lambda: Rotated(Grouped(vq(2), 2), every=2, decay=0.5),
    "split": lambda: Split(Factorized(vq(2), DIM), Factorized(Residual(vq(2), 2), DIM)),
    "multi-scale": lambda: MultiScaleResidual(vq(), [[1], [3], [6]]),
    "dual": lambda: DualCodebook(vq(), vq()),
    "affine": lambda: Affine(vq(), decay=0.7),
}
# How many items of each batch rank 0 gets: half, fewer, none.
SHARES = (4, 3, 0)


def train(build, items: slice, bad_step: int | None = None) -> dict[str, Tensor]:
    torch.manual_seed(0)
    layer: Quantizer = build()
    torch.manual_seed(1)
    generator = torch.Generator().manual_seed(7)
    for step in range(NUM_STEPS):
        z = torch.randn(BATCH, 6, DIM, generator=generator)
        hidden = torch.rand(BATCH, 6, generator=generator) < 0.5
        if step == bad_step:
            z[0, 0, 0] = torch.nan
        if isinstance(layer, DualCodebook):
            layer(z[items], hidden=hidden[items])
        else:
            layer(z[items])
    return {name: value.clone() for name, value in layer.state_dict().items()}


def items_of(rank: int, num_first: int) -> slice:
    return slice(0, num_first) if rank == 0 else slice(num_first, BATCH)


def work(rank: int, join: Join) -> dict:
    join()
    return {
        name: [train(build, items_of(rank, share)) for share in SHARES]
        + [train(build, items_of(rank, 4), bad_step=3)]
        for name, build in BUILD.items()
    }


@pytest.fixture(scope="module")
def ranks() -> list[dict]:
    return run_ranks(work)


@pytest.mark.parametrize("name", BUILD)
def test_the_ranks_agree_bit_for_bit(ranks, name):
    for first, second in zip(ranks[0][name], ranks[1][name], strict=True):
        for key, value in first.items():
            assert torch.equal(value, second[key]), key


@pytest.mark.parametrize("name", BUILD)
def test_two_ranks_move_as_one_process(ranks, name):
    build = BUILD[name]
    whole = train(build, slice(None))
    expected = [whole] * len(SHARES) + [train(build, slice(None), bad_step=3)]
    for found, wanted in zip(ranks[0][name], expected, strict=True):
        for key, value in wanted.items():
            torch.testing.assert_close(
                found[key], value, rtol=1e-3, atol=1e-4, msg=lambda m, key=key: f"{key}: {m}"
            )
