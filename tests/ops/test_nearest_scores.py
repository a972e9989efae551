"""The error bound holds, and doubt falls on few tokens."""

import math

import pytest
import torch
from torch import Tensor

from vqkit.ops.nearest_scores import UNREACHABLE, CentredCodes, Found, centre_codes


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
    codes = centre_codes(codebook, "euclidean", z.dtype)
    queries, lengths = codes.queries(z)
    approximate = scores(codes, queries, torch.float32).double()
    exact = (z[:, None].double() - codebook.double()).square().sum(2) / 2
    exact = exact - (z.double() - codes.centre.double()).square().sum(1, keepdim=True) / 2
    # The code of this score is proven only if the runner-up is two errors away: find that error.
    error = (approximate - exact).abs().amax(1)
    for factor, doubted in ((1.9, True), (300.0, False)):
        gap = (factor * error).float()
        index = torch.zeros(len(z), dtype=torch.int64)
        doubt = codes.doubtful(Found(index, torch.zeros(len(z)), gap), lengths)
        if doubted:
            assert doubt.all()
        elif dim <= 8:
            assert not doubt.all()


def test_few_tokens_are_in_doubt() -> None:
    z, codebook = torch.randn(5000, 8) + 100, torch.randn(1000, 8) + 100
    codebook[::3] *= 1e5  # codes far out must not widen the bound for the tokens among the others
    codes = centre_codes(codebook, "euclidean", z.dtype)
    queries, lengths = codes.queries(z)
    assert codes.doubtful(found(scores(codes, queries, torch.float32)), lengths).sum() < 50


@pytest.mark.parametrize("scale", [1e-35, 1e-3, 1.0, 1e4, 1e35])
def test_points_are_of_moderate_size_at_any_scale(scale: float) -> None:
    codebook = torch.randn(100, 8) * scale
    codes = centre_codes(codebook, "euclidean", codebook.dtype)
    assert 2.0**-30 < codes.longest < 2.0**30
    assert math.frexp(codes.scale)[0] == 0.5
    centred = codebook.double() - codes.centre.double()
    assert torch.equal(codes.points, (centred * codes.scale).float())
    assert codes.longest == pytest.approx(codes.points.norm(dim=1).max().item())
    assert codes.shortest == pytest.approx(codes.points.norm(dim=1).min().item())


def test_codes_that_are_not_finite_are_out_of_reach_and_out_of_the_mean() -> None:
    codebook = torch.randn(50, 4)
    broken = torch.cat([torch.full((1, 4), math.nan), codebook, torch.full((1, 4), -math.inf)])
    whole = centre_codes(codebook, "euclidean", torch.float32)
    codes = centre_codes(broken, "euclidean", torch.float32)
    assert torch.equal(codes.centre, whole.centre)
    assert torch.equal(codes.points[1:-1], whole.points)
    assert codes.half_norms[[0, -1]].tolist() == [UNREACHABLE, UNREACHABLE]
    assert codes.half_norms[1:-1].max() < 100


def test_queries_are_finite_whatever_the_tokens_are() -> None:
    codes = centre_codes(torch.randn(50, 4), "euclidean", torch.float32)
    z = torch.tensor([[math.nan] * 4, [math.inf] * 4, [3e38] * 4, [1.0] * 4])
    queries, lengths = codes.queries(z)
    assert queries.isfinite().all()
    assert lengths.isinf().tolist() == [True, True, True, False]
    nothing_close = Found(torch.zeros(4).long(), torch.zeros(4), torch.full((4,), UNREACHABLE))
    assert codes.doubtful(nothing_close, lengths).tolist() == [True, True, True, False]
