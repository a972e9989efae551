"""Two processes with half the batch each give the weight and the averages of one with all of it."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, multiprocessing

from vqkit.losses import LeCAM, adaptive_weight


def measure(part: slice) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(2)
    features = torch.randn(4, 6, generator=generator)[part]
    last = torch.randn(6, 3, generator=generator).requires_grad_()
    output = features @ last
    weight = adaptive_weight(output.square().mean(), -output.sin().mean(), last)
    lecam = LeCAM(decay=0.5)
    for scale in (1.0, 2.0):
        lecam(scale * features + 1, scale * features - 1)
    return {"weight": weight, **lecam.state_dict()}


def worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    torch.save(measure(slice(2 * rank, 2 * rank + 2)), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_ranks_equal_one(tmp_path: Path):
    multiprocessing.spawn(worker, args=(str(tmp_path),), nprocs=2)
    expected = measure(slice(0, 4))
    for rank in (0, 1):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, msg=name)
    # The mean of the ranks' own weights is another number: the test can tell.
    alone = torch.stack([measure(slice(0, 2))["weight"], measure(slice(2, 4))["weight"]])
    assert not torch.isclose(alone.mean(), expected["weight"], rtol=1e-3)
