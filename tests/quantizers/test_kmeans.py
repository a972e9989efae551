import itertools

import pytest
import torch
from torch import Tensor

from vqkit.quantizers import KMeans
from vqkit.quantizers import kmeans as kmeans_module
from vqkit.quantizers.kmeans import kmeans, sample_distinct


def naive_lloyd(samples: Tensor, centres: Tensor, iterations: int) -> Tensor:
    """Textbook Lloyd in fp64; an empty cluster keeps its centre."""
    samples, centres = samples.double(), centres.double()
    for _ in range(iterations):
        assigned = torch.cdist(samples, centres, compute_mode="donot_use_mm_for_euclid_dist")
        assigned = assigned.argmin(1)
        for k in range(len(centres)):
            if bool((assigned == k).any()):
                centres[k] = samples[assigned == k].mean(0)
    return centres


def inertia(samples: Tensor, centres: Tensor) -> float:
    return torch.cdist(samples.double(), centres.double()).amin(1).square().sum().item()


def mixture(num_components: int, num_samples: int, dim: int, spread: float) -> Tensor:
    means = 10 * torch.randn(num_components, dim)
    components = torch.arange(num_samples) % num_components
    return means[components] + spread * torch.randn(num_samples, dim)


@pytest.mark.parametrize("num_codes", [1, 2, 16])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_equals_naive_lloyd_from_the_same_seeds(num_codes, offset):
    samples = torch.randn(400, 3) + offset
    torch.manual_seed(5)
    seeds = kmeans_module._seed(samples, num_codes)
    torch.manual_seed(5)
    centres, counts = kmeans(samples, num_codes, iterations=20)
    naive = naive_lloyd(samples, seeds, 20)
    assert inertia(samples, centres) <= inertia(samples, naive) * (1 + 1e-4)
    torch.testing.assert_close(centres.double(), naive, rtol=1e-6, atol=1e-4)
    assigned = torch.cdist(samples.double() - offset, naive - offset).argmin(1)
    torch.testing.assert_close(counts, assigned.bincount(minlength=num_codes).float())


def test_inertia_falls_with_every_iteration():
    samples = torch.randn(600, 4)
    values = []
    for iterations in range(8):
        torch.manual_seed(2)
        values.append(inertia(samples, kmeans(samples, 24, iterations)[0]))
    assert all(b <= a * (1 + 1e-6) for a, b in itertools.pairwise(values))
    assert values[-1] < 0.9 * values[0]


def test_seeding_finds_the_components_of_a_mixture():
    samples = mixture(32, 1600, 8, spread=0.1)
    centres, counts = kmeans(samples, 32, iterations=0)
    # Uniform seeding leaves about a third of the components without a seed.
    uniform = samples[torch.randperm(len(samples))[:32]]
    assert inertia(samples, centres) < 0.05 * inertia(samples, uniform)
    assert (counts == 50).all()


def test_seeding_several_centres_a_round_costs_little(monkeypatch):
    samples = torch.randn(1500, 3)
    several = inertia(samples, kmeans_module._seed(samples, 300))  # two a round
    monkeypatch.setattr(kmeans_module, "_SEEDING_ROUNDS", 300)
    single = inertia(samples, kmeans_module._seed(samples, 300))
    assert several < 1.1 * single


@pytest.mark.parametrize("num_codes", [1, 2, 16, 300])
@pytest.mark.parametrize("extra", ["1", "K-1", "K", "K+1", "3K"])
def test_as_many_distinct_centres_as_asked_for(num_codes, extra):
    """Traps 25 and 26: neither fewer codes than asked for nor equal ones."""
    num_samples = {"1": 1, "K-1": num_codes - 1, "K": num_codes, "K+1": num_codes + 1}.get(
        extra, 3 * num_codes
    )
    samples = torch.randn(num_samples, 5)
    centres, counts = kmeans(samples, num_codes, 10)
    assert centres.shape == (num_codes, 5)
    assert len(centres.unique(dim=0)) == num_codes
    assert counts.sum() == num_samples
    assert centres.isfinite().all()


@pytest.mark.parametrize("num_distinct", [1, 7, 8, 9, 12])
def test_distinct_centres_of_repeated_samples(num_distinct):
    """Trap 26."""
    values = torch.randn(num_distinct, 3)
    samples = values.repeat(50, 1)
    centres, counts = kmeans(samples, 8, 10)
    assert len(centres.unique(dim=0)) == 8
    assert counts.sum() == len(samples)
    if num_distinct <= 8:
        assert inertia(samples, centres) < 1e-6  # every value is a centre itself


def test_centres_left_empty_move_to_different_samples(monkeypatch):
    """Trap 26: equal far samples are drawn together, and their centres could never part."""
    samples = torch.cat(
        [torch.zeros(50, 1), torch.full((50, 1), 9.0), torch.arange(1.0, 5)[:, None]]
    )
    far = torch.tensor([[0.0], [500.0], [600.0], [700.0]])
    monkeypatch.setattr(kmeans_module, "_seed", lambda samples, num_codes, weights: far.clone())
    for seed in range(20):
        torch.manual_seed(seed)
        assert len(kmeans(samples, 4, iterations=1)[0].unique(dim=0)) == 4
        centres, counts = kmeans(samples, 4, iterations=5)
        assert len(centres.unique(dim=0)) == 4
        assert (counts > 0).all()


def test_samples_closer_than_their_squared_distance_can_tell():
    """fp32 squares of 1e-30 are zero: seeding by squared distance must come to an end."""
    for samples in (
        1e-30 * torch.randn(50, 3),
        torch.cat([torch.randn(3, 3), 1e-30 * torch.randn(40, 3)]),
    ):
        centres, counts = kmeans(samples, 8, 5)
        assert centres.shape == (8, 3)
        assert centres.isfinite().all()
        assert counts.sum() == len(samples)


def test_jitter_stays_near_the_samples():
    samples = torch.tensor([[100.0, 0.0], [101.0, 0.0]])
    codes = sample_distinct(samples, 64)
    assert len(codes.unique(dim=0)) == 64
    assert torch.cdist(codes, samples).amin(1).max() < 0.1


def test_no_samples_give_random_codes():
    codes = sample_distinct(torch.zeros(0, 4), 8)
    assert codes.shape == (8, 4)
    assert len(codes.unique(dim=0)) == 8


def test_the_seed_decides():
    samples = torch.randn(300, 4)
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results.append(kmeans(samples, 20, 5)[0])
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_at_most_max_samples_are_clustered_spread_over_all():
    samples = torch.arange(1000.0)[:, None]
    _, counts = KMeans(max_samples=10, iterations=0)(samples, 4)
    assert counts.sum() == 10
    # Ten distinct samples for ten codes: these are the chosen ones.
    codes, _ = KMeans(max_samples=10)(samples, 10)
    assert codes.flatten().sort().values.tolist() == [100.0 * i for i in range(10)]


def test_row_numbers_beyond_the_integers_of_float32():
    """2^25 + 4 rows without their memory; as floats the last row number rounds out of range."""
    samples = torch.zeros(1, 1).expand(2**25 + 4, 1)
    codes, _ = KMeans(iterations=0, max_samples=100)(samples, 4)
    assert codes.shape == (4, 1)
