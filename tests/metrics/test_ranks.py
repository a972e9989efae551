"""Ranks with unequal shares, one of them empty, give the numbers of one process with all of it."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, multiprocessing

from vqkit.metrics import (
    PSNR,
    SISDR,
    SSIM,
    CodebookUsage,
    MelDistance,
    PooledPSNR,
    Rate,
    WaveformL1,
    WordErrorRate,
)

SIZES = (50, 2**62)

# What each of two ranks gets: items of media and tokens.
SHARES = [
    ((slice(0, 1), slice(0, 0)), (slice(1, 3), slice(0, 90))),
    ((slice(0, 2), slice(0, 60)), (slice(2, 3), slice(60, 90))),
]


def media() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    target = torch.rand(3, 1, 16, 16, generator=generator) * 2 - 1
    return target + 0.1 * torch.randn(3, 1, 16, 16, generator=generator), target


def tokens() -> Tensor:
    generator = torch.Generator().manual_seed(4)
    small = torch.randint(0, 50, (90,), generator=generator)
    # Neighbours that fp64 cannot tell apart.
    large = 2**60 + torch.randint(0, 20, (90,), generator=generator)
    return torch.stack((small, large), dim=-1)


def measure(images: slice, rows: slice, **options: Any) -> dict[str, Tensor]:
    reconstruction, target = media()
    result = {}
    for metric in (PSNR(**options), PooledPSNR(**options), SSIM(**options)):
        metric.update(reconstruction[images], target[images])
        result[type(metric).__name__] = metric.compute()
    heard, said = (pictures.flatten(2) for pictures in (reconstruction, target))
    said[1] = 0
    for metric in (SISDR(**options), MelDistance(16_000, **options), WaveformL1(**options)):
        metric.update(heard[images], said[images])
        result[type(metric).__name__] = metric.compute()
        with metric.sync_context(dist_sync_fn=metric.dist_sync_fn):
            result[f"{type(metric).__name__} skipped"] = metric.skipped.clone()
    errors = WordErrorRate(lambda samples, rate: "one two", 16_000, **options)
    errors.update(heard[images], ["one", "two", "one two three"][images])
    result["WordErrorRate"] = errors.compute()
    # No update at all where there is nothing: the case that a collective can hang on.
    usage = CodebookUsage(SIZES, **options)
    if len(tokens()[rows]):
        usage.update(tokens()[rows])
    result |= usage.compute()
    rate = Rate(**options)
    for index in range(3)[images]:
        rate.update(nominal_bits=10.0 + index, size_bytes=5 * index + 9, num_pixels=256)
    return result | rate.compute()


def assert_equal_to_one_process(result: dict[str, Tensor]) -> None:
    expected = measure(slice(0, 3), slice(0, 90))
    assert result.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(result[name], value, rtol=1e-14, atol=0, msg=name)


class Exchange:
    """An all-gather between threads that stand for ranks."""

    def __init__(self) -> None:
        self.barrier = threading.Barrier(2, timeout=60)
        self.tensors: list[Any] = [None, None]

    def options(self, rank: int) -> dict[str, Any]:
        def gather(tensor: Tensor, group: Any = None) -> list[Tensor]:
            self.tensors[rank] = tensor
            self.barrier.wait()
            gathered = list(self.tensors)
            self.barrier.wait()
            return gathered

        return {"dist_sync_fn": gather, "distributed_available_fn": lambda: True}


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric:UserWarning")
@pytest.mark.parametrize("shares", SHARES)
def test_two_ranks_as_threads_equal_one(shares):
    exchange = Exchange()
    with ThreadPoolExecutor(2) as threads:
        ranks = [
            threads.submit(measure, *share, **exchange.options(rank))
            for rank, share in enumerate(shares)
        ]
    for rank in ranks:
        assert_equal_to_one_process(rank.result())


def worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    torch.save([measure(*shares[rank]) for shares in SHARES], f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow  # importing torchmetrics in fresh processes takes longer than the rest
def test_two_processes_equal_one(tmp_path: Path):
    multiprocessing.spawn(worker, args=(str(tmp_path),), nprocs=2)
    for rank in (0, 1):
        for result in torch.load(tmp_path / f"{rank}.pt", weights_only=True):
            assert_equal_to_one_process(result)
