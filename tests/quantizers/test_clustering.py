"""Clustering of streams."""

import weakref
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from vqkit.errors import ConfigError, ShapeError
from vqkit.quantizers import kmeans_per_class, minibatch_kmeans
from vqkit.quantizers.kmeans import kmeans


def inertia(samples: Tensor, codes: Tensor) -> float:
    return torch.cdist(samples, codes).amin(1).square().mean().item()


def mixture(num_tokens: int, means: Tensor) -> Tensor:
    noise = torch.randn(num_tokens, means.shape[1])
    return means[torch.randint(len(means), (num_tokens,))] + noise


def test_a_short_stream_is_clustered_exactly_as_k_means_does():
    samples = torch.randn(500, 3)
    torch.manual_seed(1)
    codes, counts = minibatch_kmeans(samples.split(70), 12, iterations=7)
    torch.manual_seed(1)
    expected, expected_counts = kmeans(samples, 12, 7)
    assert torch.equal(codes, expected)
    assert torch.equal(counts, expected_counts)


def test_a_long_stream_comes_near_k_means_on_all_of_it():
    means = 4 * torch.randn(30, 6)
    samples = mixture(8000, means)
    codes, counts = minibatch_kmeans(samples.split(500), 60, num_kept=1000)
    whole, _ = kmeans(samples, 60, 20)
    assert inertia(samples, codes) < 1.1 * inertia(samples, whole)
    # Better than what it started from.
    first, _ = kmeans(samples[:1000], 60, 20)
    assert inertia(samples, codes) < inertia(samples, first)
    assert counts.sum().item() == pytest.approx(8000, rel=0.01)


def test_each_centre_is_the_mean_of_what_it_was_given():
    """Sculley's learning rate of one over the count, for centres far enough apart."""
    means = torch.tensor([[0.0, 0.0], [100.0, 0.0], [0.0, 100.0]])
    samples = mixture(4000, means)
    codes, counts = minibatch_kmeans(samples.split(100), 3, num_kept=200)
    assigned = torch.cdist(samples, means).argmin(1)
    for k in range(3):
        mine = samples[assigned == k]
        code = torch.cdist(means[k : k + 1], codes).argmin()
        torch.testing.assert_close(codes[code], mine.mean(0), rtol=1e-4, atol=1e-3)
        assert counts[code] == len(mine)


def test_starved_centres_move_to_where_the_stream_goes():
    first, later = torch.randn(400, 2), 200 + 20 * torch.randn(60, 1000, 2)
    codes, _ = minibatch_kmeans([first, *later], 40, num_kept=400)
    assert (codes.mean(1) > 100).sum() >= 20
    assert len(codes.unique(dim=0)) == 40


def test_memory_is_bounded_by_what_is_kept():
    alive: weakref.WeakSet[Tensor] = weakref.WeakSet()
    most = 0

    def stream() -> Iterator[Tensor]:
        nonlocal most
        for _ in range(50):
            batch = torch.randn(100, 2)
            alive.add(batch)
            yield batch
            del batch
            most = max(most, len(alive))

    minibatch_kmeans(stream(), 4, num_kept=300)
    # Those kept, and the one at work.
    assert most <= 4


def test_empty_batches_and_odd_dtypes():
    batches = [torch.zeros(0, 2), torch.randn(50, 2).half(), torch.zeros(0, 2), torch.randn(9, 2)]
    codes, counts = minibatch_kmeans([*batches, *batches], 3, num_kept=40)
    assert codes.dtype == torch.float32
    assert counts.sum().item() >= 100


@pytest.mark.usefixtures("unchecked_shapes")
def test_what_cannot_be_clustered_is_refused():
    z = torch.randn(20, 2)
    for error, call in (
        (ConfigError, lambda: minibatch_kmeans([], 3)),
        (ConfigError, lambda: minibatch_kmeans([z[:0]], 3)),
        (ConfigError, lambda: minibatch_kmeans([z], 0)),
        (ShapeError, lambda: minibatch_kmeans([z, torch.randn(5, 3)], 3)),
        (ShapeError, lambda: minibatch_kmeans([z[0]], 3)),
        (ShapeError, lambda: minibatch_kmeans([z.long()], 3)),
        (ShapeError, lambda: minibatch_kmeans([z / 0], 3)),
        (ShapeError, lambda: kmeans_per_class(z, torch.zeros(19, dtype=torch.int64), 2)),
        (ShapeError, lambda: kmeans_per_class(z / 0, torch.zeros(20, dtype=torch.int64), 2)),
        (ConfigError, lambda: kmeans_per_class(z, torch.zeros(20, dtype=torch.int64), 0)),
        (ConfigError, lambda: kmeans_per_class(z[:0], torch.zeros(0, dtype=torch.int64), 1)),
    ):
        with pytest.raises(error, match="expected"):
            call()


def test_every_class_gets_its_own_codes_however_rare():
    labels = torch.tensor([7] * 1000 + [3] * 20)
    features = torch.randn(1020, 3) + 100.0 * labels[:, None]
    codes, classes = kmeans_per_class(features, labels, 8)
    assert classes.tolist() == [3] * 8 + [7] * 8
    torch.testing.assert_close((codes.mean(1) / 100).round().long(), classes)
    assert len(codes.unique(dim=0)) == 16
