"""The float64 search on its own: order of ties, identical rows, bounded chunks."""

import math

import pytest
import torch
from torch import Tensor

from vqkit.ops import nearest_exact
from vqkit.ops.nearest_exact import nearest_exactly


def brute_force(z: Tensor, codebook: Tensor) -> Tensor:
    distances = (z[:, None].double() - codebook.double()).square().sum(2)
    return (distances == distances.amin(1, keepdim=True)).int().argmax(1)


@pytest.mark.parametrize("tokens", [1, 40, 300, 1500])
@pytest.mark.parametrize(("codes", "dim"), [(1, 1), (700, 8), (5000, 2), (300, 200)])
def test_finds_the_nearest(tokens: int, codes: int, dim: int) -> None:
    z, codebook = torch.randn(tokens, dim) + 50, torch.randn(codes, dim) + 50
    assert torch.equal(nearest_exactly(z, codebook, "euclidean"), brute_force(z, codebook))


@pytest.mark.parametrize("tokens", [100, 1000])
def test_lowest_index_among_ties_in_many_chunks(tokens: int) -> None:
    z = torch.randint(-2, 3, (tokens, 3)).float() / 2
    codebook = torch.randint(-1, 2, (9000, 3)).float()
    assert torch.equal(nearest_exactly(z, codebook, "euclidean"), brute_force(z, codebook))


def test_squares_that_differ_in_the_last_bit_only() -> None:
    codebook = 1 + torch.rand(2000, 4, dtype=torch.float64) * 1e-15
    z = torch.rand(300, 4, dtype=torch.float64)
    assert torch.equal(nearest_exactly(z, codebook, "euclidean"), brute_force(z, codebook))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_identical_rows_are_found(dtype: torch.dtype) -> None:
    rows = torch.randn(20, 3).to(dtype)
    rows[5] = 0.0
    picks = torch.randint(20, (1000,))
    repeated = rows[picks]
    repeated[picks == 5] *= torch.tensor([1, -1, 1], dtype=dtype)  # with a zero of either sign
    distinct, copies = nearest_exact._distinct_rows(repeated)
    assert len(distinct) == len(picks.unique())
    assert torch.equal(distinct, distinct.sort().values)
    assert torch.equal(repeated[distinct][copies], repeated)
    first = {int(pick): int((picks == pick).nonzero()[0]) for pick in picks.unique()}
    assert distinct.tolist() == sorted(first.values())


def test_rows_of_the_same_hash_stay_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "randint", lambda *a, **k: torch.zeros(2, dtype=torch.int64))
    rows = torch.tensor([[1.0, 2.0], [2.0, 1.0], [1.0, 2.0]])  # factors of one: equal sums
    distinct, copies = nearest_exact._distinct_rows(rows)
    assert distinct.tolist() == [0, 1]
    assert copies.tolist() == [0, 1, 0]


def test_nothing_finite() -> None:
    z, codebook = torch.randn(300, 3), torch.full((9000, 3), math.nan)
    assert nearest_exactly(z, codebook, "euclidean").eq(0).all()
    codebook[8888] = 1.0
    assert nearest_exactly(z, codebook, "euclidean").eq(8888).all()
    z[7] = math.inf
    assert nearest_exactly(z, codebook, "euclidean")[7] == 0
