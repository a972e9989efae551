"""The Triton kernel: in the interpreter here, on a GPU where there is one, compiled for one."""

import math

import pytest
import torch

pytest.importorskip("triton")

import tests.ops.test_nearest as reference
from tests.ops.interpreted import INTERPRETED, run_interpreted
from tests.ops.test_nearest_tiled import check
from vqkit.errors import ConfigError
from vqkit.ops import nearest, nearest_triton
from vqkit.ops.nearest import nearest_code
from vqkit.ops.nearest_scores import centre_codes
from vqkit.ops.nearest_triton import TritonSearch, _scan

interpreted = pytest.mark.skipif(not INTERPRETED, reason="for the process with the interpreter")
compiled = pytest.mark.skipif(INTERPRETED, reason="for the process without the interpreter")


@pytest.mark.slow
@compiled
def test_in_the_interpreter() -> None:
    run_interpreted(__file__)


@interpreted
@pytest.mark.parametrize("dim", [1, 8, 70])
@pytest.mark.parametrize("codes", [1, 64, 65])
def test_sizes(dim: int, codes: int) -> None:
    centred = centre_codes(torch.randn(codes, dim), torch.zeros(1, dim), "euclidean")
    search = TritonSearch(centred)
    for tokens in (1, 130):
        queries = torch.randn(tokens, dim) / dim**0.5
        check(search(queries), centred, queries)


@interpreted
@pytest.mark.parametrize("processors", [2, 100])
def test_programs_share_the_codes_of_few_tokens(
    processors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearest_triton, "_INTERPRETED_PROCESSORS", processors)
    centred = centre_codes(torch.randn(400, 5), torch.zeros(1, 5), "euclidean")
    queries = torch.randn(70, 5)
    check(TritonSearch(centred)(queries), centred, queries)


@interpreted
@pytest.mark.parametrize("offset", [0.0, 1000.0])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_the_codes_are_those_of_a_brute_force(offset: float, metric: str) -> None:
    z, codebook = torch.randn(100, 8) + offset, torch.randn(150, 8) + offset
    codebook[::3] = codebook[0]
    assert reference.wrong(z, codebook, metric=metric, backend="triton") == 0


@interpreted
def test_ties_go_to_the_lowest_index() -> None:
    codes = torch.randn(30, 8)
    codebook = codes[torch.randint(30, (100,))]
    assert reference.wrong(torch.randn(100, 8), codebook, backend="triton") == 0
    assert reference.wrong(codebook.flip(0), codebook, backend="triton") == 0
    assert nearest_code(torch.randn(9, 8), torch.full((200, 8), 0.1), backend="triton").eq(0).all()


@interpreted
def test_rows_that_are_not_finite_no_tokens_and_strides() -> None:
    reference.test_rows_that_are_not_finite("triton")
    reference.test_no_tokens("triton")
    reference.test_zero_rows_have_no_cosine("triton")
    assert (
        nearest_code(torch.full((3, 4), math.nan), torch.randn(1, 4), backend="triton").eq(0).all()
    )
    z, codebook = torch.randn(8, 50).T, torch.randn(60, 16)[::2, ::2]
    assert reference.wrong(z, codebook, backend="triton") == 0


@compiled
def test_is_for_cuda() -> None:
    with pytest.raises(ConfigError, match="CUDA"):
        reference.unchecked(torch.randn(3, 4), torch.randn(5, 4), backend="triton")


@compiled
@pytest.mark.parametrize(
    ("capability", "expected"), [((9, 0), "triton"), ((7, 0), "triton"), ((6, 1), "tiled")]
)
def test_auto_takes_it_on_a_gpu_that_it_runs_on(
    capability: tuple[int, int], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    nearest._triton_runs_on.cache_clear()
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert nearest._best_backend(torch.device("cuda", 0), work=1) == expected
    nearest._triton_runs_on.cache_clear()


@compiled
def test_auto_does_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    nearest._triton_runs_on.cache_clear()
    monkeypatch.setattr(nearest, "find_spec", lambda name: None)
    assert nearest._best_backend(torch.device("cuda", 0), work=1) == "tiled"
    nearest._triton_runs_on.cache_clear()


@compiled
@pytest.mark.parametrize("dim", [8, 256])
def test_compiles_for_a_gpu_to_float32_products_without_tensor_cores(dim: int) -> None:
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    types = {"num_tokens": "i32", "num_codes": "i32", "codes_per_part": "i32", "indices": "*i64"}
    constants = {
        "dim": dim,
        "tokens_per_tile": nearest_triton._TOKENS_PER_TILE,
        "codes_per_tile": nearest_triton._CODES_PER_TILE,
        "features_at_once": nearest_triton._FEATURES_AT_ONCE,
        "unreachable": nearest_triton.UNREACHABLE,
    }
    names = _scan.arg_names
    source = ASTSource(
        _scan,
        {name: "constexpr" if name in constants else types.get(name, "*fp32") for name in names},
        constexprs={(names.index(name),): value for name, value in constants.items()},
    )
    # No GPU takes part: the result is text.
    kernel = triton_compile(source, GPUTarget("cuda", 90, 32))
    assert "fma.rn.f32" in kernel
    assert "mma" not in kernel
    assert "tf32" not in kernel


def triton_compile(source: object, target: object) -> str:
    import triton

    return triton.compile(source, target=target).asm["ptx"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available() or INTERPRETED, reason="needs CUDA")
class TestOnAGpu:
    @pytest.mark.parametrize("dim", [1, 8, 17, 64, 256, 512])
    @pytest.mark.parametrize("codes", [1, 65, 1024, 9000])
    def test_sizes(self, dim: int, codes: int) -> None:
        codebook = torch.randn(codes, dim, device="cuda")
        centred = centre_codes(codebook, codebook, "euclidean")
        for tokens in (1, 130, 5000):
            queries = torch.randn(tokens, dim, device="cuda") / dim**0.5
            check(TritonSearch(centred)(queries), centred, queries)

    @pytest.mark.parametrize("offset", [0.0, 1000.0])
    @pytest.mark.parametrize("metric", ["euclidean", "cosine"])
    def test_gives_the_codes_of_the_cpu(self, metric: str, offset: float) -> None:
        z, codebook = torch.randn(20_000, 8) + offset, torch.randn(9000, 8) + offset
        codebook[::3] = codebook[0]
        result = nearest_code(z.cuda(), codebook.cuda(), metric=metric, backend="triton")
        assert torch.equal(result.cpu(), nearest_code(z, codebook, metric=metric))

    def test_the_bound_on_the_error_of_the_scores_holds(self) -> None:
        z, codebook = torch.randn(4096, 256), torch.randn(1000, 256)
        codes = centre_codes(codebook.cuda(), z.cuda(), "euclidean")
        queries, lengths = codes.queries(z.cuda())
        found = TritonSearch(codes)(queries)
        points, best = codes.points.double(), found.indices
        truth = codes.half_norms.double()[best] - (queries.double() * points[best]).sum(1)
        assert ((found.score - truth).abs() <= codes.score_error(lengths)).all()

    def test_memory_does_not_grow_with_the_codes(self) -> None:
        z, codebook = torch.randn(65_536, 8).cuda(), torch.randn(262_144, 8).cuda()
        nearest_code(z[:100], codebook[:100], backend="triton")
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        nearest_code(z, codebook, backend="triton")
        assert torch.cuda.max_memory_allocated() - before < 256 * 2**20
