"""Initialisation, moving average and revival of codes."""

import copy
import math

import pytest
import torch
from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.quantizers import (
    EMA,
    Cosine,
    FromData,
    GradientUpdate,
    KMeans,
    RandomInit,
    ReplaceUnused,
    VectorQuantizer,
)

DIM = 4


def rows_in(rows: Tensor, table: Tensor) -> bool:
    """Whether every row occurs in the table, bit for bit."""
    return bool((rows[:, None] == table[None]).all(-1).any(1).all())


# Initialisation


def test_random_init_is_uniform_and_needs_no_data():
    layer = VectorQuantizer(DIM, 500, init=RandomInit())
    assert layer.initialized
    assert layer.codebook.abs().max() <= 1 / 500
    assert layer.codebook.std().item() == pytest.approx(1 / 500 / math.sqrt(3), rel=0.1)
    wide = VectorQuantizer(DIM, 500, init=RandomInit(scale=3.0))
    assert 2.9 < wide.codebook.abs().max() <= 3.0
    before = wide.codebook.clone()
    wide(torch.randn(1, 1, DIM))
    assert ((wide.codebook - before).abs().amax(1) > 0).sum() == 1  # no second initialisation


@pytest.mark.parametrize("update", [EMA(), GradientUpdate()])
def test_codes_from_data_are_distinct_samples(update):
    layer = VectorQuantizer(DIM, 16, init=FromData(), update=update)
    assert not layer.initialized
    z = torch.randn(3, 9, DIM)
    layer.zero_grad()
    searched = codes_before_learning(layer, z)
    assert layer.initialized
    assert len(searched.unique(dim=0)) == 16
    assert rows_in(searched, z.flatten(0, 1))


def codes_before_learning(layer: VectorQuantizer, z: Tensor) -> Tensor:
    """The codebook that a training pass searched."""
    layer(z)
    if layer.trains_codebook:
        return layer.codebook.detach()  # moves when the optimizer steps
    assert layer._searched is not None
    return layer._searched


@pytest.mark.parametrize("num_samples", [1, 15, 16, 17])
@pytest.mark.parametrize("init", [KMeans(), FromData()])
def test_every_code_is_distinct_for_any_number_of_samples(init, num_samples):
    """Traps 25 and 26."""
    codes = codes_before_learning(
        VectorQuantizer(DIM, 16, init=init), torch.randn(1, num_samples, DIM)
    )
    assert codes.shape == (16, DIM)
    assert len(codes.unique(dim=0)) == 16


def test_kmeans_init_sets_codes_and_cluster_sizes_together():
    z = torch.randn(4, 100, DIM)
    layer = VectorQuantizer(DIM, 8, init=KMeans(iterations=30), update=EMA(decay=0.9))
    codes = codes_before_learning(layer, z)
    indices = torch.cdist(z.flatten(0, 1), codes).argmin(1)
    counts = indices.bincount(minlength=8).float()
    # 0.9 of the count of the initialisation plus 0.1 of the same batch.
    torch.testing.assert_close(layer.cluster_size, counts)


@pytest.mark.parametrize("init", [KMeans(batches=3), FromData(batches=3)])
def test_several_batches_are_collected_first(init):
    layer = VectorQuantizer(DIM, 32, init=init, revive=ReplaceUnused())
    batches = [torch.randn(2, 7, DIM) + 10 * i for i in range(3)]
    for i, batch in enumerate(batches[:2]):
        before = layer.codebook.clone() if i else None
        layer(batch)
        assert not layer.initialized
        assert len(layer.pending) == 14 * (i + 1)
        assert before is None or torch.equal(before, layer.codebook)
    # Until then the codes are of the first batch, so that training begins with sense.
    assert layer.codebook.mean() < 3
    codes = codes_before_learning(layer, batches[2])
    assert layer.initialized
    assert len(layer.pending) == 0
    assert len(codes.unique(dim=0)) == 32
    samples = torch.cat(batches).flatten(0, 1)
    near = torch.cdist(codes, samples).amin(1)
    assert near.max() < 3
    # Codes of all three batches, which lie 10 apart.
    assert set((codes.mean(1) / 10).round().int().tolist()) == {0, 1, 2}


def test_a_save_in_the_middle_of_collecting_resumes_exactly():
    def build() -> VectorQuantizer:
        return VectorQuantizer(DIM, 8, init=KMeans(batches=3), revive=ReplaceUnused())

    batches = torch.randn(6, 2, 10, DIM)
    whole, first = build(), build()
    first.load_state_dict(whole.state_dict())
    for layer in (whole, first):
        torch.manual_seed(1)
        for batch in batches[:2]:
            layer(batch)
    assert len(first.pending) == 40
    state, random = copy.deepcopy(first.state_dict()), torch.get_rng_state()
    resumed = build()
    resumed.load_state_dict(state, strict=True)
    for layer in (whole, resumed):
        torch.set_rng_state(random)
        for batch in batches[2:]:
            layer(batch)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    # And a state without anything pending loads into a layer that has collected.
    first.load_state_dict(whole.state_dict(), strict=True)
    assert first.initialized


def test_masked_and_empty_batches_do_not_count_as_collected():
    layer = VectorQuantizer(DIM, 8, init=FromData(batches=2))
    layer(torch.randn(2, 5, DIM), torch.zeros(2, 5, dtype=torch.bool))
    layer(torch.zeros(0, 5, DIM))
    assert int(layer.num_collected) == 0
    mask = torch.zeros(2, 5, dtype=torch.bool)
    mask[0, :3] = True
    layer(torch.randn(2, 5, DIM), mask)
    assert len(layer.pending) == 3


def test_reset_begins_anew():
    layer = VectorQuantizer(DIM, 8, init=KMeans())
    layer(torch.randn(2, 50, DIM))
    layer.reset_parameters()
    assert not layer.initialized
    layer(torch.randn(2, 50, DIM) + 100)
    assert layer.codebook.mean() > 90


# Moving average


def naive_ema(z: Tensor, codebook: Tensor, count: Tensor, total: Tensor, decay: float):
    """C and M of VQ-VAE, appendix A.1, in fp64, without smoothing."""
    assigned = torch.cdist(z, codebook).argmin(1)
    for k in range(len(codebook)):
        mine = z[assigned == k]
        count[k] = decay * count[k] + (1 - decay) * len(mine)
        total[k] = decay * total[k] + (1 - decay) * mine.sum(0)
    return total / count[:, None]


@pytest.mark.parametrize("decay", [0.5, 0.8, 0.99])
def test_fifty_steps_equal_counts_and_sums(decay):
    layer = VectorQuantizer(DIM, 12, update=EMA(decay=decay), init=RandomInit(scale=1.5))
    layer.codebook[-1] = 50.0  # never used
    codebook = layer.codebook.double()
    count = layer.cluster_size.double()
    total = count[:, None] * codebook
    for step in range(50):
        z = torch.randn(2, 16, DIM) + 0.02 * step
        layer(z)
        codebook = naive_ema(z.flatten(0, 1).double(), codebook, count, total, decay)
        torch.testing.assert_close(layer.codebook.double(), codebook, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(layer.cluster_size.double(), count, rtol=1e-4, atol=1e-6)
    assert (layer.codebook[-1] == 50.0).all()


def test_without_memory_a_step_is_a_lloyd_step():
    z = torch.randn(6, 50, DIM)
    layer = VectorQuantizer(DIM, 8, update=EMA(decay=0.0), init=RandomInit(scale=1.0))
    layer.codebook[3] = -100.0
    before = layer.codebook.clone()
    indices = layer(z).indices.flatten()
    for k in range(8):
        mine = z.flatten(0, 1)[indices == k]
        expected = mine.mean(0) if len(mine) else before[k]
        torch.testing.assert_close(layer.codebook[k], expected, rtol=1e-6, atol=1e-6)
        assert layer.cluster_size[k] == len(mine)
    assert layer.cluster_size[3] == 0


def test_an_unused_code_survives_any_number_of_steps():
    """Counts and sums that decay underflow together; the code must not become 0 / 0."""
    codebook, cluster_size = torch.randn(2, 3), torch.ones(2)
    counts, sums = torch.tensor([5.0, 0.0]), torch.zeros(2, 3)
    unused = codebook[1].clone()
    for _ in range(2000):
        codebook, cluster_size = EMA(0.9).step(codebook, cluster_size, counts, sums)
    assert cluster_size[1] < 1e-38
    assert torch.equal(codebook[1], unused)
    assert codebook[0].abs().max() < 1e-6


def test_cosine_codes_stay_on_the_sphere():
    layer = VectorQuantizer(DIM, 8, metric=Cosine(), update=EMA(decay=0.5))
    for _ in range(10):
        layer(30 * torch.randn(2, 32, DIM))
    torch.testing.assert_close(layer.codebook.norm(dim=-1), torch.ones(8))


def test_bad_settings_are_refused():
    for decay in (1.0, -0.1, float("nan")):
        with pytest.raises(ConfigError, match="EMA"):
            EMA(decay=decay)
    for build in (
        lambda: EMA(eps=0.0),
        lambda: KMeans(iterations=-1),
        lambda: KMeans(batches=0),
        lambda: KMeans(max_samples=0),
        lambda: FromData(batches=0),
        lambda: ReplaceUnused(below=0.0),
        lambda: ReplaceUnused(below=1.0),
        lambda: ReplaceUnused(window=0.0),
    ):
        with pytest.raises(ConfigError, match="expected"):
            build()


# Revival


def test_share_is_one_at_uniform_use_whatever_batch_and_codebook():
    for num_codes, num_tokens in [(4, 4), (64, 640), (1000, 1000)]:
        share = torch.full((num_codes,), 0.3)
        counts = torch.full((num_codes,), num_tokens / num_codes)
        for _ in range(50):
            share = ReplaceUnused(window=2.0).update_share(share, counts)
        torch.testing.assert_close(share, torch.ones(num_codes), rtol=1e-3, atol=0)


def test_memory_is_counted_in_tokens_per_code_not_in_steps():
    whole = ReplaceUnused().update_share(torch.ones(2), torch.tensor([600.0, 0.0]))
    parts = torch.ones(2)
    for _ in range(100):
        parts = ReplaceUnused().update_share(parts, torch.tensor([6.0, 0.0]))
    torch.testing.assert_close(whole, parts, rtol=1e-3, atol=1e-6)


def test_an_empty_batch_leaves_the_share():
    share = torch.tensor([0.5, 1.5])
    assert torch.equal(ReplaceUnused().update_share(share, torch.zeros(2)), share)


@pytest.mark.parametrize("update", [EMA(), GradientUpdate()])
@pytest.mark.parametrize("metric", [None, Cosine()])
def test_a_dead_code_becomes_a_vector_of_the_batch(update, metric):
    """Trap 2: code, count and share are reset together, after the moving average."""
    layer = VectorQuantizer(DIM, 8, metric=metric, update=update, revive=ReplaceUnused())
    layer(torch.randn(2, 50, DIM))
    layer.share[5] = 0.01
    with torch.no_grad():
        layer.codebook[5] = layer.metric.place(torch.full((DIM,), -100.0))
    z = torch.randn(2, 50, DIM).abs()
    layer(z)
    place = layer.metric.place
    assert rows_in(layer.codebook[5:6].detach(), place(z).flatten(0, 1))
    assert layer.share[5] == 1.0
    assert int(layer.num_revived) == 1
    # The count that the mean of all had when it was assigned.
    others = layer.cluster_size.sum() - layer.cluster_size[5]
    assert layer.cluster_size[5] > 0.5 * others / 7
    # And it is used by the next batch.
    assert 5 in layer(z).indices


def test_fewer_samples_than_dead_codes_revive_as_many_as_there_are():
    layer = VectorQuantizer(DIM, 16, revive=ReplaceUnused(), init=RandomInit())
    layer.share[:] = 0.01
    z = 5 + torch.rand(1, 3, DIM)
    layer(z)
    assert int(layer.num_revived) == 3
    revived = layer.codebook[layer.codebook.mean(1) > 4]
    assert len(revived.unique(dim=0)) >= 3


def test_masked_positions_are_never_chosen():
    layer = VectorQuantizer(DIM, 16, revive=ReplaceUnused(), init=RandomInit())
    z, mask = torch.full((1, 20, DIM), 77.0), torch.zeros(1, 20, dtype=torch.bool)
    z[:, :10], mask[:, :10] = torch.randn(10, DIM), True
    layer.share[:] = 0.0
    layer(z, mask)
    assert layer.codebook.abs().max() < 20


@pytest.mark.parametrize("ratio", [0.1, 1, 10, 100])
def test_stationary_data_replace_few_codes(ratio):
    """Trap 3: below two tokens counted as dead, batches of K tokens replaced 60-80 % each step."""
    num_codes = 100
    layer = VectorQuantizer(DIM, num_codes, revive=ReplaceUnused())
    num_tokens = int(ratio * num_codes)
    window = 20 * num_codes  # tokens of the memory

    def train(num_steps: int) -> float:
        before = int(layer.num_revived)
        for _ in range(num_steps):
            layer(torch.randn(1, num_tokens, DIM))
        return (int(layer.num_revived) - before) / num_codes

    steps = max(window // num_tokens, 5)
    train(3 * steps)
    # Over a whole memory, not only per step.
    assert train(steps) < 0.05


def test_codes_that_start_far_away_all_come_alive():
    torch.manual_seed(0)
    means = 3 * torch.randn(64, 8)

    def batch(num_tokens: int) -> Tensor:
        return means[torch.randint(64, (1, num_tokens))] + 0.5 * torch.randn(1, num_tokens, 8)

    layer = VectorQuantizer(8, 256, init=RandomInit(), revive=ReplaceUnused())
    layer.codebook += 1000.0
    assert len(layer.encode(batch(4096)).unique()) < 10
    for _ in range(60):
        layer(batch(1024))
    usage = len(layer.encode(batch(8192)).unique()) / 256
    assert usage > 0.95
    assert int(layer.num_revived) >= 250
