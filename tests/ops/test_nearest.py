"""The nearest code is THE nearest code: compared with a float64 brute force everywhere."""

import inspect
import math
import subprocess
import sys
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vqkit.errors import ConfigError, MissingExtraError, ShapeError
from vqkit.ops import nearest, nearest_few
from vqkit.ops.nearest import nearest_code
from vqkit.ops.nearest_exact import keep_nearer
from vqkit.ops.nearest_few import nearest_of_few, takes_few

BACKENDS = ("tiled", "compiled")

# Without the shape checks of the test run, as users have it: to see vqkit's own errors.
unchecked = inspect.unwrap(nearest_code)


def brute_force(z: Tensor, codebook: Tensor, metric: str = "euclidean") -> Tensor:
    """Lowest index among the smallest sums of squared differences, in float64."""
    z, codebook = z.double(), codebook.double()
    if metric == "cosine":
        z = z / torch.linalg.vector_norm(z, dim=1, keepdim=True)
        codebook = codebook / torch.linalg.vector_norm(codebook, dim=1, keepdim=True)
    rows = max(1, 2**22 // codebook.numel())
    result = []
    for chunk in z.split(rows):
        distances = (chunk[:, None] - codebook).square().sum(2)
        distances = distances.nan_to_num(nan=math.inf, posinf=math.inf)
        lowest = distances.amin(1, keepdim=True)
        result.append((distances == lowest).int().argmax(1))
    return torch.cat(result)


def wrong(z: Tensor, codebook: Tensor, **options: Any) -> int:
    expected = brute_force(z, codebook, options.get("metric", "euclidean"))
    return int((nearest_code(z, codebook, **options) != expected).sum())


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    if request.param == "compiled":
        pytest.importorskip("numba")
    return request.param


@pytest.mark.parametrize("offset", [0.0, 10.0, 100.0, 1000.0])
@pytest.mark.parametrize("spread", [0.1, 1.0])
def test_no_wrong_code_at_any_offset_trap_17(backend: str, offset: float, spread: float) -> None:
    z = torch.randn(2048, 8) * spread + offset
    codebook = torch.randn(1024, 8) * spread + offset
    assert wrong(z, codebook, backend=backend) == 0


def test_the_trap_is_real() -> None:
    z = torch.randn(512, 8) * 0.1 + 100
    codebook = torch.randn(512, 8) * 0.1 + 100
    assert (torch.cdist(z, codebook).argmin(1) != brute_force(z, codebook)).float().mean() > 0.3


@pytest.mark.parametrize("dim", [1, 3, 8, 17, 256])
@pytest.mark.parametrize("codes", [1, 2, 15, 64, 65, 777])
def test_sizes_that_fit_no_tile(backend: str, dim: int, codes: int) -> None:
    for tokens in (1, 3, 4, 250, 517):
        z, codebook = torch.randn(tokens, dim), torch.randn(codes, dim)
        assert wrong(z, codebook, backend=backend) == 0


@pytest.mark.parametrize(("tokens", "codes"), [(3001, 3001), (300, 70_001)])
def test_many_tiles(backend: str, tokens: int, codes: int) -> None:
    assert wrong(torch.randn(tokens, 4), torch.randn(codes, 4), backend=backend) == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("codes_dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_dtypes(backend: str, dtype: torch.dtype, codes_dtype: torch.dtype) -> None:
    z = (torch.randn(999, 8) + 3).to(dtype)
    codebook = (torch.randn(333, 8) + 3).to(codes_dtype)
    result = nearest_code(z, codebook, backend=backend)
    assert result.dtype == torch.int64
    assert torch.equal(result, brute_force(z, codebook))


def test_float64_beyond_float32(backend: str) -> None:
    codebook = torch.randn(256, 8, dtype=torch.float64) * 1e-9 + 1.0
    z = torch.randn(512, 8, dtype=torch.float64) * 1e-9 + 1.0
    assert wrong(z, codebook, backend=backend) == 0


def test_strides(backend: str) -> None:
    z = torch.randn(8, 1000).T
    codebook = torch.randn(600, 16)[::2, ::2]
    assert not z.is_contiguous()
    assert not codebook.is_contiguous()
    assert wrong(z, codebook, backend=backend) == 0
    assert wrong(torch.randn(8).expand(100, 8), codebook, backend=backend) == 0


@pytest.mark.parametrize("scale", [1e-42, 1e-30, 1e-6, 1e6, 1e30, 3e37])
def test_scales(backend: str, scale: float) -> None:
    z, codebook = torch.randn(512, 8) * scale, torch.randn(256, 8) * scale
    assert wrong(z, codebook, backend=backend) == 0


@pytest.mark.parametrize("scale", [1e-140, 1e-60, 1e60, 1e140])
def test_float64_scales(backend: str, scale: float) -> None:
    z = torch.randn(512, 8, dtype=torch.float64) * scale
    assert wrong(z, z[::3].flip(1), backend=backend) == 0


@pytest.mark.parametrize("ratio", [1e-20, 1e-5, 1e5, 1e20])
def test_tokens_on_another_scale_than_codes(backend: str, ratio: float) -> None:
    assert wrong(torch.randn(300, 8) * ratio, torch.randn(200, 8), backend=backend) == 0


def test_codes_far_from_the_others_cost_no_precision(backend: str) -> None:
    z, codebook = torch.randn(1000, 8), torch.randn(500, 8)
    codebook[::7] *= 1e6
    assert wrong(z, codebook, backend=backend) == 0


def test_lowest_of_identical_codes(backend: str) -> None:
    codes = torch.randn(300, 8)
    codebook = codes[torch.randint(300, (1000,))]
    z = torch.randn(2000, 8)
    assert wrong(z, codebook, backend=backend) == 0
    assert wrong(codebook.flip(0), codebook, backend=backend) == 0


@pytest.mark.parametrize("value", [0.0, 0.1, 1000.3])
def test_all_codes_identical(backend: str, value: float) -> None:
    z = torch.randn(16_384, 8)
    assert nearest_code(z, torch.full((8192, 8), value), backend=backend).eq(0).all()


def test_all_tokens_tied_with_all_codes(backend: str) -> None:
    corners = (torch.arange(2**10)[:, None] >> torch.arange(10) & 1) * 2.0 - 1
    z = torch.zeros(5000, 10)
    assert nearest_code(z, corners, backend=backend).eq(0).all()
    assert nearest_code(z, corners[torch.randperm(2**10)], backend=backend).eq(0).all()
    z[:, ::2] = 0.25  # ties of 32 codes each
    assert wrong(z, corners[torch.randperm(2**10)], backend=backend) == 0


def test_near_ties(backend: str) -> None:
    direction = torch.nn.functional.normalize(torch.randn(400, 8).double(), dim=1)
    radius = 1 + 1e-7 * torch.rand(400, 1).double()
    codebook = (direction * radius).float()
    z = torch.randn(400, 8) * 1e-8
    assert wrong(z, codebook, backend=backend) == 0
    clusters = torch.randn(4, 8).repeat(100, 1) * 100
    codebook = clusters + 1e-6 * torch.randn(400, 8)
    assert wrong(clusters[:200] + 1e-6 * torch.randn(200, 8), codebook, backend=backend) == 0


@pytest.mark.parametrize("offset", [0.0, 10.0, 1000.0])
def test_cosine_of_rows_of_any_length(backend: str, offset: float) -> None:
    z = (torch.randn(1500, 8) + offset) * torch.rand(1500, 1).mul(10).exp()
    codebook = (torch.randn(700, 8) + offset) * torch.rand(700, 1).mul(10).exp()
    assert wrong(z, codebook, metric="cosine", backend=backend) == 0


def test_cosine_is_the_largest_normalised_product(backend: str) -> None:
    z, codebook = torch.randn(1000, 32), torch.randn(500, 32) * 5
    products = (
        torch.nn.functional.normalize(z.double(), dim=1)
        @ torch.nn.functional.normalize(codebook.double(), dim=1).T.contiguous()
    )
    expected = products.argmax(1)
    assert torch.equal(nearest_code(z, codebook, metric="cosine", backend=backend), expected)
    # A metric that is ignored would pass on codes of equal length: these have not.
    assert not torch.equal(nearest_code(z, codebook, backend=backend), expected)


def test_cosine_ties_of_codes_in_one_direction(backend: str) -> None:
    codes = torch.randn(50, 8)
    codebook = torch.cat([codes * 4, codes, codes * 0.5])
    z = torch.randn(500, 8)
    assert nearest_code(z, codebook, metric="cosine", backend=backend).max() < 50
    assert wrong(z, codebook, metric="cosine", backend=backend) == 0


def test_rows_that_are_not_finite(backend: str) -> None:
    z, codebook = torch.randn(400, 8), torch.randn(200, 8)
    z[3, 0], z[7], z[11, 2] = math.nan, math.inf, -math.inf
    codebook[0, 1], codebook[50], codebook[60, 3] = math.nan, math.inf, -math.inf
    result = nearest_code(z, codebook, backend=backend)
    usable = z.isfinite().all(1)
    assert torch.equal(result[usable], brute_force(z[usable], codebook))
    assert result[~usable].tolist() == [0, 0, 0]
    assert not set(result[usable].tolist()) & {0, 50, 60}
    assert nearest_code(z, codebook * math.nan, backend=backend).eq(0).all()
    assert nearest_code(z * math.nan, codebook, backend=backend).eq(0).all()


def test_zero_rows_have_no_cosine(backend: str) -> None:
    z, codebook = torch.randn(400, 3), torch.randn(20, 3)
    z[5], codebook[0], codebook[9] = 0, 0, 0
    result = nearest_code(z, codebook, metric="cosine", backend=backend)
    assert result[5] == 0
    usable = z.any(1)
    assert torch.equal(result[usable], brute_force(z[usable], codebook, "cosine"))
    assert not set(result[usable].tolist()) & {0, 9}
    assert nearest_code(z, torch.zeros(4, 3), metric="cosine", backend=backend).eq(0).all()


def test_zero_is_an_ordinary_code_for_distances(backend: str) -> None:
    z, codebook = torch.randn(300, 3), torch.randn(20, 3)
    z[5], codebook[9] = 0, 0
    assert nearest_code(z, codebook, backend=backend)[5] == 9
    assert wrong(z, codebook, backend=backend) == 0


def test_no_tokens(backend: str) -> None:
    result = nearest_code(torch.empty(0, 8), torch.randn(5, 8), backend=backend)
    assert result.shape == (0,)
    assert result.dtype == torch.int64


@settings(max_examples=60, deadline=None)
@given(
    tokens=st.integers(1, 70),
    codes=st.integers(1, 140),
    dim=st.integers(1, 20),
    offset=st.sampled_from([0.0, 1.0, -1000.0, 1e6]),
    levels=st.sampled_from([1, 2, 3, 50, 10**9]),
    metric=st.sampled_from(["euclidean", "cosine"]),
    backend=st.sampled_from([*BACKENDS, "auto"]),
    seed=st.integers(0, 2**31),
)
def test_any_input(
    tokens: int,
    codes: int,
    dim: int,
    offset: float,
    levels: int,
    metric: str,
    backend: str,
    seed: int,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    z, codebook = (
        torch.randint(-levels, levels + 1, (rows, dim), generator=generator) / levels + offset
        for rows in (tokens, codes)
    )
    result = nearest_code(z, codebook, metric=metric, backend=backend)
    usable = z.any(1) if metric == "cosine" else torch.ones(tokens, dtype=torch.bool)
    assert torch.equal(result[usable], brute_force(z[usable], codebook, metric))
    assert result[~usable].eq(0).all()


def test_backends_agree_and_auto_is_one_of_them() -> None:
    z, codebook = torch.randn(3000, 8), torch.randn(600, 8)
    results = [nearest_code(z, codebook, backend=b) for b in (*BACKENDS, "auto")]
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


@pytest.mark.slow
def test_auto_loads_numba_for_large_searches_only() -> None:
    code = (
        "import sys, torch; from vqkit.ops.nearest import nearest_code as f;"
        "f(torch.randn(512, 8), torch.randn(512, 8)); assert 'numba' not in sys.modules;"
        "f(torch.randn(4096, 8), torch.randn(4096, 8)); assert 'numba' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_works_without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, "vqkit.ops.nearest_compiled", raising=False)
    monkeypatch.setattr(nearest, "find_spec", lambda name: None)
    z, codebook = torch.randn(4096, 8), torch.randn(4096, 8)
    assert torch.equal(nearest_code(z, codebook), nearest_code(z, codebook, backend="tiled"))
    with pytest.raises(MissingExtraError, match=r"vqkit\[fast\]"):
        nearest_code(z, codebook, backend="compiled")


def test_any_number_of_threads(backend: str) -> None:
    z, codebook = torch.randn(5000, 8), torch.randn(1000, 8)
    expected = brute_force(z, codebook)
    threads = torch.get_num_threads()
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            assert torch.equal(nearest_code(z, codebook, backend=backend), expected)
    finally:
        torch.set_num_threads(threads)


def test_nothing_is_kept_for_backward_trap_22(backend: str) -> None:
    z = torch.randn(500, 8, requires_grad=True)
    codebook = torch.nn.Parameter(torch.randn(300, 8))
    saved: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x) or x, lambda x: x):
        result = nearest_code(z, codebook, backend=backend)
        (z - codebook[result]).square().sum().backward()
    assert not result.requires_grad
    assert sum(x.numel() for x in saved) < 500 * 8 * 4
    assert z.grad is not None


def test_autocast_changes_nothing(backend: str) -> None:
    z, codebook = torch.randn(700, 8) + 10, torch.randn(300, 8) + 10
    with torch.autocast("cpu", torch.bfloat16):
        assert wrong(z, codebook, backend=backend) == 0


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_gradient_modes(backend: str, mode: Any) -> None:
    z, codebook = torch.randn(700, 8), torch.randn(300, 8)
    with mode():
        assert wrong(z, codebook, backend=backend) == 0


@pytest.mark.parametrize(
    ("z", "codebook"),
    [
        (torch.randn(2, 3, 4), torch.randn(5, 4)),
        (torch.randn(4), torch.randn(5, 4)),
        (torch.randn(3, 4), torch.randn(5, 3)),
        (torch.randn(3, 4), torch.randn(4)),
        (torch.randn(3, 4), torch.randn(0, 4)),
        (torch.randn(3, 0), torch.randn(5, 0)),
        (torch.ones(3, 4, dtype=torch.int64), torch.randn(5, 4)),
        (torch.randn(3, 4), torch.ones(5, 4, dtype=torch.complex64)),
        (torch.randn(3, 4), torch.randn(5, 4, device="meta")),
    ],
)
def test_shapes_that_make_no_sense(z: Tensor, codebook: Tensor) -> None:
    with pytest.raises(ShapeError, match=r"expected .* got .*\(nearest_code\)"):
        unchecked(z, codebook)


@pytest.mark.parametrize("options", [{"metric": "manhattan"}, {"backend": "fast"}])
def test_unknown_options(options: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="Pick one"):
        unchecked(torch.randn(3, 4), torch.randn(5, 4), **options)


def test_compiled_is_for_the_cpu() -> None:
    z = torch.randn(3, 4, device="meta")
    with pytest.raises(ConfigError, match="CPU"):
        unchecked(z, z, backend="compiled")


def test_is_one_operator_for_torch_compile() -> None:
    z, codebook = torch.randn(30, 8), torch.randn(20, 8)
    torch.library.opcheck(torch.ops.vqkit.nearest_code, (z, codebook, "euclidean", "tiled"))


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_memory_at_a_quarter_million_codes(backend: str) -> None:
    from benchmarks.nearest import extra_memory_bytes

    assert extra_memory_bytes(backend, 65_536, 262_144, 8) <= 64 * 2**20


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_cuda_gives_the_codes_of_the_cpu(metric: str, offset: float) -> None:
    z, codebook = torch.randn(20_000, 8) + offset, torch.randn(9000, 8) + offset
    codebook[::3] = codebook[0]
    precision = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        result = nearest_code(z.cuda(), codebook.cuda(), metric=metric)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(precision)
    assert result.is_cuda
    assert torch.equal(result.cpu(), nearest_code(z, codebook, metric=metric))


@pytest.mark.parametrize("num_tokens", [1, 7, 256, 600])
@pytest.mark.parametrize("offset", [0.0, 100.0, 1e6])
@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e18, 1e25])
def test_few_tokens(num_tokens: int, offset: float, scale: float) -> None:
    z = (torch.randn(num_tokens, 16) + offset) * scale
    codebook = (torch.randn(300, 16) + offset) * scale
    codebook[200:] = codebook[:100]
    assert takes_few(z, codebook, "euclidean")
    assert wrong(z, codebook) == 0
    assert wrong(codebook[200:].clone(), codebook) == 0, "of equal codes the first"


def test_few_tokens_with_what_is_not_finite() -> None:
    z, codebook = torch.randn(20, 4), torch.randn(50, 4)
    z[3, 1], z[4, 0] = math.nan, math.inf
    assert wrong(z, codebook) == 0
    codebook[7], codebook[9, 2] = math.nan, -math.inf
    assert wrong(z, codebook) == 0
    assert wrong(z, torch.full((5, 4), math.nan)) == 0
    assert wrong(z, torch.zeros(50, 4)) == 0


def test_few_tokens_and_more_codes_than_a_block() -> None:
    z, codebook = torch.randn(9, 64), torch.randn(5000, 64)
    assert takes_few(z, codebook, "euclidean")
    assert wrong(z, codebook) == 0
    codebook[:] = codebook[0]  # more equal codes than are compared one by one
    assert wrong(z, codebook) == 0


def test_scores_of_few_tokens_decide_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or all of them would be compared in float64, and nobody would notice."""
    compared: list[int] = []

    def counted(indices: Tensor, *others: Tensor) -> Tensor:
        compared.append(len(indices))
        return keep_nearer(indices, *others)

    monkeypatch.setattr(nearest_few, "keep_nearer", counted)
    z, codebook = torch.randn(256, 128), torch.randn(1024, 128)
    z[0] = (codebook[0] + codebook[1]) / 2  # as near to one as to the other, and to no third
    codes, doubtful = nearest_of_few(z, codebook)
    assert not doubtful.any()
    assert 0 < sum(compared) < 5
    assert torch.equal(codes, nearest_code(z, codebook, backend="tiled"))
