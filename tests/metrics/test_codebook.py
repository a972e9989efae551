"""Histograms, usage and divergence against counting by hand."""

import math
from collections import Counter
from fractions import Fraction

import pytest
import torch

from vqkit.errors import ConfigError, ShapeError
from vqkit.metrics import (
    CodeHistogram,
    bitrate_efficiency,
    codebook,
    codebook_level,
    divergence_bits,
    uniform_usage,
)
from vqkit.metrics.codebook import append_rows, flatten_indices, merge_rows, sparse_counts


def histogram(size: int, codes: list[int]) -> CodeHistogram:
    return CodeHistogram.from_rows(size, sparse_counts(torch.tensor(codes, dtype=torch.int64)))


class TestHistogram:
    def test_rows_equal_a_counter(self):
        codes = (torch.randn(5000) * 1000).long() + 2**60
        rows = sparse_counts(codes)
        assert dict(rows.tolist()) == Counter(codes.tolist())
        assert rows[:, 0].tolist() == sorted(set(codes.tolist()))

    def test_merging_in_any_order_equals_counting_at_once(self):
        codes = torch.randint(0, 50, (1000,))
        parts = [sparse_counts(part) for part in codes.split([1, 0, 600, 399])]
        assert torch.equal(merge_rows(parts[::-1]), sparse_counts(codes))

    def test_appending_keeps_the_list_at_the_order_of_the_distinct_codes(self, monkeypatch):
        monkeypatch.setattr(codebook, "_PENDING_ROWS", 8)
        chunks: list[torch.Tensor] = []
        codes = torch.randint(0, 40, (300, 5))
        for part in codes:
            append_rows(chunks, sparse_counts(part))
            assert sum(map(len, chunks)) <= 2 * 40 + 5
        assert torch.equal(merge_rows(chunks), sparse_counts(codes.flatten()))

    def test_dense_and_sparse_agree(self):
        codes = torch.randint(0, 7, (30,))
        dense = CodeHistogram.from_counts(torch.bincount(codes, minlength=100))
        sparse = CodeHistogram.from_rows(100, sparse_counts(codes))
        assert dense.codebook_size == sparse.codebook_size
        assert torch.equal(dense.rows(), sparse.rows())
        assert dense.num_tokens == sparse.num_tokens == 30


class TestUniformUsage:
    @pytest.mark.parametrize(
        ("size", "num_tokens"), [(2, 1), (2, 5), (1024, 1024), (1000, 1), (10, 1000), (3, 0)]
    )
    def test_equals_exact_fractions(self, size, num_tokens):
        exact = 1 - (1 - Fraction(1, size)) ** num_tokens
        assert uniform_usage(size, num_tokens) == pytest.approx(float(exact), rel=1e-14)

    @pytest.mark.parametrize("bits", [40, 53, 54, 62, 63])
    def test_is_accurate_for_codebooks_that_one_minus_rounds_away(self, bits):
        # 1 - (1 - 1/K)^T = T/K - T(T-1)/2K² + ... and the second term is below 1e-6 of the first.
        assert uniform_usage(2**bits, 1_000_000) == pytest.approx(1e6 / 2**bits, rel=1e-6)

    def test_one_code(self):
        assert (uniform_usage(1, 0), uniform_usage(1, 3)) == (0.0, 1.0)

    def test_equals_a_simulation(self):
        seen = [len(torch.randint(0, 500, (700,)).unique()) / 500 for _ in range(200)]
        assert uniform_usage(500, 700) == pytest.approx(sum(seen) / 200, abs=0.005)

    @pytest.mark.parametrize(("size", "num_tokens"), [(0, 1), (4, -1)])
    def test_impossible_counts(self, size, num_tokens):
        with pytest.raises(ConfigError, match="at least one code"):
            uniform_usage(size, num_tokens)


class TestLevel:
    def test_equals_the_formulas(self):
        codes = (torch.randn(4000) * 5).round().long().clamp(-30, 30) + 30
        level = codebook_level(histogram(64, codes.tolist()))
        counts = Counter(codes.tolist())
        entropy = -sum(n / 4000 * math.log2(n / 4000) for n in counts.values())
        assert (level.num_tokens, level.num_distinct) == (4000, len(counts))
        assert level.num_dead == 64 - len(counts)
        assert level.usage == len(counts) / 64
        assert level.uniform_usage == uniform_usage(64, 4000)
        assert level.relative_usage == pytest.approx(level.usage / level.uniform_usage)
        assert level.entropy_bits == pytest.approx(entropy, rel=1e-12)
        assert level.normalised_entropy == pytest.approx(entropy / 6, rel=1e-12)
        assert level.perplexity == pytest.approx(math.exp(entropy * math.log(2)), rel=1e-12)

    def test_uniform_use_reaches_the_bounds(self):
        level = codebook_level(histogram(8, list(range(8)) * 3))
        assert (level.usage, level.entropy_bits, level.perplexity) == (1.0, 3.0, 8.0)
        assert (level.normalised_entropy, level.corrected_entropy_bits) == (1.0, 3.0)

    def test_one_code_of_many(self):
        level = codebook_level(histogram(8, [5] * 9))
        assert (level.entropy_bits, level.perplexity, level.num_dead) == (0.0, 1.0, 7)

    def test_correction_brings_few_tokens_nearer_to_the_truth(self):
        plain, corrected = 0.0, 0.0
        for _ in range(50):
            level = codebook_level(histogram(256, torch.randint(0, 256, (600,)).tolist()))
            plain += level.entropy_bits / 50
            corrected += level.corrected_entropy_bits / 50
        assert plain < 7.8
        assert abs(corrected - 8) < 0.4 * abs(plain - 8)

    def test_relative_usage_of_a_uniform_source_is_one_at_any_number_of_tokens(self):
        for num_tokens in (100, 1000, 10_000):
            codes = torch.randint(0, 1000, (num_tokens,)).tolist()
            assert codebook_level(histogram(1000, codes)).relative_usage == pytest.approx(
                1, abs=0.06
            )

    def test_no_token_leaves_it_undefined(self):
        level = codebook_level(histogram(8, []))
        assert (level.num_tokens, level.usage, level.uniform_usage, level.num_dead) == (0, 0, 0, 8)
        assert math.isnan(level.entropy_bits)
        assert math.isnan(level.perplexity)
        assert math.isnan(level.relative_usage)

    def test_codebook_of_one_code_wastes_nothing(self):
        level = codebook_level(histogram(1, [0, 0]))
        assert (level.usage, level.normalised_entropy, level.perplexity) == (1.0, 1.0, 1.0)

    def test_huge_codebook(self):
        level = codebook_level(histogram(2**63, [0, 2**62, 2**63 - 1, 2**63 - 1]))
        assert (level.num_distinct, level.num_dead) == (3, 2**63 - 3)
        assert level.entropy_bits == 1.5
        assert level.normalised_entropy == 1.5 / 63
        assert level.relative_usage == pytest.approx(3 / 4)


class TestEfficiency:
    def test_is_entropy_over_paid_bits(self):
        levels = [codebook_level(histogram(16, [0, 1])), codebook_level(histogram(4, [0, 1, 2, 3]))]
        assert bitrate_efficiency(levels) == pytest.approx((1 + 2) / (4 + 2))

    def test_codebooks_of_one_code(self):
        assert bitrate_efficiency([codebook_level(histogram(1, [0]))]) == 1.0
        assert math.isnan(bitrate_efficiency([]))


class TestFlatten:
    def test_mask_keeps_the_valid_tokens(self):
        indices = torch.arange(12).reshape(2, 3, 2)
        mask = torch.tensor([[True, False, False], [False, True, True]])
        rows = flatten_indices(indices, (12, 12), mask)
        assert rows.tolist() == [[0, 1], [8, 9], [10, 11]]

    def test_masked_positions_may_hold_anything(self):
        indices = torch.tensor([[[-1], [3]]])
        rows = flatten_indices(indices, (4,), torch.tensor([[False, True]]))
        assert rows.tolist() == [[3]]

    def test_wrong_number_of_codebooks(self):
        with pytest.raises(ShapeError, match="expected 2 codebooks"):
            flatten_indices(torch.zeros(4, 3, dtype=torch.int64), (8, 8))

    @pytest.mark.parametrize("index", [-1, 8])
    def test_index_out_of_range_names_its_codebook(self, index):
        indices = torch.tensor([[0, 0], [1, index]])
        with pytest.raises(ShapeError, match=r"\[0, 8\).*codebook 1"):
            flatten_indices(indices, (2, 8))


class TestDeadAndOverused:
    def test_dead_codes_are_those_without_a_count(self):
        counts = torch.tensor([0, 3, 0, 0, 1, 2, 0])
        histogram = CodeHistogram.from_counts(counts)
        assert histogram.dead_codes().tolist() == [0, 2, 3, 6]
        assert histogram.dead_codes(limit=2).tolist() == [0, 2]

    def test_dead_codes_of_a_codebook_too_large_to_list(self):
        histogram = CodeHistogram.from_rows(2**62, torch.tensor([[0, 1], [2, 1], [2**60, 4]]))
        assert histogram.dead_codes(limit=4).tolist() == [1, 3, 4, 5]

    def test_overused_codes(self):
        counts = torch.ones(100, dtype=torch.int64)
        counts[[7, 40]] = torch.tensor([60, 90])
        histogram = CodeHistogram.from_counts(counts)
        assert histogram.overused_codes().tolist() == [40, 7]
        level = codebook_level(histogram)
        assert (level.num_overused, level.overused_share) == (2, 150 / 248)

    def test_a_code_seen_once_is_not_overused(self):
        histogram = CodeHistogram.from_rows(2**40, torch.tensor([[5, 1], [9, 1], [11, 3]]))
        assert histogram.overused_codes().tolist() == [11]

    def test_without_tokens(self):
        level = codebook_level(CodeHistogram.from_counts(torch.zeros(4, dtype=torch.int64)))
        assert level.num_overused == 0
        assert math.isnan(level.overused_share)


class TestDivergence:
    def test_is_that_of_the_definition(self):
        a, b = torch.tensor([5, 0, 3, 2]), torch.tensor([1, 4, 0, 5])
        p, q = a / a.sum(), b / b.sum()
        middle = (p + q) / 2

        def kullback(x, y):
            return sum(float(u * math.log2(u / v)) for u, v in zip(x, y, strict=True) if u)

        expected = (kullback(p, middle) + kullback(q, middle)) / 2
        found = divergence_bits(CodeHistogram.from_counts(a), CodeHistogram.from_counts(b))
        assert found == pytest.approx(expected, rel=1e-6)

    def test_ends_of_the_range(self):
        a = CodeHistogram.from_rows(2**50, torch.tensor([[3, 5], [2**49, 5]]))
        b = CodeHistogram.from_rows(2**50, torch.tensor([[4, 1]]))
        assert divergence_bits(a, a) == 0.0
        assert divergence_bits(a, b) == pytest.approx(1.0)
        empty = CodeHistogram.from_rows(2**50, torch.zeros(0, 2, dtype=torch.int64))
        assert math.isnan(divergence_bits(a, empty))

    def test_refuses_codebooks_of_two_sizes(self):
        with pytest.raises(ConfigError, match="4 and 5"):
            divergence_bits(
                CodeHistogram.from_counts(torch.ones(4, dtype=torch.int64)),
                CodeHistogram.from_counts(torch.ones(5, dtype=torch.int64)),
            )
