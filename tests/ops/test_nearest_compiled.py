"""The kernel gives the two lowest scores on every instruction set."""

import os
import subprocess
import sys

import pytest
import torch

pytest.importorskip("numba")

from tests.ops.test_nearest_tiled import check
from vqkit.ops.nearest_compiled import CompiledSearch
from vqkit.ops.nearest_scores import centre_codes


@pytest.mark.parametrize("dim", [1, 7, 8, 64, 300])
@pytest.mark.parametrize("codes", [1, 16, 63, 64, 65, 1500])
def test_sizes(dim: int, codes: int) -> None:
    centred = centre_codes(torch.randn(codes, dim), torch.zeros(1, dim), "euclidean")
    search = CompiledSearch(centred)
    for tokens in (1, 4, 255, 257):
        queries = torch.randn(tokens, dim) / dim**0.5
        check(search(queries), centred, queries)


def test_more_blocks_than_fit_the_cache() -> None:
    centred = centre_codes(torch.randn(40_000, 3), torch.zeros(1, 3), "euclidean")
    queries = torch.randn(300, 3)
    check(CompiledSearch(centred)(queries), centred, queries)


@pytest.mark.slow
@pytest.mark.parametrize("features", ["+sse2,+sse4.2", "+avx,+avx2,+fma"])
def test_other_instruction_sets(features: str) -> None:
    code = (
        "import torch; from vqkit.ops import nearest_code as f, nearest_compiled as n;"
        "torch.manual_seed(0); z, e = torch.randn(999, 9) + 50, torch.randn(777, 9) + 50;"
        "assert n._VECTORS == 1;"
        "truth = (z[:, None].double() - e.double()).square().sum(2).argmin(1);"
        "assert torch.equal(f(z, e, backend='compiled'), truth)"
    )
    environment = os.environ | {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": features}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
