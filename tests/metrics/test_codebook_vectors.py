"""Twins among the vectors of a codebook, and their drift between checkpoints."""

import math

import pytest
import torch

from vqkit.errors import ShapeError
from vqkit.metrics import codebook_drift, codebook_vectors, distinct_vectors, twin_vectors


def naive_distinct(vectors: torch.Tensor, radius: float) -> int:
    count = 0
    for i, vector in enumerate(vectors):
        count += all(math.dist(vector.tolist(), other.tolist()) > radius for other in vectors[:i])
    return count


class TestDistinctVectors:
    def test_equals_comparing_all_pairs(self, monkeypatch):
        vectors = torch.randn(300, 3)
        radius = (vectors.double() - vectors.double().mean(0)).square().sum(1).mean().sqrt().item()
        for tile in (1, 1000, 2**20):
            monkeypatch.setattr(codebook_vectors, "_TILE_VALUES", tile)
            for tolerance in (0.0, 0.05, 0.2, 3.0):
                expected = naive_distinct(vectors, tolerance * radius)
                assert distinct_vectors(vectors, tolerance) == expected
        assert 1 < naive_distinct(vectors, 0.2 * radius) < 300

    def test_finds_exact_and_near_twins(self):
        originals = torch.randn(500, 8)
        near = originals[:100] + 1e-5 * torch.randn(100, 8)
        vectors = torch.cat((originals, originals[:50], near))[torch.randperm(650)]
        assert distinct_vectors(vectors) == 500
        assert distinct_vectors(vectors, tolerance=0.0) == 600

    @pytest.mark.parametrize(("scale", "offset"), [(1e-6, 0.0), (1e4, 0.0), (1.0, 30.0)])
    def test_has_no_scale(self, scale, offset):
        originals = torch.randn(200, 4)
        vectors = torch.cat((originals, originals[:60])) * scale + offset
        assert distinct_vectors(vectors) == 200

    def test_collapsed_codebook(self):
        vectors = torch.full((64, 4), 3.0)
        vectors[1::2] = torch.nextafter(vectors[1::2], torch.tensor(4.0))
        assert distinct_vectors(vectors) == 1

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_other_precisions(self, dtype):
        vectors = torch.eye(8, dtype=dtype).repeat(3, 1)
        assert distinct_vectors(vectors) == 8

    def test_empty_and_single(self):
        assert distinct_vectors(torch.zeros(0, 4)) == 0
        assert distinct_vectors(torch.zeros(1, 4)) == 1

    def test_codes_that_diverged(self):
        vectors = torch.zeros(5, 2)
        vectors[3, 0] = math.nan
        with pytest.raises(ShapeError, match=r"in 1 codes"):
            distinct_vectors(vectors)


class TestTwinVectors:
    def test_each_twin_stands_beside_the_lowest_of_its_copies(self):
        vectors = torch.randn(40, 4)
        vectors[[7, 30, 39]] = vectors[3].clone()
        vectors[21] = vectors[20].clone()
        assert twin_vectors(vectors).tolist() == [[7, 3], [21, 20], [30, 3], [39, 3]]

    def test_equals_comparing_all_pairs(self):
        vectors = torch.randn(200, 2)
        spread = (vectors - vectors.mean(0)).square().sum(1).mean().sqrt()
        near = torch.cdist(vectors.double(), vectors.double()) <= 0.1 * spread
        expected = [
            [i, int(near[i].nonzero()[0])] for i in range(200) if int(near[i].nonzero()[0]) < i
        ]
        assert len(expected) > 20
        assert twin_vectors(vectors, tolerance=0.1).tolist() == expected


class TestDrift:
    def test_of_a_codebook_that_moved_as_a_whole(self):
        before = torch.randn(300, 8)
        spread = (before - before.mean(0)).square().sum(1).mean().sqrt()
        shift = torch.randn(8)
        drift = codebook_drift(before, before + shift)
        assert drift.mean == pytest.approx(float(shift.norm() / spread), rel=1e-5)
        assert drift.maximum == pytest.approx(drift.median, rel=1e-5)
        assert drift.relative_scale == pytest.approx(1.0, rel=1e-6)

    def test_counts_codes_that_changed_places(self):
        before = torch.randn(50, 4)
        after = before.clone()
        after[[3, 9]] = before[[9, 3]]
        drift = codebook_drift(before, after + 1e-4)
        assert drift.num_exchanged == 2
        assert drift.maximum > 0.1 > drift.median
        assert codebook_drift(before, 3 * before).relative_scale == pytest.approx(3.0)

    @pytest.mark.usefixtures("unchecked_shapes")
    def test_refuses_other_shapes_and_what_diverged(self):
        with pytest.raises(ShapeError, match=r"\[4, 2\] and \[5, 2\]"):
            codebook_drift(torch.zeros(4, 2), torch.zeros(5, 2))
        with pytest.raises(ShapeError, match="in 1 codes"):
            codebook_drift(torch.zeros(2, 1), torch.tensor([[0.0], [math.inf]]))
