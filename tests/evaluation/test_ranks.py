"""Two processes, each with a part of the images, gather the report of one process."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import multiprocessing

from tests.evaluation.stand_in import BlockMeans, pictures
from tests.evaluation.test_report import without_times
from vqkit.evaluation import Report, evaluate


def part(images: list) -> Report:
    bad = [("bad.png", torch.zeros(1, 8, 8))] if not images else []
    return evaluate(BlockMeans(), [*images, *bad], dataset="synthetic", max_pictures=3)


def worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    images = pictures(5)
    part(images[rank::2]).gather().save(f"{folder}/shared {rank}")
    # Everything on one rank, on the other a failure alone.
    part(images if rank else []).gather().save(f"{folder}/alone {rank}")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_ranks_equal_one(tmp_path: Path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.evaluation.test_ranks"])
    multiprocessing.start_processes(
        worker, args=(str(tmp_path),), nprocs=2, start_method="forkserver"
    )
    whole = without_times(part(pictures(5)))
    for rank in (0, 1):
        shared = Report.load(tmp_path / f"shared {rank}")
        assert without_times(shared) == whole
        assert shared.environment.num_processes == 2
        alone = without_times(Report.load(tmp_path / f"alone {rank}"))
        assert [failure["name"] for failure in alone["failures"]] == ["bad.png"]
        assert alone["items"] == whole["items"]
        assert alone["codebooks"] == whole["codebooks"]
