"""One process and two ranks."""

import pytest
import torch
from torch import Tensor

from tests.spawn import Join, run_ranks
from vqkit.ops import collectives

COUNTS = {"equal": (3, 3), "unequal": (1, 5), "first empty": (0, 2), "both empty": (0, 0)}


def rows_of(rank: int, counts: tuple[int, int]) -> Tensor:
    start = sum(counts[:rank])
    return torch.arange(2.0 * start, 2.0 * (start + counts[rank])).reshape(-1, 2)


def collect(rank: int, join: Join) -> dict:
    before = (collectives.world_size(), collectives.rank())
    join()
    value = torch.tensor([1.0 + rank, 10.0])
    summed = collectives.all_sum(value)
    result = {
        "before": before,
        "after": (collectives.world_size(), collectives.rank()),
        "sum": summed,
        "in place": value,
        "first": collectives.broadcast_first(torch.tensor([5 + rank])),
    }
    for name, counts in COUNTS.items():
        rows = rows_of(rank, counts)
        result[name] = collectives.gather_rows(rows)
        result[name + " offset"] = collectives.row_offset(len(rows), rows.device)
    return result


@pytest.fixture(scope="module")
def ranks() -> list[dict]:
    return run_ranks(collect)


def test_the_group_is_looked_for_at_each_call(ranks):
    for rank, result in enumerate(ranks):
        assert result["before"] == (1, 0)
        assert result["after"] == (2, rank)


def test_sum_and_broadcast(ranks):
    for result in ranks:
        assert result["sum"].tolist() == [3.0, 20.0]
        assert torch.equal(result["in place"], result["sum"])
        assert result["first"].tolist() == [5]


@pytest.mark.parametrize("name", COUNTS)
def test_rows_of_all_ranks_in_order(ranks, name):
    counts = COUNTS[name]
    whole = torch.cat([rows_of(rank, counts) for rank in (0, 1)])
    for rank, result in enumerate(ranks):
        assert torch.equal(result[name], whole)
        assert result[name + " offset"] == (sum(counts[:rank]), sum(counts))


def test_one_process_is_the_identity():
    value = torch.randn(3, 2)
    assert (collectives.world_size(), collectives.rank()) == (1, 0)
    assert collectives.all_sum(value) is value
    assert collectives.broadcast_first(value) is value
    assert collectives.gather_rows(value) is value
    assert collectives.row_offset(3, value.device) == (0, 3)
