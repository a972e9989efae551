"""The error bound holds, and doubt falls on few tokens."""

import math

import pytest
import torch
from torch import Tensor

from vqkit.ops.nearest_scores import UNREACHABLE, CentredCodes, Found, centre_codes, middle


def scores(codes: CentredCodes, queries: Tensor, dtype: torch.dtype) -> Tensor:
    return codes.half_norms.to(dtype) - queries.to(dtype) @ codes.points.to(dtype).T


def found(scores: Tensor) -> Found:
    best = scores.float().topk(2, dim=1, largest=False)
    return Found(best.indices[:, 0], best.values[:, 0], best.values[:, 1])


@pytest.mark.parametrize("offset", [0.0, 1000.0])
@pytest.mark.parametrize("dim", [1, 8, 256])
@pytest.mark.parametrize("ratio", [1e-3, 1.0, 1e3])
def test_float32_scores_err_less_than_the_bound(offset: float, dim: int, ratio: float) -> None:
    z, codebook = torch.randn(300, dim) * ratio + offset, torch.randn(200, dim) + offset
    codes = centre_codes(codebook, z, "euclidean")
    queries, lengths = codes.queries(z)
    centre = codes.centre.double()
    truth = 0.5 * (codebook - centre).square().sum(1) - (z - centre) @ (codebook - centre).T
    error = (scores(codes, queries, torch.float32) - truth).abs()
    bound = codes.score_error(lengths).double()[:, None]
    matters = codes.points.norm(dim=1) <= 4 * (lengths[:, None] + codes.shortest)
    assert (error <= bound)[matters].all()
    if dim > 1:
        assert (100 * dim * error > bound)[matters].any(), "so wide a bound proves little"


def test_few_tokens_are_in_doubt_though_others_lie_far_out() -> None:
    z, codebook = torch.randn(5000, 8) + 100, torch.randn(1000, 8) + 100
    codebook[::3] *= 1e5
    z[::9] *= 1e5
    codes = centre_codes(codebook, z, "euclidean")
    queries, lengths = codes.queries(z)
    doubtful = codes.doubtful(found(scores(codes, queries, torch.float32)), lengths)
    assert doubtful[torch.arange(5000) % 9 != 0].sum() < 50


def test_few_tokens_are_in_doubt_though_the_codes_are_all_close() -> None:
    z, codebook = torch.randn(5000, 8) + 10, (torch.rand(1000, 8) - 0.5) / 1000
    codes = centre_codes(codebook, z, "euclidean")
    queries, lengths = codes.queries(z)
    assert codes.doubtful(found(scores(codes, queries, torch.float32)), lengths).sum() < 50


@pytest.mark.parametrize("scale", [1e-35, 1e-3, 1.0, 1e4, 1e35])
def test_points_are_of_moderate_size_at_any_scale(scale: float) -> None:
    codebook = torch.randn(100, 8) * scale
    codes = centre_codes(codebook, codebook, "euclidean")
    assert 2.0**-30 < codes.longest < 2.0**30
    assert math.frexp(codes.scale)[0] == 0.5
    assert torch.equal(
        codes.points, ((codebook.double() - codes.centre.double()) * codes.scale).float()
    )
    assert codes.longest == pytest.approx(codes.points.norm(dim=1).max().item())
    assert codes.shortest == pytest.approx(codes.points.norm(dim=1).min().item())


def test_codes_that_are_not_finite_are_out_of_reach() -> None:
    codebook = torch.randn(50, 4)
    codebook[3], codebook[7, 1] = math.nan, -math.inf
    codes = centre_codes(codebook, torch.randn(9, 4), "euclidean")
    assert codes.half_norms[[3, 7]].tolist() == [UNREACHABLE, UNREACHABLE]
    assert codes.points.isfinite().all()
    assert codes.longest < 100


def test_the_middle_is_that_of_ordinary_rows() -> None:
    rows = torch.randn(1000, 4) + 50
    rows[::10], rows[1::10], rows[2::10] = math.nan, math.inf, 1e9
    assert (middle(rows) - 50).abs().max() < 2
    assert middle(rows * math.nan).eq(0).all()


def test_queries_are_finite_whatever_the_tokens_are() -> None:
    codes = centre_codes(torch.randn(50, 4), torch.zeros(1, 4), "euclidean")
    z = torch.tensor([[math.nan] * 4, [math.inf] * 4, [3e38] * 4, [1.0] * 4])
    queries, lengths = codes.queries(z)
    assert queries.isfinite().all()
    assert lengths.isinf().tolist() == [True, True, True, False]
    nothing_close = Found(torch.zeros(4).long(), torch.zeros(4), torch.full((4,), UNREACHABLE))
    assert codes.doubtful(nothing_close, lengths).tolist() == [True, True, True, False]
