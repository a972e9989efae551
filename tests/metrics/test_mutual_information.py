"""Mutual information between codebooks: against the definition, over ranks, for any size."""

import math

import pytest
import torch

from tests.spawn import Join, run_ranks
from vqkit.errors import ConfigError, ShapeError
from vqkit.metrics import LevelInformation, codebook
from vqkit.metrics.mutual_information import pair_counts, pair_information, pairs_of_levels


def naive_bits(pairs: torch.Tensor, sizes: tuple[int, int]) -> float:
    joint = torch.zeros(sizes, dtype=torch.float64)
    for a, b in pairs.tolist():
        joint[a, b] += 1 / len(pairs)
    total = 0.0
    for a in range(sizes[0]):
        for b in range(sizes[1]):
            if joint[a, b]:
                total += float(
                    joint[a, b] * math.log2(joint[a, b] / (joint[a].sum() * joint[:, b].sum()))
                )
    return total


def test_equals_the_definition():
    first = torch.randint(0, 6, (400,))
    second = (first + torch.randint(0, 3, (400,))) % 5
    pairs = torch.stack((first, second), dim=1)
    found = pair_information(pair_counts(pairs), 2, 3)
    assert found.mutual_information_bits == pytest.approx(naive_bits(pairs, (6, 5)), rel=1e-9)
    assert (found.first, found.second, found.num_tokens) == (2, 3, 400)
    assert found.corrected_bits < found.mutual_information_bits


def test_independent_codebooks_share_nothing_after_correction():
    pairs = torch.stack((torch.randint(0, 32, (20_000,)), torch.randint(0, 32, (20_000,))), dim=1)
    found = pair_information(pair_counts(pairs))
    assert found.mutual_information_bits > 0.02  # the bias of 1,024 pairs
    assert found.corrected_bits < 0.005
    assert found.shared < 0.001


def test_equal_codebooks_share_everything_and_a_constant_one_nothing():
    codes = torch.randint(0, 8, (5000,))
    assert pair_information(pair_counts(codes[:, None].repeat(1, 2))).shared > 0.99
    constant = torch.stack((codes, torch.zeros_like(codes)), dim=1)
    assert pair_information(pair_counts(constant)).shared == 0.0


def test_no_token():
    found = pair_information(torch.zeros(0, 3, dtype=torch.int64))
    assert found.num_tokens == 0
    assert math.isnan(found.shared)


def test_the_metric_adds_batches_up_and_masks():
    sizes = (16, 2**62, 16)
    indices = torch.randint(0, 16, (6, 50, 3))
    indices[..., 1] = 2**61 + indices[..., 0]
    metric = LevelInformation(sizes, pairs="all")
    for item in indices:
        padded = torch.cat((item, torch.full((4, 3), 5)))
        metric.update(padded, torch.arange(54) < 50)
    found = metric.information()
    assert [(pair.first, pair.second) for pair in found] == [(0, 1), (0, 2), (1, 2)]
    rows = indices.flatten(0, 1)
    for pair in found:
        expected = pair_information(pair_counts(rows[:, (pair.first, pair.second)]))
        assert pair.mutual_information_bits == pytest.approx(expected.mutual_information_bits)
    assert found[0].shared == pytest.approx(1.0, abs=0.05)
    result = metric.compute()
    assert result["shared"].shape == (3,)
    metric.reset()
    assert metric.information()[0].num_tokens == 0


def test_merging_early_changes_nothing(monkeypatch):
    indices = torch.randint(0, 9, (40, 30, 2))
    late, early = LevelInformation((9, 9)), LevelInformation((9, 9))
    for item in indices:
        late.update(item)
    monkeypatch.setattr(codebook, "_PENDING_ROWS", 10)
    for item in indices:
        early.update(item)
    assert len(early.pair_0) < len(late.pair_0)
    assert early.information() == late.information()


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ConfigError, match="two or more"):
        LevelInformation((8,))
    with pytest.raises(ConfigError, match="some"):
        pairs_of_levels(3, "some")
    with pytest.raises(ShapeError, match="codebook 1"):
        LevelInformation((8, 4)).update(torch.tensor([[7, 4]]))


def shares(rank: int) -> torch.Tensor:
    indices = torch.randint(0, 7, (90, 2), generator=torch.Generator().manual_seed(5))
    return (indices[:0], indices)[rank]


def work(rank: int, join: Join) -> dict:
    join()
    metric = LevelInformation((7, 7))
    if len(shares(rank)):
        metric.update(shares(rank))
    return metric.compute()


@pytest.mark.slow
def test_an_empty_rank_takes_part():
    whole = LevelInformation((7, 7))
    whole.update(shares(1))
    for result in run_ranks(work):
        for name, value in whole.compute().items():
            torch.testing.assert_close(result[name], value, rtol=1e-12, atol=0)
