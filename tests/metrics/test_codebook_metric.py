"""CodebookUsage counts the same however its tokens arrive."""

import pytest
import torch

from vqkit.errors import ConfigError, ShapeError
from vqkit.metrics import CodebookUsage, codebook_level, codebook_metric
from vqkit.metrics.codebook import CodeHistogram


def test_equals_the_pure_function_per_codebook():
    indices = torch.stack((torch.randint(0, 8, (4, 5, 6)), torch.randint(0, 30, (4, 5, 6))), -1)
    metric = CodebookUsage((8, 32))
    for item in indices:
        metric.update(item)
    result = metric.compute()
    for level, size in enumerate((8, 32)):
        counts = torch.bincount(indices[..., level].flatten(), minlength=size)
        expected = codebook_level(CodeHistogram.from_counts(counts))
        for name, value in vars(expected).items():
            assert result[name][level] == value, name
    paid = 3 + 5
    assert result["bitrate_efficiency"] == pytest.approx(float(result["entropy_bits"].sum() / paid))


def test_sparse_counting_equals_dense_counting(monkeypatch):
    indices = torch.randint(0, 1000, (50, 40, 1))
    dense = CodebookUsage((1000,))
    monkeypatch.setattr(codebook_metric, "_LARGEST_DENSE", 10)
    sparse = CodebookUsage((1000,))
    for item in indices:
        dense.update(item)
        sparse.update(item)
    assert isinstance(sparse.level_0, list)
    assert isinstance(dense.level_0, torch.Tensor)
    dense_result, sparse_result = dense.compute(), sparse.compute()
    assert all(torch.equal(dense_result[name], sparse_result[name]) for name in dense_result)


def test_codes_beyond_the_reach_of_floats_stay_apart():
    metric = CodebookUsage((2**62,))
    metric.update(torch.tensor([[2**60], [2**60 + 1], [2**60 + 1]]))
    assert metric.histograms()[0].rows().tolist() == [[2**60, 1], [2**60 + 1, 2]]


@pytest.mark.parametrize("size", [16, 2**40])
def test_forward_reset_and_mask(size):
    metric = CodebookUsage((size,))
    metric.update(torch.tensor([[0], [1]]))
    on_step = metric(torch.tensor([[2], [2], [9]]), torch.tensor([True, True, False]))
    assert on_step["num_distinct"].item() == 1
    assert metric.compute()["num_tokens"].item() == 4
    assert metric.compute()["num_distinct"].item() == 3
    metric.reset()
    metric.update(torch.tensor([[3]]))
    assert metric.histograms()[0].codes.tolist() == [3]


@pytest.mark.parametrize("sizes", [(4, 4), (4, 2**40)])
def test_a_bad_batch_changes_nothing(sizes):
    metric = CodebookUsage(sizes)
    metric.update(torch.tensor([[1, 1]]))
    with pytest.raises(ShapeError):
        metric.update(torch.tensor([[1, 1], [2, -1]]))
    assert metric.compute()["num_tokens"].tolist() == [1, 1]


@pytest.mark.parametrize("dtype", [torch.int16, torch.int32])
def test_narrow_integers(dtype):
    metric = CodebookUsage((200,))
    metric.update(torch.tensor([[100], [101]], dtype=dtype))
    assert metric.compute()["num_distinct"].item() == 2


@pytest.mark.parametrize("sizes", [(), (0,), (4, -1)])
def test_impossible_codebooks(sizes):
    with pytest.raises(ConfigError, match="at least 1"):
        CodebookUsage(sizes)


@pytest.mark.parametrize("size", [16, 2**40])
def test_without_tokens(size):
    metric = CodebookUsage((size,))
    metric.update(torch.zeros(0, 3, 1, dtype=torch.int64))
    result = metric.compute()
    assert result["num_tokens"].item() == 0
    assert result["entropy_bits"].isnan()
