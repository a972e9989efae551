"""Changing codebooks, and the index maps that go with it."""

import itertools

import pytest
import torch
from torch import Tensor

from vqkit.errors import ConfigError, ShapeError
from vqkit.quantizers import (
    EMA,
    FSQ,
    Cosine,
    Factorized,
    GradientUpdate,
    IndexMap,
    Orthogonality,
    Quantizer,
    RandomInit,
    Residual,
    Sampled,
    VectorQuantizer,
    VQLoss,
    export_codebook,
    grow,
    ladder,
    merge_twins,
    neighbour_distance,
    order_by_similarity,
    prune,
    reindex_to_used,
    replace_codebook,
    shrink,
)
from vqkit.tokenizers import describe


def nearest(rows: Tensor, table: Tensor) -> Tensor:
    return torch.cdist(rows.double(), table.double()).argmin(1)


# Index maps


def test_index_map_maps_keeps_no_token_and_refuses_what_is_gone():
    index_map = IndexMap(torch.tensor([2, -1, 0, 0]), new_size=3)
    assert index_map(torch.tensor([[0, 3], [-1, 2]])).tolist() == [[2, 0], [-1, 0]]
    assert index_map(torch.zeros(0, 3, dtype=torch.int32)).shape == (0, 3)
    assert (index_map.old_size, index_map.num_lost, index_map.is_injective) == (4, 1, False)
    with pytest.raises(ShapeError, match="2 tokens of codes that were dropped, 1 among them"):
        index_map(torch.tensor([1, 0, 1]))
    for bad in (4, -2):
        with pytest.raises(ShapeError, match="another codebook"):
            index_map(torch.tensor([bad]))
    with pytest.raises(ConfigError, match="merged"):
        index_map.inverse()


def test_inverse_and_composition():
    index_map = IndexMap(torch.tensor([2, -1, 0]), new_size=4)
    assert index_map.inverse().new_of_old.tolist() == [2, -1, 0, -1]
    there_and_back = index_map.then(index_map.inverse())
    assert there_and_back.new_of_old.tolist() == [0, -1, 2]
    with pytest.raises(ConfigError, match="to follow"):
        index_map.then(index_map)


@pytest.mark.parametrize(
    ("table", "size"),
    [([0, 2], 2), ([-2], 1), ([], 1), ([0], 0)],
)
def test_tables_that_are_no_maps_are_refused(table: list[int], size: int):
    with pytest.raises(ConfigError, match="IndexMap"):
        IndexMap(torch.tensor(table, dtype=torch.int64), size)


# Shrinking


def test_shrink_finds_groups_and_maps_to_the_nearest():
    groups = 50.0 * torch.randn(8, 5)
    codebook = groups.repeat_interleave(10, 0) + 0.1 * torch.randn(80, 5)
    smaller, index_map = shrink(codebook, 8)
    means = codebook.reshape(8, 10, 5).mean(1)
    torch.testing.assert_close(smaller[nearest(means, smaller)], means, rtol=1e-4, atol=1e-3)
    assert torch.equal(index_map.new_of_old, nearest(codebook, smaller))
    assert len(index_map.new_of_old.unique()) == 8


def test_shrink_equals_k_means_on_repeated_rows():
    """A weight of n is n equal rows."""
    codebook, weights = torch.randn(12, 3), torch.randint(1, 6, (12,))
    smaller, index_map = shrink(codebook, 4, weights, iterations=100)
    for code in range(4):
        mine = index_map.new_of_old == code
        mean = (codebook[mine] * weights[mine, None]).sum(0) / weights[mine].sum()
        torch.testing.assert_close(smaller[code], mean, rtol=1e-4, atol=1e-5)


def test_shrink_weights_matter_and_zero_moves_nothing():
    codebook = torch.tensor([[0.0], [1.0], [10.0], [11.0], [1000.0]])
    smaller, index_map = shrink(codebook, 2, torch.tensor([9.0, 1.0, 1.0, 1.0, 0.0]))
    torch.testing.assert_close(smaller.sort(0).values, torch.tensor([[0.1], [10.5]]))
    assert index_map.new_of_old[4] == index_map.new_of_old[3]


@pytest.mark.parametrize("nested", [True, False])
def test_ladder(nested: bool):
    codebook = torch.randn(64, 4)
    rungs = ladder(codebook, [32, 8, 2], nested=nested)
    errors = [(codebook - book[way.new_of_old]).square().sum().item() for book, way in rungs]
    assert [len(book) for book, _ in rungs] == [32, 8, 2]
    assert errors == sorted(errors)
    if nested:
        # A step from rung to rung exists: codes that shared a rung share the next.
        for (_, fine), (_, coarse) in itertools.pairwise(rungs):
            for code in range(fine.new_size):
                assert len(coarse.new_of_old[fine.new_of_old == code].unique()) <= 1


def test_sizes_and_counts_that_do_not_fit_are_refused():
    codebook = torch.randn(8, 2)
    for call in (
        lambda: shrink(codebook, 8),
        lambda: shrink(codebook, 0),
        lambda: shrink(codebook, 2, torch.zeros(8)),
        lambda: shrink(codebook, 2, torch.ones(7)),
        lambda: ladder(codebook, [4, 4]),
        lambda: ladder(codebook, [8]),
        lambda: prune(codebook, torch.zeros(8)),
        lambda: prune(codebook, torch.full((8,), float("nan"))),
        lambda: prune(codebook, -torch.ones(8)),
        lambda: reindex_to_used(torch.zeros(8, dtype=torch.int64)),
        lambda: merge_twins(codebook, -1.0),
        lambda: merge_twins(codebook, float("nan")),
        lambda: grow(codebook, 8),
        lambda: grow(codebook[:1], 8),
        lambda: order_by_similarity(codebook, passes=-1),
        lambda: order_by_similarity(codebook[:0]),
    ):
        with pytest.raises(ConfigError, match="expected"):
            call()


# Pruning, reindexing, merging, growing


def test_prune_keeps_used_codes_and_sends_the_others_to_the_nearest():
    codebook = torch.randn(20, 3)
    counts = torch.arange(20) % 4
    kept, index_map = prune(codebook, counts, minimum=2)
    assert torch.equal(kept, codebook[counts >= 2])
    assert torch.equal(index_map.new_of_old, nearest(codebook, kept))
    used = torch.nonzero(counts >= 2).flatten()
    assert torch.equal(kept[index_map(used)], codebook[used])


def test_pruned_twins_keep_their_own_numbers():
    codebook = torch.tensor([[1.0], [1.0], [2.0]])
    _, index_map = prune(codebook, torch.tensor([1, 1, 0]))
    assert index_map.new_of_old.tolist() == [0, 1, 0]


def test_reindex_to_used_decodes_the_same_bit_for_bit():
    codebook, tokens = torch.randn(50, 3), torch.randint(0, 50, (30,))
    index_map = reindex_to_used(tokens.bincount(minlength=50))
    compact = codebook[index_map.inverse().new_of_old]
    assert len(compact) == index_map.new_size == len(tokens.unique())
    assert torch.equal(compact[index_map(tokens)], codebook[tokens])
    assert torch.equal(index_map.inverse()(index_map(tokens)), tokens)


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_merge_twins_moves_no_code_further_than_the_tolerance(offset: float):
    codebook = torch.randn(300, 2) + offset
    counts = torch.randint(0, 100, (300,))
    merged, index_map = merge_twins(codebook, 0.3, counts)
    moved = (merged[index_map.new_of_old].double() - codebook.double()).norm(dim=1)
    assert moved.max() <= 0.3
    assert len(merged) < 250
    # What is left has no twins, and a code goes to one that is used at least as often.
    distance = torch.cdist(merged.double(), merged.double()).fill_diagonal_(9.0)
    assert distance.min() > 0.3
    leaders = (codebook[:, None] == merged).all(-1).int().argmax(0)
    assert (counts[leaders[index_map.new_of_old]] >= counts).all()


def test_merging_equal_codes_loses_nothing():
    codebook = torch.randn(10, 3)[torch.randint(0, 10, (40,))]
    merged, index_map = merge_twins(codebook, 0.0)
    assert len(merged) == len(codebook.unique(dim=0))
    assert torch.equal(merged[index_map.new_of_old], codebook)
    same, identity = merge_twins(merged, 0.0)
    assert torch.equal(same, merged)
    assert identity.is_injective


def test_grow_splits_the_most_used_within_their_cells():
    codebook = torch.randn(16, 4)
    counts = torch.ones(16)
    counts[3], counts[5] = 100.0, 30.0
    larger, index_map = grow(codebook, 22, counts)
    assert torch.equal(larger[:16], codebook)
    assert torch.equal(index_map.new_of_old, torch.arange(16))
    # 100, 50, 30, 25 ...: 3, 3, 5, 3 in whichever order of equals, then smaller ones.
    parents = nearest(larger[16:], codebook).tolist()
    assert parents.count(3) + parents.count(5) == 6
    assert parents[:3] == [3, 3, 5]
    assert len(larger.unique(dim=0)) == 22


def test_grow_parts_codes_that_coincide():
    larger, _ = grow(torch.tensor([[1.0, 1.0], [1.0, 1.0], [3.0, 2.0]]), 6)
    assert len(larger.unique(dim=0)) == 5


# Ordering


def test_ordering_is_a_permutation_with_near_neighbours():
    codebook = 5 * torch.randn(10, 6).repeat_interleave(20, 0) + torch.randn(200, 6) + 1000.0
    codebook = codebook[torch.randperm(200)]
    ordered, index_map = order_by_similarity(codebook)
    assert index_map.is_injective
    assert torch.equal(ordered[index_map.new_of_old], codebook)
    assert torch.equal(codebook[index_map.inverse().new_of_old], ordered)
    chained, _ = order_by_similarity(codebook, passes=0)
    shuffled = neighbour_distance(codebook)
    assert neighbour_distance(chained) < 0.45 * shuffled
    assert neighbour_distance(ordered) < 0.97 * neighbour_distance(chained)


def test_ordering_finds_a_line_from_end_to_end():
    line = torch.arange(40.0)[:, None] * torch.tensor([[1.0, 2.0, -1.0]])
    ordered, _ = order_by_similarity(line[torch.randperm(40)])
    assert torch.equal(ordered, line) or torch.equal(ordered, line.flip(0))
    for size in (1, 2, 3):
        assert order_by_similarity(line[:size])[1].new_size == size
    assert neighbour_distance(line[:1]) == 0.0


# Into a quantizer


@pytest.mark.parametrize("metric", [None, Cosine()])
@pytest.mark.parametrize("update", [EMA(0.9), GradientUpdate()])
def test_replaced_codebook_decodes_mapped_tokens_like_the_old_one(metric, update):
    old = VectorQuantizer(4, 32, metric=metric, update=update)
    z = torch.randn(2, 60, 4)
    old(z)
    tokens = old.encode(z)
    index_map = reindex_to_used(tokens.flatten().bincount(minlength=32))
    codes = old.codebook.detach()[index_map.inverse().new_of_old]
    state = {name: value.clone() for name, value in old.state_dict().items()}
    new = replace_codebook(old, codes, index_map)
    assert torch.allclose(new.decode(index_map(tokens)), old.decode(tokens), atol=1e-6)
    if metric is None:
        assert torch.equal(new.decode(index_map(tokens)), old.decode(tokens))
    assert all(torch.equal(state[name], value) for name, value in old.state_dict().items())
    assert new.initialized
    assert new.codebook_sizes == (index_map.new_size,)
    # It trains on, and its counts are those of its codes.
    kept = index_map.inverse().new_of_old
    assert torch.equal(new.cluster_size, old.cluster_size[kept])
    new(z).loss.backward() if update != EMA(0.9) else new(z)


def test_counts_of_merged_codes_are_added_and_new_codes_get_the_mean():
    old = VectorQuantizer(2, 4, init=RandomInit(scale=1.0))
    old.cluster_size[:] = torch.tensor([1.0, 2.0, 4.0, 5.0])
    merged = replace_codebook(old, torch.randn(2, 2), IndexMap(torch.tensor([0, 0, 1, 1]), 2))
    assert merged.cluster_size.tolist() == [3.0, 9.0]
    grown = replace_codebook(old, *grow(old.codebook, 6))
    assert grown.cluster_size.tolist() == [1.0, 2.0, 4.0, 5.0, 2.0, 2.0]
    with pytest.raises(ConfigError, match="expected a map from 4 to 2"):
        replace_codebook(old, torch.randn(2, 2), IndexMap(torch.tensor([0, 0, 1]), 2))


def test_a_replaced_codebook_keeps_every_choice_and_counter():
    old = VectorQuantizer(
        2,
        4,
        update=GradientUpdate(),
        init=RandomInit(),
        selection=Sampled(0.5),
        regularizers=[Orthogonality()],
        loss=VQLoss.dac(),
    )
    old(torch.randn(1, 6, 2))
    new = replace_codebook(old, torch.randn(2, 2), IndexMap(torch.tensor([0, 0, 1, 1]), 2))
    assert describe(new) == describe(old) | {"codebook_size": 2}
    assert new.num_steps == old.num_steps == 1


# Export


@pytest.mark.parametrize(
    "quantizer",
    [
        VectorQuantizer(4, 20),
        VectorQuantizer(4, 20, metric=Cosine(), update=GradientUpdate()),
        Factorized(VectorQuantizer(3, 20), dim=8),
        FSQ([3, 5, 4]),
        Factorized(FSQ([3, 5, 4]), dim=8),
    ],
    ids=lambda quantizer: type(quantizer).__name__,
)
def test_export_is_the_decoded_table(quantizer: Quantizer):
    """Trap 14: through the projections."""
    table = export_codebook(quantizer, codes_at_once=7)
    (size,) = quantizer.codebook_sizes
    indices = torch.arange(size)
    assert table.shape == (size, quantizer.dim)
    assert not table.requires_grad
    assert torch.equal(table, quantizer.decode(indices[:, None, None])[:, 0])


def test_export_of_a_level_is_what_it_adds():
    quantizer = Residual(VectorQuantizer(4, 8, init=RandomInit(scale=1.0)), 3)
    tables = torch.stack([export_codebook(quantizer, codebook=i) for i in range(3)])
    indices = torch.randint(0, 8, (1, 50, 3))
    parts = [tables[i][indices[0, :, i]] for i in range(3)]
    torch.testing.assert_close(sum(parts), quantizer.decode(indices)[0])
    with pytest.raises(ConfigError, match="expected 0 to 2, got 3"):
        export_codebook(quantizer, codebook=3)


def test_trap_11_export_of_an_astronomic_codebook_is_refused():
    with pytest.raises(ConfigError, match="16,777,216 codes, got 1,099,511,627,776"):
        export_codebook(FSQ([16] * 10))
