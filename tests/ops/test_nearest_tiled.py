"""Both ways of the torch search give the two lowest scores, at full precision."""

import contextlib
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from vqkit.ops.float32 import full_float32
from vqkit.ops.nearest_scores import CentredCodes, Found, centre_codes
from vqkit.ops.nearest_tiled import TiledSearch


def check(found: Found, codes: CentredCodes, queries: Tensor) -> None:
    scores = codes.half_norms.double() - queries.double() @ codes.points.double().T
    best = scores.topk(min(2, scores.shape[1]), dim=1, largest=False)
    chosen = scores.gather(1, found.indices[:, None])[:, 0]
    torch.testing.assert_close(chosen, best.values[:, 0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.score.double(), chosen, atol=1e-5, rtol=1e-5)
    if scores.shape[1] > 1:
        second = best.values[:, 1]
        torch.testing.assert_close(found.runner_up.double(), second, atol=1e-5, rtol=1e-5)
    else:
        assert found.runner_up.gt(1e30).all()


@pytest.mark.parametrize("tokens", [1, 255, 256, 1000])
@pytest.mark.parametrize("codes", [1, 16, 100, 1500, 70_000])
def test_both_ways(tokens: int, codes: int) -> None:
    if tokens * codes > 2**25:
        pytest.skip("too large for the naive comparison")
    centred = centre_codes(torch.randn(codes, 5), torch.zeros(1, 5), "euclidean")
    queries = torch.randn(tokens, 5)
    search = TiledSearch(centred)
    lifted = torch.cat([queries, torch.ones(tokens, 1)], dim=1)
    check(search.search_by_group(lifted), centred, queries)
    for tile in (97, 4096):
        check(search.search_directly(lifted, tile), centred, queries)


@pytest.fixture
def reduced_precision() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.usefixtures("reduced_precision")
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_full_precision_for_the_time_of_the_search_only(device: str) -> None:
    library = torch.backends.cuda if device == "cuda" else torch.backends.mkldnn
    before = library.matmul.fp32_precision
    assert before != "ieee"
    with contextlib.suppress(KeyError), full_float32(torch.device(device)):
        assert library.matmul.fp32_precision == "ieee"
        raise KeyError
    assert library.matmul.fp32_precision == before
    assert torch.get_float32_matmul_precision() == "medium"


@pytest.mark.usefixtures("reduced_precision")
def test_full_precision_with_the_settings_of_older_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vqkit.ops.float32._HAS_SETTINGS_PER_DEVICE", False)
    with full_float32(torch.device("cpu")):
        assert torch.get_float32_matmul_precision() == "highest"
    assert torch.get_float32_matmul_precision() == "medium"
