"""Policies that bring unused codes back, and bounded collection before initialisation."""

import copy
import math

import pytest
import torch
from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.quantizers import (
    EMA,
    Anchors,
    Cosine,
    FromData,
    FromTable,
    GradientUpdate,
    KMeans,
    RandomInit,
    ReplaceUnused,
    Revival,
    Table,
    Timeout,
    VectorQuantizer,
)
from vqkit.quantizers.codebook import collect

DIM = 4
POLICIES = [ReplaceUnused(), Timeout(), Anchors(), Anchors(choice="closest")]


def rows_in(rows: Tensor, table: Tensor) -> bool:
    return bool((rows[:, None] == table[None]).all(-1).any(1).all())


@pytest.mark.parametrize("policy", POLICIES[1:], ids=str)  # the first: test_codebook.py
@pytest.mark.parametrize("ratio", [0.1, 1, 10, 100])
def test_trap_3_stationary_data_move_few_codes(policy: Revival, ratio: float):
    num_codes = 50
    layer = VectorQuantizer(DIM, num_codes, revive=policy)
    num_tokens = int(ratio * num_codes)

    def train(tokens_per_code: int) -> float:
        before = int(layer.num_revived)
        for _ in range(max(int(tokens_per_code / ratio), 5)):
            layer(torch.randn(1, num_tokens, DIM))
        return (int(layer.num_revived) - before) / num_codes

    train(30)
    assert train(20) < 0.05


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_the_share_does_not_depend_on_how_tokens_are_cut_into_batches(policy: Revival):
    whole = policy.update_share(torch.ones(2), torch.tensor([60.0, 0.0]))
    parts = torch.ones(2)
    for _ in range(10):
        parts = policy.update_share(parts, torch.tensor([6.0, 0.0]))
    torch.testing.assert_close(whole, parts, rtol=1e-3, atol=1e-6)
    assert torch.equal(policy.update_share(parts, torch.zeros(2)), parts)


def test_timeout_counts_tokens_per_code_since_the_last_use():
    policy, share = Timeout(after=4.0), torch.ones(4)
    counts = torch.tensor([3.0, 1.0, 0.0, 0.0])  # a token per code and batch
    for step in range(3):
        share = policy.update_share(share, counts)
        assert share[0] == 1.0
        assert share[2].item() == pytest.approx(1 - (step + 1) / 4)
        assert len(policy.choose(share, torch.zeros(4, 2), torch.randn(9, 2)).indices) == 0
    share = policy.update_share(share, counts)
    assert policy.choose(share, torch.zeros(4, 2), torch.randn(9, 2)).indices.tolist() == [2, 3]


def test_timeout_spares_a_rare_code_that_replace_unused_would_take():
    counts = torch.full((100,), 10.0)
    counts[0] = 1.0  # a tenth of the others', every ten tokens per code
    shares = {policy: torch.ones(100) for policy in (Timeout(), ReplaceUnused(below=0.5))}
    for _ in range(20):
        for policy in shares:
            shares[policy] = policy.update_share(shares[policy], counts)
    chosen = [p.choose(s, torch.zeros(100, 2), torch.randn(9, 2)).indices.tolist()
              for p, s in shares.items()]  # fmt: skip
    assert chosen == [[], [0]]


@pytest.mark.parametrize("update", [EMA(), GradientUpdate()])
@pytest.mark.parametrize("metric", [None, Cosine()])
def test_trap_2_timeout_resets_code_count_and_share_together(update, metric):
    layer = VectorQuantizer(DIM, 8, metric=metric, update=update, revive=Timeout())
    layer(torch.randn(2, 50, DIM))
    with torch.no_grad():
        layer.codebook[5] = layer.metric.place(torch.full((DIM,), -100.0))
    layer.share[5] = 0.01
    layer.cluster_size[5] = 1e-30
    z = torch.randn(2, 50, DIM).abs()
    layer(z)
    assert rows_in(layer.codebook[5:6].detach(), layer.metric.place(z).flatten(0, 1))
    assert layer.share[5] == 1.0
    assert layer.cluster_size[5] > 1
    assert int(layer.num_revived) == 1
    assert 5 in layer(z).indices


@pytest.mark.parametrize("choice", ["random", "closest"])
def test_anchors_follow_the_formula(choice):
    policy = Anchors(scale=0.05, choice=choice)
    codes, samples = torch.randn(6, DIM), torch.randn(20, DIM)
    share = torch.tensor([1.0, 0.0, 0.05, 0.1, 3.0, 0.2])
    index, vectors, weight, new_share = policy.choose(share, codes, samples)
    # exp(-20 - 0.001) is below a thousandth; the least used comes first.
    assert index.tolist() == [1, 2, 3, 5]
    expected = [math.exp(-s / 0.05 - 1e-3) for s in (0.0, 0.05, 0.1, 0.2)]
    torch.testing.assert_close(weight, torch.tensor(expected))
    torch.testing.assert_close(new_share, share[index], rtol=0, atol=0)
    assert rows_in(vectors, samples)
    if choice == "closest":
        assert torch.equal(vectors, samples[torch.cdist(codes[index], samples).argmin(1)])
    else:
        assert len(vectors.unique(dim=0)) == 4


@pytest.mark.parametrize("metric", [None, Cosine()])
def test_anchors_move_codes_by_their_weight(metric):
    layer = VectorQuantizer(DIM, 8, metric=metric, revive=Anchors(choice="closest"))
    layer(torch.randn(2, 50, DIM))
    far = layer.metric.place(torch.tensor([-100.0, 1.0, 0.0, 0.0]))
    layer.codebook[5], layer.share[5] = far, 0.01
    z = torch.randn(1, 50, DIM).abs() + 0.1
    placed = layer.metric.place(z)[0]
    size = layer.cluster_size[5].clone()
    layer(z)
    # The share that this batch left, by which the code moved.
    share = layer.share[5]
    weight = torch.exp(-share / 0.01 - 1e-3)
    anchor = placed[(placed - far).norm(dim=1).argmin()]
    expected = layer.metric.place((1 - weight) * far + weight * anchor)
    torch.testing.assert_close(layer.codebook[5], expected, rtol=1e-5, atol=1e-5)
    assert share < 0.01
    assert layer.cluster_size[5] != size * 0.99
    assert int(layer.num_revived) == 0  # less than half the way
    layer.share[5] = 0.0
    layer.codebook[5] = far
    layer(z)
    assert int(layer.num_revived) == 1


@pytest.mark.parametrize("policy", [Timeout(after=2.0), Anchors(window=2.0)], ids=str)
def test_codes_that_start_far_away_all_come_alive(policy: Revival):
    means = 3 * torch.randn(16, 8)

    def batch(num_tokens: int) -> Tensor:
        return means[torch.randint(16, (1, num_tokens))] + 0.5 * torch.randn(1, num_tokens, 8)

    layer = VectorQuantizer(8, 64, init=RandomInit(), revive=policy)
    layer.codebook += 1000.0
    assert len(layer.encode(batch(1024)).unique()) < 10
    for _ in range(60):
        layer(batch(256))
    assert len(layer.encode(batch(4096)).unique()) / 64 > 0.95


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_trap_21_a_reload_goes_on_exactly(policy: Revival):
    def build() -> VectorQuantizer:
        layer = VectorQuantizer(DIM, 12, init=RandomInit(), revive=policy)
        layer.codebook[6:] += 50.0
        layer.share[6:] = 0.004
        return layer

    whole, batches = build(), torch.randn(8, 2, 10, DIM)
    for batch in batches[:4]:
        whole(batch)
    state, random = copy.deepcopy(whole.state_dict()), torch.get_rng_state()
    resumed = build()
    resumed.load_state_dict(state, strict=True)
    for layer in (whole, resumed):
        torch.set_rng_state(random)
        for batch in batches[4:]:
            layer(batch)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_evaluation_moves_nothing(policy: Revival):
    layer = VectorQuantizer(DIM, 12, init=RandomInit(), revive=policy)
    layer.share[:] = 0.0
    before = copy.deepcopy(layer.state_dict())
    layer.eval()(torch.randn(2, 9, DIM))
    layer.train().encode(torch.randn(2, 9, DIM))
    with torch.no_grad():
        layer(torch.randn(2, 9, DIM))
    assert all(torch.equal(before[k], v) for k, v in layer.state_dict().items())


def test_bad_settings_are_refused():
    for build in (
        lambda: Timeout(after=0.0),
        lambda: Timeout(after=float("nan")),
        lambda: Anchors(scale=0.0),
        lambda: Anchors(scale=1.0),
        lambda: Anchors(window=0.0),
        lambda: KMeans(max_samples=0),
        lambda: FromData(max_samples=0),
    ):
        with pytest.raises(ConfigError, match="expected"):
            build()


# Collecting


def test_collecting_keeps_everything_while_there_is_room():
    kept = collect(torch.zeros(0, 2), torch.arange(6.0).reshape(3, 2), 1, 10)
    kept = collect(kept, 10 + torch.arange(6.0).reshape(3, 2), 2, 10)
    assert torch.equal(kept[:, 0], torch.tensor([0.0, 2, 4, 10, 12, 14]))


@pytest.mark.parametrize("sizes", [[40] * 10, [5, 100, 1, 300, 40], [1000], [100, 0, 3]])
def test_collecting_is_bounded_and_takes_distinct_rows(sizes: list[int]):
    kept, start = torch.zeros(0, 1), 0
    for step, size in enumerate(sizes):
        kept = collect(kept, torch.arange(start, start + size).float()[:, None], step + 1, 60)
        start += size
        assert len(kept) == min(60, start)
        assert len(kept.unique()) == len(kept)


def test_collecting_gives_every_batch_its_share():
    totals = torch.zeros(10)
    for _ in range(20):
        kept = torch.zeros(0, 1)
        for step in range(10):
            kept = collect(kept, torch.full((50, 1), float(step)), step + 1, 100)
        totals += kept.flatten().long().bincount(minlength=10)
    # 10 of 100 per batch; rounding and chance move it a little.
    assert ((totals / 20 - 10).abs() < 3).all()


def test_many_batches_are_collected_in_bounded_memory():
    layer = VectorQuantizer(DIM, 16, init=KMeans(batches=6, max_samples=40))
    for step in range(5):
        layer(torch.randn(1, 30, DIM) + 10 * step)
        assert len(layer.pending) == min(30 * (step + 1), 40)
    layer(torch.randn(1, 30, DIM) + 50)
    assert layer.initialized
    assert len(layer.pending) == 0
    # Codes of all six batches.
    assert set((layer.codebook.mean(1) / 10).round().int().tolist()) == set(range(6))
    # Never fewer than codes.
    small = VectorQuantizer(DIM, 16, init=FromData(batches=3, max_samples=4))
    for _ in range(2):
        small(torch.randn(1, 30, DIM))
    assert len(small.pending) == 16


# A table


class Counted(Table):
    """Counts how often it is read."""

    def __init__(self, codes: Tensor) -> None:
        self.codes = codes
        self.num_reads = 0

    def __call__(self, num_codes: int, dim: int) -> Tensor:
        self.num_reads += 1
        return self.codes


def test_trap_1_a_table_becomes_the_codebook_with_the_first_batch_and_stays_near():
    table = Counted(3 * torch.randn(16, DIM))
    layer = VectorQuantizer(DIM, 16, init=FromTable(table))
    assert (layer.initialized, table.num_reads) == (False, 0)
    z = table.codes[torch.randint(16, (4, 100))]
    layer(z)
    assert (layer.initialized, table.num_reads) == (True, 1)
    assert torch.equal(layer._searched, table.codes)
    # One update moves norms and use by less than a tenth.
    torch.testing.assert_close(layer.codebook, table.codes, rtol=1e-4, atol=1e-4)
    assert len(layer.encode(z).unique()) == 16
    # A model that was trained needs the table no more.
    other = VectorQuantizer(DIM, 16, init=FromTable(Counted(torch.zeros(0, 0))))
    other.load_state_dict(layer.state_dict())
    other(z)
    assert other.init.table.num_reads == 0


def test_a_table_of_another_size_is_refused():
    layer = VectorQuantizer(DIM, 16, init=FromTable(Counted(torch.randn(15, DIM))))
    with pytest.raises(ConfigError, match="Counted: expected 16 codes of 4 features"):
        layer(torch.randn(1, 3, DIM))
