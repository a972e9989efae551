"""Projection to the pyramid against brute force over all its vectors."""

import itertools
import math

import pytest
import torch

from vqkit.errors import ConfigError, ShapeError
from vqkit.ops.pyramid import project_to_pyramid

BACKENDS = ["torch", "compiled"]


def all_vectors(dim: int, pulses: int) -> torch.Tensor:
    """Every integer vector of the pyramid, by trying all."""
    grid = itertools.product(range(-pulses, pulses + 1), repeat=dim)
    return torch.tensor([y for y in grid if sum(map(abs, y)) == pulses])


def naive_greedy(x: list[float], pulses: int) -> list[int]:
    """The rule of RFC 6716 and the reference in plain Python, without signs of zero."""
    a = [abs(v) for v in x]
    start = pulses > len(x) / 2
    y = [math.floor(pulses * v / math.fsum(a)) if start else 0 for v in a]
    for _ in range(pulses - sum(y)):
        xy = math.fsum(p * q for p, q in zip(a, y, strict=True))
        yy = sum(q * q for q in y)
        scores = [(xy + p) ** 2 / (yy + 2 * q + 1) for p, q in zip(a, y, strict=True)]
        y[scores.index(max(scores))] += 1
    return [-q if v < 0 else q for v, q in zip(x, y, strict=True)]


@pytest.fixture(params=BACKENDS)
def backend(request):
    if request.param == "compiled":
        pytest.importorskip("numba")
    return request.param


@pytest.mark.parametrize(("dim", "pulses"), [(1, 3), (2, 5), (4, 2), (5, 5), (8, 3), (6, 20)])
def test_greedy_equals_the_rule_written_out(dim, pulses, backend):
    x = torch.randn(200, dim)
    y = project_to_pyramid(x, pulses, exchange=False, backend=backend)
    assert y.tolist() == [naive_greedy(row, pulses) for row in x.tolist()]


@pytest.mark.parametrize(
    ("dim", "pulses"), [(2, 5), (3, 3), (3, 7), (4, 4), (4, 6), (5, 5), (5, 6), (6, 3)]
)
@pytest.mark.parametrize("source", [torch.randn, torch.rand])
def test_exchange_leaves_few_misses_of_the_best_direction(dim, pulses, source, backend):
    x = source(2000, dim, dtype=torch.float64)
    x = x / x.norm(dim=1, keepdim=True)
    codes = all_vectors(dim, pulses).double()
    best = (x @ (codes / codes.norm(dim=1, keepdim=True)).T).amax(1)
    gaps = {}
    for exchange in (False, True):
        y = project_to_pyramid(x, pulses, exchange=exchange, backend=backend)
        assert (y.abs().sum(1) == pulses).all()
        gaps[exchange] = best - (x * y).sum(1) / y.double().norm(dim=1)
        assert gaps[exchange].min() > -1e-12  # brute force really is the best
    assert (gaps[True] <= gaps[False] + 1e-12).all()
    assert (gaps[False] > 1e-9).double().mean() < 0.1
    assert gaps[False].max() < 0.05
    assert (gaps[True] > 1e-9).double().mean() < 0.005
    assert gaps[True].max() < 0.02


@pytest.mark.parametrize(
    ("dim", "pulses"), [(1, 1), (3, 50), (16, 16), (16, 3), (128, 16), (40, 300), (7, 10_000)]
)
@pytest.mark.parametrize("exchange", [False, True])
def test_backends_agree_on_every_pulse(dim, pulses, exchange):
    pytest.importorskip("numba")
    x = torch.randn(300, dim).pow(3)
    x[:50] = torch.randint(-2, 3, (50, dim))  # ties
    x[0], x[1, 0], x[2, -1], x[3, 0] = 0.0, math.nan, math.inf, -math.inf
    x[4], x[5] = 1e-42, 3e38
    a, b = (project_to_pyramid(x, pulses, exchange=exchange, backend=name) for name in BACKENDS)
    assert torch.equal(a, b)
    assert (a.abs().sum(1) == pulses).all()


def test_ties_go_to_the_lowest_coordinate(backend):
    x = torch.tensor([[1.0, 1.0, 1.0], [0.0, -1.0, 1.0]])
    assert project_to_pyramid(x, 1, backend=backend).tolist() == [[1, 0, 0], [0, -1, 0]]
    assert project_to_pyramid(x, 4, backend=backend)[0].tolist() == [2, 1, 1]


def test_bad_rows_have_all_pulses_on_the_first_coordinate_and_harm_no_other(backend):
    x = torch.randn(6, 4)
    expected = project_to_pyramid(x, 5, backend=backend)
    x[0], x[1, 2], x[2, 3], x[3, 0] = 0.0, math.nan, -math.inf, math.nan
    y = project_to_pyramid(x, 5, backend=backend)
    assert y[:3].tolist() == [[5, 0, 0, 0]] * 3
    assert y[3].abs().tolist() == [5, 0, 0, 0]
    assert torch.equal(y[4:], expected[4:])


def test_neither_batch_nor_length_nor_dtype_nor_position_axes_matter(backend):
    x = torch.randn(3, 50, 12).bfloat16()
    y = project_to_pyramid(x, 9, backend=backend)
    assert y.shape == x.shape
    assert torch.equal(project_to_pyramid(x[1, 7], 9, backend=backend), y[1, 7])
    assert torch.equal(project_to_pyramid(x.double() * 2.0**90, 9, backend=backend), y)
    assert torch.equal(project_to_pyramid(-x, 9, backend=backend), -y)
    assert project_to_pyramid(x[:0], 9, backend=backend).shape == (0, 50, 12)


def test_a_vector_of_the_pyramid_is_its_own_projection(backend):
    codes = all_vectors(4, 5)
    assert torch.equal(project_to_pyramid(codes.double() * 0.3, 5, backend=backend), codes)


@pytest.mark.usefixtures("unchecked_shapes")
def test_bad_arguments_are_refused():
    with pytest.raises(ShapeError, match="floats"):
        project_to_pyramid(torch.ones(3, 4, dtype=torch.int64), 2)
    with pytest.raises(ConfigError, match="pulses >= 1, got 4 and 0"):
        project_to_pyramid(torch.ones(3, 4), 0)
    with pytest.raises(ConfigError, match=r"2\^22"):
        project_to_pyramid(torch.ones(3, 4), 2**23)
    with pytest.raises(ConfigError, match="'cuda'"):
        project_to_pyramid(torch.ones(3, 4), 2, backend="cuda")
